"""What happens, told to whoever listens at the time; a listener that does not keep up is left behind."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from dataclasses import dataclass
from typing import Any, Final

BEHIND: Final = 1000  # events


@dataclass(frozen=True, slots=True)
class Event:
    """``kind`` names it (``fill``, ``published``, ``quarantined``, ``corrupt``); ``data`` holds JSON values."""

    kind: str
    data: Mapping[str, Any]


class Events:
    def __init__(self) -> None:
        self._listeners: set[asyncio.Queue[Event]] = set()

    def tell(self, kind: str, data: Mapping[str, Any]) -> None:
        event = Event(kind, data)
        for queue in list(self._listeners):
            if queue.full():
                self._listeners.discard(queue)
            else:
                queue.put_nowait(event)

    async def listen(self, patience: float) -> AsyncGenerator[Event | None]:
        """Events from now on; None after each ``patience`` seconds without one. Ends for one who was left behind."""
        queue: asyncio.Queue[Event] = asyncio.Queue(BEHIND)
        self._listeners.add(queue)
        try:
            while queue in self._listeners or not queue.empty():
                try:
                    async with asyncio.timeout(patience):
                        event: Event | None = await queue.get()
                except TimeoutError:
                    event = None
                yield event
        finally:
            self._listeners.discard(queue)
