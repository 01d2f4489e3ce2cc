"""Single flight: one run of a piece of work per key, however many ask, and no asker can cancel it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, Generic, TypeVar

KeyT = TypeVar("KeyT", bound=Hashable)
ValueT = TypeVar("ValueT")


class SingleFlight(Generic[KeyT, ValueT]):
    """Joins callers who want the same thing at the same time; the next caller after them starts anew.

    The work is a task of its own and its askers wait behind a shield: one who leaves takes nothing from the others,
    and the work goes on with no asker at all.
    """

    def __init__(self) -> None:
        self._running: dict[KeyT, asyncio.Task[ValueT]] = {}

    def __contains__(self, key: KeyT) -> bool:
        return key in self._running

    async def join(self, key: KeyT, work: Callable[[], Coroutine[Any, Any, ValueT]]) -> ValueT:
        """The result of the ``work`` that runs for ``key``, begun now if none does; its error for every asker."""
        return await asyncio.shield(self.begin(key, work))

    def begin(self, key: KeyT, work: Callable[[], Coroutine[Any, Any, ValueT]]) -> asyncio.Task[ValueT]:
        """As ``join``, without waiting."""
        task = self._running.get(key)
        if task is None:
            task = asyncio.create_task(work())
            self._running[key] = task
            task.add_done_callback(lambda done: self._land(key, done))
        return task

    def _land(self, key: KeyT, task: asyncio.Task[ValueT]) -> None:
        del self._running[key]
        if not task.cancelled():
            task.exception()  # counts as retrieved, where every asker has left

    async def close(self) -> None:
        """Cancels what runs and waits until it has cleaned up."""
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
