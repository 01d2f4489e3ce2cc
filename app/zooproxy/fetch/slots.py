"""How many run at once, in all and per host: in order of arrival, those somebody waits for before the others.

Fills queue in one of these for as long as they last, and their requests in another for a connection to the host.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass(eq=False, slots=True)
class Interest:
    """``urgent``: somebody waits for what is fetched. It may become so at any time, in whatever queue it stands."""

    urgent: bool = True


@dataclass(eq=False, slots=True)
class Turn:
    """One place in the queue."""

    host: str
    interest: Interest = field(default_factory=Interest)
    granted: asyncio.Event = field(default_factory=asyncio.Event)


class Slots:
    """``total`` turns at once, None for any number, and ``per_host`` of them with one host."""

    def __init__(self, total: int | None, per_host: int) -> None:
        self._total = total
        self._per_host = per_host
        self._queue: list[Turn] = []
        self._running: Counter[str] = Counter()

    @asynccontextmanager
    async def hold(self, turn: Turn) -> AsyncIterator[None]:
        """Waits for the turn and holds a slot within the context."""
        self._queue.append(turn)
        self._grant()
        try:
            await turn.granted.wait()
            yield
        finally:
            if turn.granted.is_set():
                self._running[turn.host] -= 1
                self._running += Counter()  # drops hosts at zero
            else:
                self._queue.remove(turn)
            self._grant()

    def _grant(self) -> None:
        # Stable: arrival decides among equals.
        for turn in sorted(self._queue, key=lambda turn: not turn.interest.urgent):
            if self._total is not None and self._running.total() >= self._total:
                return
            if self._running[turn.host] < self._per_host:
                self._running[turn.host] += 1
                self._queue.remove(turn)
                turn.granted.set()
