"""Fills: a source that is wanted becomes a blob that is held, once for all who ask, in however many processes.

::

    fill / follow ── one Running per source in this process ── slots: a queue, N in all and per host
       │
       └─ held meanwhile? ── take the lease ── ours ──> fetch, prove, commit, sidecar, row and lease in one transaction
                ^                 │
                └── it ended ── theirs: follow the file that grows; dead? take over where its partial stands
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import astuple, dataclass, field, replace

from zooproxy.cache.blobs import BlobStore, HeldBlob
from zooproxy.cache.database import Database
from zooproxy.cache.index import HeldSource
from zooproxy.cache.leases import Lease, Leases, Staged
from zooproxy.cache.shelf import Shelf
from zooproxy.cache.sightings import OK, Known
from zooproxy.digest import Sha256
from zooproxy.errors import (
    BlobAbsent,
    BlobCorrupt,
    CacheError,
    FetchError,
    FillCancelled,
    LeaseLost,
    Offline,
    ProofError,
    SourceChanged,
    ZooproxyError,
)
from zooproxy.fetch.fetcher import Fetcher
from zooproxy.fetch.policy import host_of
from zooproxy.fetch.proof import Wanted
from zooproxy.fetch.sighting import Glance, Sighting
from zooproxy.fetch.slots import Interest, Slots, Turn
from zooproxy.fetch.upstream import Version
from zooproxy.provide.fill_reports import Ended, report, report_of_another
from zooproxy.provide.growing import Growing
from zooproxy.provide.landing import Ground, Landing
from zooproxy.provide.running import Running
from zooproxy.provide.watching import Pulse, watch
from zooproxy.wire.fills import DONE, FAILED, QUEUED, RUNNING, FillAnswer

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Policy:
    """``offline``: nothing is fetched. ``slots``: how many at once. ``pulse``: signs of life between processes."""

    offline: bool = False
    slots: Slots = field(default_factory=lambda: Slots(8, 4))
    pulse: Pulse = field(default_factory=Pulse)


class Fills:
    """One fill per source among all processes on one data directory; ``open_fills`` makes one."""

    def __init__(self, fetcher: Fetcher, ground: Ground, shelf: Shelf, leases: Leases, policy: Policy) -> None:
        self._fetcher = fetcher
        self._ground = ground
        self._shelf = shelf
        self._leases = leases
        self._policy = policy
        self._running: dict[str, Running] = {}
        self._ended = Ended()
        self.events = ground.events

    def go_offline(self, offline: bool) -> None:
        """Whether new fills are refused from now on; those that run go on."""
        self._policy = replace(self._policy, offline=offline)

    def is_running(self, url: str) -> bool:
        return url in self._running

    def candidates(self, url: str) -> tuple[str, ...]:
        return self._fetcher.candidates(url)

    async def fill(self, wanted: Wanted) -> HeldSource:
        """Joins the running fill of ``wanted.url``, or begins it, and waits for its end.

        Raises:
            Offline: fetching is switched off.
            SourceError, FetchError, ProofError, CacheError: the fill's own failure, the same for all who wait.
        """
        return await asyncio.shield(self.start(wanted).task)

    def was_refused(self, url: str) -> bool:
        """Whether the bytes that the last fill of ``url`` brought were not believed."""
        return isinstance(self._ended.outcome(url), ProofError)

    def follow(self, wanted: Wanted) -> Growing:
        """As ``fill``, to be read while it runs; its failure is told by what is returned."""
        return self.start(wanted).growing

    async def fill_anew(self, wanted: Wanted) -> HeldSource:
        """As ``fill``, behind all that somebody waits for, and fetched although it is held."""
        return await asyncio.shield(self.start(wanted, urgent=False, anew=True).task)

    async def look(self, url: str, known: Sighting | None, *, everyone: bool) -> list[Glance]:
        """Asks upstream about ``url``, not for its bytes; behind all that somebody waits for.

        Raises:
            Offline, SourceError: nobody may be asked.
        """
        if self._policy.offline:
            raise Offline(f"{url} cannot be asked about while this proxy is set to OFFLINE")
        self._fetcher.check(url)
        async with self._policy.slots.hold(Turn(host_of(url), Interest(urgent=False))):
            return await self._fetcher.look(url, known, everyone=everyone)

    def start(self, wanted: Wanted, *, urgent: bool = True, ref: str | None = None, anew: bool = False) -> Running:
        """The fill of ``wanted.url``, begun now if none runs. ``urgent``: somebody waits for it.

        Raises:
            Offline, SourceError: it will not be begun.
        """
        if self._policy.offline:
            raise _offline(wanted)
        self._fetcher.check(wanted.url)
        running = self._running.get(wanted.url)
        if running is None:
            turn = Turn(host_of(wanted.url), Interest(urgent))
            running = Running(wanted, Growing(wanted.url, wanted.pin), turn, anew)
            self._running[wanted.url] = running
            running.task = asyncio.create_task(self._supervised(running))
            running.task.add_done_callback(lambda task: self._landed(running, task))
        elif urgent:
            running.turn.interest.urgent = True
        if ref is not None:
            running.refs.add(ref)
        return running

    async def reports(self) -> list[FillAnswer]:
        """Every fill that runs, here or in another process, and those that ended lately here."""
        own = list(self._running.values())
        here = [report(running) for running in (*self._ended.except_for(own), *own)]
        known = {fill.url for fill in here if fill.state in (QUEUED, RUNNING)}
        leases = [lease for lease in await self._leases.all() if lease.owner is not None and lease.url not in known]
        elsewhere = {lease.url: report_of_another(lease) for lease in leases}
        return [*(fill for fill in here if fill.url not in elsewhere), *elsewhere.values()]

    def hosts(self) -> Mapping[str, str]:
        """The state of the circuit of each host that has failed lately."""
        return self._fetcher.breakers.states()

    async def cancel(self, url: str) -> bool:
        """Stops the fill of ``url``, in whatever process, and drops what it has; whether there was one."""
        running = self._running.get(url)
        if running is not None:
            running.stop.set()
            if running.state == QUEUED:
                running.task.cancel()
        led = await self._leases.cancel(url)
        return led or running is not None

    async def _supervised(self, running: Running) -> HeldSource:
        """Owns the fill from its first moment to its last word; no request can cancel it."""
        url = running.wanted.url
        try:
            async with self._policy.slots.hold(running.turn):
                running.state = RUNNING
                _log.info("fill begins: %s", url)
                held, blob = await self._run(running)
        except ZooproxyError as error:
            _log.warning("fill failed: %s: %s: %s", url, error.slug, error)
            self._end(running, error)
            raise
        except Exception as error:
            _log.exception("fill failed: %s", url)
            self._end(running, error)
            raise
        _log.info("fill done: %s: %s, %d bytes", url, held.sha256, held.size)
        self._end(running, blob)
        return held

    def _landed(self, running: Running, task: asyncio.Task[HeldSource]) -> None:
        if not task.cancelled():
            task.exception()  # counts as retrieved, where every asker has left
        elif running.wanted.url in self._running:  # even before it ran at all; followers hear of it too
            self._end(running, FillCancelled("the transfer was stopped; ask again", url=running.wanted.url))

    def _end(self, running: Running, outcome: HeldBlob | Exception) -> None:
        self._ended.remember(running)
        # In one step, so that whoever asks next finds either this fill or what it left.
        del self._running[running.wanted.url]
        if isinstance(outcome, HeldBlob):
            running.state, running.sha256 = DONE, outcome.digest
            self.events.tell("published", {"url": running.wanted.url, "sha256": outcome.digest, "size": outcome.size})
            running.growing.finish(outcome)
        else:
            running.state, running.error = FAILED, outcome
            running.growing.fail(outcome)

    async def _run(self, running: Running) -> tuple[HeldSource, HeldBlob]:
        wanted, dead = await self._trusting(running), None
        while True:
            found = None if running.anew else await self._found(wanted)
            if found is not None:
                return found
            lease = await self._leases.take(wanted.url, dead)
            if lease.owner == self._leases.owner:
                found = None if running.anew else await self._found(wanted)  # published between that look and the lease
                if found is not None:
                    await self._leases.free(lease, 0)
                    return found
                try:
                    return await self._lead(running, lease)
                except LeaseLost as error:
                    _log.warning("%s", error)
            else:
                _log.info("fill is followed, another process leads: %s", wanted.url)
                running.anew = False  # what that one publishes is as new
                dead = await watch(lease, self._leases, self._ground.store, running.growing, self._policy.pulse)

    async def _trusting(self, running: Running) -> Wanted:
        """What is wanted, with what the source was trusted with before."""
        trusted = await self._shelf.index.trust.of(running.wanted.url)
        if trusted is not None:
            running.wanted = replace(running.wanted, seen=trusted.sha256)
        return running.wanted

    async def _quarantined(self, running: Running, error: SourceChanged) -> None:
        url, actual = running.wanted.url, Sha256(error.actual)
        await self._shelf.index.trust.refuse(url, actual)
        self.events.tell("quarantined", {"url": url, "expected_sha256": error.expected, "actual_sha256": actual})

    async def _found(self, wanted: Wanted) -> tuple[HeldSource, HeldBlob] | None:
        """What another process has published since the caller looked."""
        held = await self._shelf.index.held(wanted.url)
        if held is None or not wanted.accepts(held.sha256):
            return None
        try:
            return held, await self._ground.store.open(held.sha256)
        except (BlobAbsent, BlobCorrupt):
            return None

    async def _lead(self, running: Running, lease: Lease) -> tuple[HeldSource, HeldBlob]:
        work = asyncio.create_task(self._fetch(running, lease))
        pulse = asyncio.create_task(self._beat(running, lease))
        try:
            await asyncio.wait({work, pulse}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                await pulse  # raises: why the work has to stop
            return await work
        finally:
            for task in (work, pulse):
                task.cancel()
            await asyncio.gather(work, pulse, return_exceptions=True)

    async def _beat(self, running: Running, lease: Lease) -> None:
        """Gives signs of life until the fill has to stop, and raises why.

        Raises:
            FillCancelled, LeaseLost.
        """
        while True:
            try:
                async with asyncio.timeout(self._policy.pulse.beat_seconds):
                    await running.stop.wait()
            except TimeoutError:
                if await self._alive(running, lease):
                    continue
                running.stop.set()
            raise FillCancelled("the transfer was cancelled", url=running.wanted.url)

    async def _alive(self, running: Running, lease: Lease) -> bool:
        try:
            return await self._leases.beat(lease, running.growing.size)
        except LeaseLost:
            raise
        except CacheError as error:  # a busy database costs a beat, not the transfer
            _log.warning("no sign of life could be given for %s: %s", lease.url, error)
            return True

    async def _fetch(self, running: Running, lease: Lease) -> tuple[HeldSource, HeldBlob]:
        """Fetch, prove, publish: the bytes first, the rows last."""
        wanted = running.wanted

        async def record(staged: Staged | None) -> None:
            await self._leases.record(lease, staged)

        landing = Landing(self._ground, running.growing, record, promised=bool(wanted.promise))
        try:
            await landing.resume(lease)
            await self._fetcher.fetch(wanted, landing, running.turn.interest)
            blob = await landing.commit()
            held = await self._shelf.publish(wanted.url, blob, lease)
            await self._remember(wanted.url, landing.version)
            await landing.discard()
            return held, blob
        except (FetchError, asyncio.CancelledError):
            kept = 0 if running.stop.is_set() else await landing.keep()
            await self._leave(landing, lease, kept)
            raise
        except BaseException as error:
            await self._leave(landing, lease, 0)
            if isinstance(error, SourceChanged):
                await self._quarantined(running, error)
            raise

    async def _remember(self, url: str, version: Version | None) -> None:
        """Whose bytes they were, for whoever asks later whether they are still the same."""
        if version is None:
            return
        try:
            await self._shelf.index.sightings.fetched(url, Known(*astuple(version.sighting)), OK)
        except CacheError as error:
            _log.warning("what %s said of itself was not written down: %s", url, error)

    async def _leave(self, landing: Landing, lease: Lease, kept: int) -> None:
        await landing.discard()
        try:
            await self._leases.free(lease, kept)
        except ZooproxyError as error:  # whoever waits will find no sign of life
            _log.warning("the lease of %s was not freed: %s", lease.url, error)

    async def close(self) -> None:
        """Stops what still runs; each fill keeps its partial where it can be continued."""
        tasks = [running.task for running in self._running.values()]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def open_fills(
    fetcher: Fetcher, ground: Ground, shelf: Shelf, database: Database, policy: Policy
) -> AsyncIterator[Fills]:
    """Fills over a data directory that is swept first: what can be continued stays.

    What this process has staged as its sign of life is gone when the process is, however it ended.
    """
    async with await ground.store.stage() as presence:
        leases = Leases(database, presence.name)
        await ground.store.sweep(await _worth_keeping(leases, ground.store))
        fills = Fills(fetcher, ground, shelf, leases, policy)
        try:
            yield fills
        finally:
            await fills.close()


async def _worth_keeping(leases: Leases, store: BlobStore) -> set[str]:
    """The partials that a fill can go on with; rows of dead processes that lead nowhere are removed."""
    kept = set()
    for lease in await leases.all():
        if lease.staged is not None and lease.staged.resumable:
            kept.add(lease.staged.partial)
        elif lease.owner is None or not await store.is_written(lease.owner):
            await leases.forget(lease)
    return kept


def _offline(wanted: Wanted) -> Offline:
    asked = wanted.asked_as or wanted.url
    return Offline(
        f"'{asked}' is not held and this proxy is set to OFFLINE; on one that has a network: zooproxy warm REF, then"
        " zooproxy bundle export REF -o F; here: zooproxy bundle import F",
        reference=asked,
    )
