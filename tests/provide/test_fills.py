"""Fills over a real store and database: one in this process, one among several, stopped, fenced, kept."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from fakes.upstream import Gate, Ranged, Upstream, status
from zooproxy.cache.database import Database, open_database
from zooproxy.cache.index import Index
from zooproxy.cache.leases import Lease, Leases
from zooproxy.cache.local import LocalBlobStore
from zooproxy.cache.shelf import Shelf
from zooproxy.cache.space import Space
from zooproxy.errors import FillCancelled, Offline, OutOfSpace, SourceChanged, UpstreamStatus
from zooproxy.fetch.attempt import Limits
from zooproxy.fetch.fetcher import Fetcher
from zooproxy.fetch.http import open_http
from zooproxy.fetch.policy import AllowedHosts, Mirrors
from zooproxy.fetch.proof import Wanted
from zooproxy.fetch.retries import Retries
from zooproxy.fetch.slots import Slots
from zooproxy.provide.fills import Fills, Policy, open_fills
from zooproxy.provide.growing import HOLD_BACK, Following
from zooproxy.provide.landing import Ground
from zooproxy.provide.watching import Pulse

QUICK = Pulse(beat_seconds=0.02, dead_seconds=0.2, look_seconds=0.005, ask_seconds=0.01)

Open = Callable[..., Any]


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with open_database(f"sqlite:///{tmp_path}/zooproxy.db") as database:
        yield database


@pytest.fixture
async def start(tmp_path: Path, database: Database) -> AsyncIterator[Open]:
    """Fills as another process on the same data directory would have them, as often as it is called."""
    async with AsyncExitStack() as stack:
        http = await stack.enter_async_context(open_http(exempt=lambda host, port: True))

        async def start(*, offline: bool = False, spare: int = 0, pulse: Pulse = QUICK, total: int = 8) -> Fills:
            hosts = AllowedHosts(["127.0.0.1"])
            limits = Limits(Retries(tries=2, first_delay=0.001))
            fetcher = Fetcher({"http": http}, hosts, Mirrors({}), limits)
            store = LocalBlobStore(tmp_path / "data")
            ground = Ground(store, Space(store.free_bytes, spare))
            policy = Policy(offline, Slots(total, total), pulse)
            opening = open_fills(fetcher, ground, Shelf(store, Index(database)), database, policy)
            return await stack.enter_async_context(opening)

        yield start


def partials(tmp_path: Path) -> list[int]:
    """The sizes of partial files; empty ones are processes' signs of life."""
    return [file.stat().st_size for file in (tmp_path / "data" / "partial").iterdir() if file.stat().st_size]


async def reached(gate: Gate | Ranged) -> None:
    assert await asyncio.to_thread(gate.reached.wait, 30)


async def shown(fills: Fills, url: str, size: int) -> None:
    """Returns when ``size`` bytes have arrived."""
    growing = fills.follow(Wanted(url))
    while growing.size < size:
        await growing.change()


async def test_all_who_ask_at_once_get_the_one_fill(start: Open, upstream: Upstream, small_checkpoint: bytes) -> None:
    fills = await start()
    url = upstream.put("/x.pth", small_checkpoint)
    held = await asyncio.gather(*(fills.fill(Wanted(url)) for _ in range(50)))
    assert len(set(held)) == 1
    assert len(upstream.seen) == 1
    assert not fills.is_running(url)


async def test_two_processes_are_one_upstream_get_and_both_follow(
    start: Open, upstream: Upstream, large_checkpoint: bytes
) -> None:
    first, second = await start(), await start()
    gate = Gate(large_checkpoint, 1_000_000)
    url = upstream.put("/x.pth", gate)
    leading = asyncio.create_task(first.fill(Wanted(url)))
    await reached(gate)
    await shown(second, url, 1_000_000)
    following = await second.follow(Wanted(url)).opened()
    assert isinstance(following, Following)
    gate.open()
    with following.file() as file:
        read = [following.read(file, *span) async for span in following.spans(0, following.length)]
    assert b"".join(read) == large_checkpoint
    assert (await leading).sha256 == (await second.fill(Wanted(url))).sha256
    assert len(upstream.seen) == 1


async def test_a_leader_without_a_sign_of_life_is_replaced_and_its_own_end_is_refused(
    start: Open, upstream: Upstream, large_checkpoint: bytes, database: Database
) -> None:
    asleep = await start(pulse=Pulse(beat_seconds=3600))
    waiter = await start()
    gate = Gate(large_checkpoint, 1_000_000)
    url = upstream.put("/x.pth", gate)
    old = asyncio.create_task(asleep.fill(Wanted(url)))
    await reached(gate)
    upstream.put("/x.pth", large_checkpoint)
    taken = await waiter.fill(Wanted(url))
    gate.open()
    assert await old == taken  # it found its commit refused, and then what the other had published
    assert await Leases(database, "x").all() == []


async def test_a_failure_is_told_to_all_and_the_next_asker_starts_anew(
    start: Open, upstream: Upstream, small_checkpoint: bytes
) -> None:
    fills = await start()
    url = upstream.put("/x.pth", status(404))
    results = await asyncio.gather(*(fills.fill(Wanted(url)) for _ in range(3)), return_exceptions=True)
    assert [type(result) for result in results] == [UpstreamStatus] * 3
    assert len(upstream.seen) == 1
    upstream.put("/x.pth", small_checkpoint)
    assert (await fills.fill(Wanted(url))).size == len(small_checkpoint)


async def test_a_waiter_whose_leader_fails_tries_itself(
    start: Open, upstream: Upstream, large_checkpoint: bytes
) -> None:
    first, second = await start(), await start()
    held = Ranged(bytes(len(large_checkpoint)), hold=1_000_000)
    url = upstream.put("/x.pth", held)
    leading = asyncio.create_task(first.fill(Wanted(url)))
    await reached(held)
    waiting = asyncio.create_task(second.fill(Wanted(url)))
    await shown(second, url, 1_000_000)
    upstream.put("/x.pth", large_checkpoint)
    held.open()
    with pytest.raises(Exception, match="checkpoint"):
        await leading
    assert (await waiting).size == len(large_checkpoint)


@pytest.mark.parametrize("by_another_process", [False, True])
async def test_a_cancelled_fill_ends_its_followers_and_leaves_nothing(
    start: Open,
    upstream: Upstream,
    large_checkpoint: bytes,
    tmp_path: Path,
    database: Database,
    by_another_process: bool,
) -> None:
    first, second = await start(), await start()
    held = Ranged(large_checkpoint, hold=1_000_000)
    url = upstream.put("/x.pth", held)
    filling = asyncio.create_task(first.fill(Wanted(url)))
    await reached(held)
    await shown(first, url, 1_000_000)
    following = await first.follow(Wanted(url)).opened()
    assert isinstance(following, Following)
    assert await (second if by_another_process else first).cancel(url)
    with pytest.raises(FillCancelled):
        await filling
    held.open()
    with pytest.raises(FillCancelled):
        following.file()
    assert partials(tmp_path) == []
    assert await Leases(database, "x").all() == []


async def test_a_queued_fill_can_be_cancelled_too(start: Open, upstream: Upstream, large_checkpoint: bytes) -> None:
    fills = await start(total=1)
    held = Ranged(large_checkpoint, hold=1_000_000)
    running = asyncio.create_task(fills.fill(Wanted(upstream.put("/a.pth", held))))
    await reached(held)
    queued = fills.start(Wanted(upstream.put("/b.pth", large_checkpoint)))
    assert await fills.cancel(queued.wanted.url)
    with pytest.raises(FillCancelled):
        await queued.growing.done()
    held.open()
    assert (await running).size == len(large_checkpoint)
    assert upstream.seen == ["/a.pth"]


async def test_close_keeps_what_can_be_continued_and_the_next_process_continues_it(
    start: Open, upstream: Upstream, large_checkpoint: bytes, tmp_path: Path
) -> None:
    first = await start()
    held = Ranged(large_checkpoint, hold=1_000_000)
    url = upstream.put("/x.pth", held)
    filling = asyncio.create_task(first.fill(Wanted(url)))
    await reached(held)
    await shown(first, url, 1_000_000)
    await first.close()
    with pytest.raises(asyncio.CancelledError):
        await filling
    held.open()
    assert partials(tmp_path) == [1_000_000]
    upstream.put("/x.pth", Ranged(large_checkpoint))
    second = await start()
    assert (await second.fill(Wanted(url))).size == len(large_checkpoint)
    assert upstream.headers[-1]["range"] == "bytes=1000000-"
    assert partials(tmp_path) == []


async def test_a_file_that_does_not_fit_is_refused_before_its_first_byte_is_written(
    start: Open, upstream: Upstream, small_checkpoint: bytes, tmp_path: Path
) -> None:
    fills = await start(spare=1 << 60)
    with pytest.raises(OutOfSpace, match="free space"):
        await fills.fill(Wanted(upstream.put("/x.pth", small_checkpoint)))
    assert partials(tmp_path) == []


async def test_offline_begins_nothing(start: Open, upstream: Upstream, small_checkpoint: bytes) -> None:
    fills = await start(offline=True)
    with pytest.raises(Offline, match="zooproxy bundle import"):
        await fills.fill(Wanted(upstream.put("/x.pth", small_checkpoint)))
    assert upstream.seen == []


async def test_what_may_be_shown_stops_short_of_the_end(
    start: Open, upstream: Upstream, large_checkpoint: bytes
) -> None:
    fills = await start()
    gate = Gate(large_checkpoint, len(large_checkpoint) - 1)
    url = upstream.put("/x.pth", gate)
    await shown(fills, url, len(large_checkpoint) - 1)
    growing = fills.follow(Wanted(url))
    assert growing.shown(growing.generation) == len(large_checkpoint) - HOLD_BACK
    gate.open()
    await growing.done()
    assert growing.shown(growing.generation) == len(large_checkpoint)


async def test_a_source_that_changed_is_refused_remembered_and_told(
    start: Open, upstream: Upstream, small_checkpoint: bytes, large_checkpoint: bytes, database: Database
) -> None:
    fills = await start()
    index = Index(database)
    url = upstream.put("/x.pth", small_checkpoint)
    held = await fills.fill(Wanted(url))
    await index.forget(held.sha256)
    upstream.put("/x.pth", large_checkpoint)
    heard = fills.events.listen(10)
    listening = asyncio.create_task(anext(heard))
    await asyncio.sleep(0)
    with pytest.raises(SourceChanged) as changed:
        await fills.fill(Wanted(url))
    event = await listening
    assert event is not None
    assert (event.kind, event.data["actual_sha256"]) == ("quarantined", changed.value.actual)
    trusted = await index.trust.of(url)
    assert trusted is not None
    assert (trusted.sha256, trusted.refused) == (held.sha256, changed.value.actual)
    await heard.aclose()


async def test_what_another_process_publishes_between_look_and_lease_is_not_fetched_again(
    start: Open, upstream: Upstream, small_checkpoint: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = await start(), await start()
    take = Leases.take

    async def taken_late(leases: Leases, url: str, dead: tuple[int, int] | None = None) -> Lease:
        monkeypatch.setattr(Leases, "take", take)
        await first.fill(Wanted(url))
        return await take(leases, url, dead)

    monkeypatch.setattr(Leases, "take", taken_late)
    url = upstream.put("/x.pth", small_checkpoint)
    assert await second.fill(Wanted(url)) == await first.fill(Wanted(url))
    assert upstream.seen == ["/x.pth"]
    assert [lease.owner for lease in await second._leases.all()] == []


async def test_reports_tell_of_running_ended_and_other_processes_fills(
    start: Open, upstream: Upstream, large_checkpoint: bytes
) -> None:
    first, second = await start(), await start()
    held = Ranged(large_checkpoint, hold=1_000_000)
    url = upstream.put("/x.pth", held)
    running = first.start(Wanted(url), urgent=False, ref="x://x")
    await reached(held)
    (here,), (there,) = await first.reports(), await second.reports()
    assert (here.state, here.here, here.refs) == ("running", True, ["x://x"])
    assert (there.state, there.here, there.id) == ("running", False, here.id)
    held.open()
    await running.task
    (ended,) = await first.reports()
    assert (ended.state, ended.bytes_done) == ("done", len(large_checkpoint))
    assert await second.reports() == []
    with pytest.raises(UpstreamStatus):
        await first.fill(Wanted(upstream.put("/gone.pth", status(404))))
    assert [report.error["type"] for report in await first.reports() if report.error] == [
        "urn:zooproxy:problem:upstream-status"
    ]
    assert first.hosts() == {}
