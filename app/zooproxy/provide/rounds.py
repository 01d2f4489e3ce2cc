"""The watch over upstreams: every source that is held or pinned is asked about once in each interval.

Between two questions lies a random part of the interval's share, so that they trickle and no host sees a wave; a round
that somebody asks for goes through all at once, one question at a time for each host.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import defaultdict
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from zooproxy.cache.hosts import HostSeen
from zooproxy.cache.sightings import Seen, Sightings
from zooproxy.errors import Offline, ZooproxyError
from zooproxy.fetch.policy import host_of, scheme_of
from zooproxy.fetch.proof import Wanted
from zooproxy.provide.host_watch import HostWatch
from zooproxy.provide.lookout import Lookout
from zooproxy.provide.watched import KINDS
from zooproxy.wire.watch import WatchAnswer, WatchedHost, WatchedSource

_log = logging.getLogger(__name__)

Watched = Callable[[], Awaitable[Sequence[Wanted]]]

HOSTS_AT_ONCE: Final = 4
BETWEEN: Final = 0.1  # seconds between two questions to one host, in a round that somebody asked for
LONGEST_PAUSE: Final = 600.0  # seconds


@dataclass(frozen=True, slots=True)
class Schedule:
    """``hours`` between two questions about one source; 0 for never. ``offline``: not even when somebody asks."""

    hours: float = 0.0
    offline: bool = False

    @property
    def interval(self) -> timedelta:
        return timedelta(hours=self.hours)


class Rounds:
    """``watched`` tells what there is to ask about; ``open_rounds`` makes one."""

    def __init__(
        self, lookout: Lookout, hosts: HostWatch, sightings: Sightings, watched: Watched, schedule: Schedule
    ) -> None:
        self._lookout = lookout
        self._hosts = hosts
        self._sightings = sightings
        self._watched = watched
        self._schedule = schedule
        self._asked_for: asyncio.Task[None] | None = None
        self._left = 0

    async def answer(self) -> WatchAnswer:
        left = self._left  # before the rows are read: when none is left, all of them say so
        rows = {seen.url: seen for seen in await self._sightings.all()}
        sources = [_source(wanted.url, rows.get(wanted.url)) for wanted in await self._watched()]
        return WatchAnswer(self._schedule.hours, left, sources, [_host(seen) for seen in await self._hosts.all()])

    async def begin(self) -> None:
        """A round through all that is watched, unless one is under way.

        Raises:
            Offline: nobody may be asked.
        """
        if self._schedule.offline:
            raise Offline("this proxy is set to OFFLINE and asks nobody whether what it holds is still there")
        if not self._left or self._asked_for is None or self._asked_for.done():
            watched = await self._watched()
            self._left = len(watched)
            self._asked_for = asyncio.create_task(self._through(watched))

    async def tend(self) -> None:
        """For ever: asks about what is due, spread over the interval."""
        while self._schedule.hours and not self._schedule.offline:
            try:
                count, due = await self._due()
                for wanted, before in due:
                    await asyncio.sleep(random.random() * min(self._share(count), LONGEST_PAUSE))  # noqa: S311
                    if await self._sightings.claim(wanted.url, before):
                        await self._ask(wanted)
            except ZooproxyError as error:
                _log.warning("the watch was interrupted and goes on: %s: %s", error.slug, error)
            except Exception:  # noqa: BLE001  # a bug in one round must not end all those after it
                _log.exception("the watch was interrupted and goes on")
            await asyncio.sleep(min(self._share(1) / 10, 60.0))

    async def close(self) -> None:
        if self._asked_for is not None:
            self._asked_for.cancel()
            await asyncio.gather(self._asked_for, return_exceptions=True)

    def _share(self, count: int) -> float:
        """Seconds of the interval that fall to each of so many sources."""
        return self._schedule.interval.total_seconds() / max(count, 1)

    async def _due(self) -> tuple[int, list[tuple[Wanted, Seen | None]]]:
        """How many are watched; those whose last question is older than the interval, those never asked about first."""
        rows = {seen.url: seen for seen in await self._sightings.all()}
        watched = await self._watched()
        for url in rows.keys() - {wanted.url for wanted in watched}:
            if scheme_of(url) in KINDS:  # the others are not watched, and may well be held
                await self._sightings.forget(url)
        asked = datetime.now(UTC) - self._schedule.interval
        never = datetime.min.replace(tzinfo=UTC)
        due = [(wanted, rows.get(wanted.url)) for wanted in watched]
        due = [(wanted, seen) for wanted, seen in due if seen is None or seen.checked_at < asked]
        return len(watched), sorted(due, key=lambda one: one[1].checked_at if one[1] else never)

    async def _through(self, watched: Sequence[Wanted]) -> None:
        by_host: dict[str, list[Wanted]] = defaultdict(list)
        for wanted in watched:
            by_host[host_of(wanted.url)].append(wanted)
        turns = asyncio.Semaphore(HOSTS_AT_ONCE)
        began = datetime.now(UTC)

        async def one_host(some: list[Wanted]) -> None:
            async with turns:
                for number, wanted in enumerate(some):
                    await asyncio.sleep(BETWEEN if number else 0)
                    await self._ask(wanted, hosts_unless_since=began)
                    self._left -= 1

        await asyncio.gather(*(one_host(some) for some in by_host.values()))

    async def _ask(self, wanted: Wanted, *, hosts_unless_since: datetime | None = None) -> None:
        try:
            seen = await self._lookout.ask(wanted, everyone=True)
            unless_since = hosts_unless_since or datetime.now(UTC) - self._schedule.interval / 2
            for candidate in seen.candidates:
                await self._hosts.look(candidate, unless_since=unless_since)
        except ZooproxyError as error:
            _log.warning("%s could not be asked about: %s: %s", wanted.url, error.slug, error)
        except Exception:  # noqa: BLE001  # what is wrong with one source must not keep the others from being asked about
            _log.exception("%s could not be asked about", wanted.url)


@asynccontextmanager
async def open_rounds(rounds: Rounds) -> AsyncIterator[Rounds]:
    """Tends them in the background."""
    tending = asyncio.create_task(rounds.tend())
    try:
        yield rounds
    finally:
        tending.cancel()
        await asyncio.gather(tending, return_exceptions=True)
        await rounds.close()


def _source(url: str, seen: Seen | None) -> WatchedSource:
    if seen is None:
        return WatchedSource(url, "unknown", None, None, "", {})
    since, checked_at = seen.since.isoformat(timespec="seconds"), seen.checked_at.isoformat(timespec="seconds")
    return WatchedSource(url, seen.state, since, checked_at, seen.detail, seen.candidates)


def _host(seen: HostSeen) -> WatchedHost:
    ends = seen.certificate_ends
    return WatchedHost(
        seen.host,
        list(seen.addresses),
        seen.addresses_since.isoformat(timespec="seconds"),
        None if ends is None else ends.isoformat(timespec="seconds"),
        None if ends is None else (ends - datetime.now(UTC)).days,
        seen.problem,
        seen.since.isoformat(timespec="seconds"),
        seen.checked_at.isoformat(timespec="seconds"),
    )
