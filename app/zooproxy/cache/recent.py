"""Answers of the database kept in memory for as long as nobody, in this process or another, has written to it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Hashable
from typing import Any, Generic, TypeVar

KeyT = TypeVar("KeyT", bound=Hashable)
ValueT = TypeVar("ValueT")

_MOST = 4096


class Recent(Generic[KeyT, ValueT]):
    """``stamp`` says what the database's state is, by something cheaper than a query; None where it can't tell now."""

    def __init__(self, stamp: Callable[[], Any]) -> None:
        self._stamp = stamp
        self._of: Any = None
        self._answers: dict[KeyT, ValueT] = {}

    async def get(self, key: KeyT, ask: Callable[[], Awaitable[ValueT]]) -> ValueT:
        """What ``ask`` answered for ``key`` in the database's present state, or answers now."""
        stamp = self._stamp()
        if stamp is None:
            return await ask()
        if stamp != self._of or len(self._answers) >= _MOST:
            self._answers.clear()
            self._of = stamp
        if key in self._answers:
            return self._answers[key]
        answer = await ask()
        if self._stamp() == stamp == self._of:  # nobody wrote while it was asked
            self._answers[key] = answer
        return answer
