"""Blobs read and hashed in the background, at a set pace, the one that was verified the longest ago first.

One process on a data directory does it; another takes over when that one ends. A bad blob is quarantined, told of as
the event ``corrupt``, and fetched again when nothing more urgent is to be fetched.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from zooproxy.cache.database import Database
from zooproxy.cache.inspection import HeldDigest, Inspection
from zooproxy.cache.shelf import DERIVED, Shelf
from zooproxy.digest import Sha256
from zooproxy.errors import CacheError
from zooproxy.fetch.pace import Bandwidth
from zooproxy.provide.hashing import rot_of
from zooproxy.provide.provider import Provider
from zooproxy.provide.quarantine import Quarantine

_log = logging.getLogger(__name__)

_PORTION: Final = 500
_SMALLEST: Final = 1 << 20  # bytes that a file counts for at least: finding it is work for the disk, too
_WRITTEN_SECONDS: Final = 30.0  # what was verified is written down this often: a write makes others' memories stale


@dataclass(frozen=True, slots=True)
class Pace:
    """``rate`` in bytes per second, 0 for never; each blob is read again after ``age``.

    ``idle_seconds``: how long it waits when nothing is due, when another process is at it, or when the disk fails.
    """

    rate: int
    age: timedelta
    idle_seconds: float = 60.0


#: Told of a bad blob that was quarantined: what is wrong with it, and the URLs of its sources.
Told = Callable[[Sha256, str, tuple[str, ...]], Awaitable[None]]


class Scrubber:
    def __init__(self, shelf: Shelf, inspection: Inspection, pace: Pace, told: Told) -> None:
        self._shelf = shelf
        self._inspection = inspection
        self._quarantine = Quarantine(shelf)
        self._pace = pace
        self._told = told
        self._bandwidth = Bandwidth(pace.rate)
        self._sound: list[Sha256] = []
        self._warned = False

    async def run(self, database: Database) -> None:
        """Until it is cancelled; as long as another process is at it, it waits."""
        while True:
            with database.sole("scrub") as alone:
                while alone:
                    if not await self._tried():
                        await asyncio.sleep(self._pace.idle_seconds)
            await asyncio.sleep(self._pace.idle_seconds)

    async def _tried(self) -> bool:
        try:
            return await self.round()
        except CacheError as error:
            _log.warning("scrubbing failed and is tried again: %s: %s", error.slug, error)
        except Exception:  # noqa: BLE001  # a bug in one round must not end all those after it
            _log.exception("scrubbing failed and is tried again")
        return False

    async def _warn_if_slow(self) -> None:
        """Once: it stays so."""
        size, possible = await self._inspection.size(), self._pace.rate * self._pace.age.total_seconds()
        if size > possible and not self._warned:
            self._warned = True
            _log.warning(
                "scrubbing at %d bytes per second cannot read the %d bytes held within SCRUB_DAYS; raise one of them",
                self._pace.rate,
                size,
            )

    async def round(self) -> bool:
        """Reads some of what is due; whether there was any.

        Raises:
            CacheError: the store or the database cannot be used.
        """
        await self._warn_if_slow()
        due = await self._inspection.due(datetime.now(UTC), self._pace.age, _PORTION)
        written = time.monotonic()
        try:
            for one in due:
                await self._scrub(one)
                if time.monotonic() - written > _WRITTEN_SECONDS:
                    await self._write_down()
                    written = time.monotonic()
        finally:
            # Also when it is cancelled: what was read need not be read again.
            await asyncio.shield(self._write_down())
        return bool(due)

    async def _scrub(self, one: HeldDigest) -> None:
        await self._bandwidth.take(max(0, _SMALLEST - one.size))
        urls = await self._shelf.index.urls_of(one.sha256)
        now = await self._shelf.store.look(one.sha256)
        if now is None or now.size is None:
            await self._shelf.drop(one.sha256)
        elif now.size != one.size:
            if await self._quarantine.wrong_length(one.sha256, one.size):
                await self._told(one.sha256, f"it has {now.size} bytes, not {one.size}", urls)
        elif (rotten := await rot_of(self._shelf.store, one.sha256, self._bandwidth.take)) is None:
            self._sound.append(one.sha256)
        elif await self._quarantine.rotten(rotten.seen, rotten.detail):
            await self._told(one.sha256, rotten.detail, urls)

    async def _write_down(self) -> None:
        sound, self._sound = self._sound, []
        await self._inspection.mark_verified(sound, datetime.now(UTC))


@asynccontextmanager
async def scrubbing(scrubber: Scrubber, database: Database) -> AsyncIterator[None]:
    """Within, the scrubber runs in the background."""
    task = asyncio.create_task(scrubber.run(database))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


def telling(provider: Provider) -> Told:
    """The event, and a fill that nobody waits for; a derived blob is made again when it is asked for."""

    async def told(digest: Sha256, reason: str, urls: tuple[str, ...]) -> None:
        provider.fills.events.tell("corrupt", {"sha256": digest, "reason": reason, "urls": list(urls)})
        for url in urls:
            if not url.startswith(DERIVED):
                await provider.warm(url)

    return told
