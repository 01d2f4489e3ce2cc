"""Sources of which no digest is published, asked now and then whether they are still the same; nobody waits for it."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final

from zooproxy.cache.index import HeldSource, Index
from zooproxy.errors import ZooproxyError
from zooproxy.fetch.proof import Wanted
from zooproxy.provide.lookout import Lookout

_log = logging.getLogger(__name__)

AFTER_FAILURE: Final = 300.0  # seconds until somebody who did not answer is asked again
_MOST: Final = 10_000  # sources whose time is remembered


class Revalidation:
    """``seconds``: how old an answer may be; 0 for any. What is held is served meanwhile, and if nobody answers."""

    def __init__(self, lookout: Lookout, index: Index, seconds: float, clock: Callable[[], float] = time.time) -> None:
        self._lookout = lookout
        self._index = index
        self._seconds = seconds
        self._clock = clock
        self._due_at: dict[str, float] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def wake(self, wanted: Wanted, held: HeldSource) -> None:
        """Told of each use of ``held``; costs no more than a dictionary unless it is time to ask."""
        if not self._seconds or wanted.pin or wanted.hint:
            return
        now = self._clock()
        due_at = self._due_at.get(wanted.url, held.filled_at.timestamp() + self._seconds)
        if now < due_at:
            return
        if len(self._due_at) >= _MOST:
            self._due_at.clear()
        self._due_at[wanted.url] = now + min(self._seconds, AFTER_FAILURE)
        task = asyncio.create_task(self._ask(wanted))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _ask(self, wanted: Wanted) -> None:
        url = wanted.url
        try:
            seen = await self._index.sightings.of(url)
            if seen is None or self._clock() >= seen.checked_at.timestamp() + self._seconds:
                seen = await self._lookout.ask(wanted)
            if any(problem is None for problem in seen.candidates.values()):  # somebody has answered
                self._due_at[url] = seen.checked_at.timestamp() + self._seconds
        except ZooproxyError as error:
            _log.warning("%s could not be asked whether it has changed: %s", url, error)

    async def close(self) -> None:
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def open_revalidation(lookout: Lookout, index: Index, seconds: float) -> AsyncIterator[Revalidation]:
    revalidation = Revalidation(lookout, index, seconds)
    try:
        yield revalidation
    finally:
        await revalidation.close()
