"""How many fills run at once: in all and per host, in order of arrival, those somebody waits for before the others."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field


@dataclass(eq=False, slots=True)
class Turn:
    """One fill's place in the queue. ``urgent``: somebody waits for it; may become so while it is queued."""

    host: str
    urgent: bool
    granted: asyncio.Event = field(default_factory=asyncio.Event)


class Slots:
    def __init__(self, total: int, per_host: int) -> None:
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

    def hurry(self, turn: Turn) -> None:
        turn.urgent = True

    def _grant(self) -> None:
        for turn in sorted(self._queue, key=lambda turn: not turn.urgent):  # stable: arrival decides among equals
            if self._running.total() >= self._total:
                return
            if self._running[turn.host] < self._per_host:
                self._running[turn.host] += 1
                self._queue.remove(turn)
                turn.granted.set()
