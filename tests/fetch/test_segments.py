"""One file over several connections: in parts where that is known to be sound, each byte once, else in one stream."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from fakes.landings import landing_in
from fakes.upstream import (
    Behaviour,
    Parts,
    Ranged,
    Upstream,
    answer,
    cut_part,
    honest,
    in_turn,
    part,
    running_upstream,
    stalled_part,
    status,
)
from zooproxy.cache.local import LocalBlobStore
from zooproxy.digest import Sha256
from zooproxy.errors import DigestMismatch, UpstreamStatus, UpstreamTooLarge
from zooproxy.fetch.attempt import Limits, Segments
from zooproxy.fetch.fetcher import Fetcher
from zooproxy.fetch.http import open_http
from zooproxy.fetch.pace import Bandwidth
from zooproxy.fetch.policy import AllowedHosts, Mirrors
from zooproxy.fetch.proof import Wanted
from zooproxy.fetch.retries import Retries
from zooproxy.fetch.slots import Slots
from zooproxy.fetch.upstream import Patience
from zooproxy.provide.growing import Growing
from zooproxy.provide.landing import Landing

URL = "https://zoo.example/net.pth"
PART = 256 << 10
FOUR = Segments(4, PART, 0)
WANTED = Wanted(URL)


class Play:
    """One upstream asked under one name, by a fetcher that takes it in parts."""

    def __init__(self, upstream: Upstream, landing: Landing) -> None:
        self.upstream = upstream
        self.landing = landing

    async def fetch(
        self,
        behaviour: Behaviour,
        wanted: Wanted = WANTED,
        *,
        segments: Segments = FOUR,
        connections: int = 8,
        **limits: Any,
    ) -> bytes:
        self.upstream.put("/net.pth", behaviour)
        limits = {
            "retries": Retries(tries=3, first_delay=0.001),
            "segments": segments,
            "connections": Slots(None, connections),
            **limits,
        }
        async with open_http(exempt=lambda host, port: True, patience=Patience(stall_seconds=1)) as http:
            mirrors = Mirrors({"zoo.example": [self.upstream.url, "off"]})
            fetcher = Fetcher({"http": http, "https": http}, AllowedHosts(["zoo.example"]), mirrors, Limits(**limits))
            await fetcher.fetch(wanted, self.landing)
        with self.landing.file() as file:
            return file.read()

    @property
    def ranges(self) -> list[str | None]:
        """What each request asked for."""
        return [headers.get("range") for headers in self.upstream.headers]


@pytest.fixture
def growing() -> Iterator[Growing]:
    growing = Growing(URL)
    yield growing
    growing.forget()


@pytest.fixture
async def landing(tmp_path: Path, growing: Growing) -> AsyncIterator[Landing]:
    landing = landing_in(LocalBlobStore(tmp_path), growing, promised=True)
    yield landing
    await landing.discard()


@pytest.fixture
def play(upstream: Upstream, landing: Landing) -> Play:
    return Play(upstream, landing)


def bounds(size: int, start: int = 0) -> list[tuple[int, int]]:
    return [(first, min(first + PART, size)) for first in range(start, size, PART)]


async def test_a_large_file_is_taken_in_parts_by_several_connections_each_byte_once(
    play: Play, large_checkpoint: bytes
) -> None:
    host = Parts(large_checkpoint, rate=4e6)
    assert await play.fetch(host) == large_checkpoint
    assert sorted(host.asked) == bounds(len(large_checkpoint))
    assert host.most == 4
    assert play.ranges[0] == f"bytes=0-{PART - 1}"
    assert {headers.get("if-range") for headers in play.upstream.headers[1:]} == {'"v1"'}


async def test_an_upstream_that_is_fast_enough_keeps_to_one_connection(play: Play, large_checkpoint: bytes) -> None:
    host = Parts(large_checkpoint)
    assert await play.fetch(host, segments=Segments(4, PART, 60)) == large_checkpoint
    assert host.asked == bounds(len(large_checkpoint))
    assert host.most == 1


async def test_the_others_join_one_that_turns_out_slow(play: Play, large_checkpoint: bytes) -> None:
    host = Parts(large_checkpoint, rate=2e6)
    assert await play.fetch(host, segments=Segments(4, PART, 0.01)) == large_checkpoint
    assert sorted(host.asked) == bounds(len(large_checkpoint))
    assert host.most == 4


async def test_one_connection_asks_for_no_range(play: Play, large_checkpoint: bytes) -> None:
    assert await play.fetch(Parts(large_checkpoint), segments=Segments(1, PART)) == large_checkpoint
    assert play.ranges == [None]


async def test_a_file_no_larger_than_a_part_is_one_request(play: Play, small_checkpoint: bytes) -> None:
    assert await play.fetch(Parts(small_checkpoint)) == small_checkpoint
    assert len(play.ranges) == 1


async def test_a_host_without_ranges_sends_one_stream(play: Play, large_checkpoint: bytes) -> None:
    assert await play.fetch(honest(large_checkpoint)) == large_checkpoint
    assert len(play.ranges) == 1


async def test_parts_without_a_validator_and_a_promise_are_not_joined(play: Play, large_checkpoint: bytes) -> None:
    assert await play.fetch(Parts(large_checkpoint, etag=None)) == large_checkpoint
    assert play.ranges == [f"bytes=0-{PART - 1}", None]


async def test_parts_without_a_validator_are_joined_where_a_digest_is_promised(
    play: Play, large_checkpoint: bytes
) -> None:
    host = Parts(large_checkpoint, etag=None)
    assert await play.fetch(host, Wanted(URL, hint=Sha256.of(large_checkpoint)[:8])) == large_checkpoint
    assert sorted(host.asked) == bounds(len(large_checkpoint))


@pytest.mark.parametrize("at", [0, PART, 5 * PART])
@pytest.mark.parametrize("fault", ["truncated", "reset", "stalled"])
async def test_a_part_that_breaks_off_is_asked_for_from_where_it_stopped(
    play: Play, large_checkpoint: bytes, at: int, fault: str
) -> None:
    broken = {
        "truncated": lambda *where: cut_part(*where),
        "reset": lambda *where: cut_part(*where, by_reset=True),
        "stalled": lambda *where: stalled_part(*where),
    }[fault]
    host = Parts(large_checkpoint, faults={at: broken(large_checkpoint, at, at + PART, 100_000)})
    assert await play.fetch(host) == large_checkpoint
    again = [(start, stop) for start, stop in host.asked if start % PART]
    # A reset may overtake bytes that were sent before it.
    assert [(at <= start <= at + 100_000, stop) for start, stop in again] in ([(True, at + PART)], [])
    assert len(play.ranges) == len(bounds(len(large_checkpoint))) + 1


async def test_a_refusal_of_more_connections_is_waited_out(play: Play, large_checkpoint: bytes) -> None:
    host = Parts(large_checkpoint, faults={2 * PART: status(503)})
    assert await play.fetch(host) == large_checkpoint
    assert sorted(host.asked) == bounds(len(large_checkpoint))


async def test_a_part_that_fails_twice_ends_the_parts_and_one_stream_goes_on_from_the_first_gap(
    play: Play, large_checkpoint: bytes
) -> None:
    host = Parts(large_checkpoint)
    faults = [cut_part(large_checkpoint, 3 * PART, 4 * PART, 0)] * 2

    def twice(handler) -> None:
        if faults and handler.headers.get("Range", "").startswith(f"bytes={3 * PART}-"):
            faults.pop()(handler)
        else:
            host(handler)

    assert await play.fetch(twice) == large_checkpoint
    (rest,) = [int(asked[6:-1]) for asked in play.ranges if asked is not None and asked.endswith("-")]
    assert 0 < rest <= 3 * PART


LIES = {
    "another range": lambda body: part(body, PART + 1, 2 * PART + 1),
    "another length": lambda body: part(body, PART, 2 * PART, total=len(body) + 1),
    "another tag": lambda body: part(body, PART, 2 * PART, etag='"v2"'),
    "the whole": lambda body: answer(200, body, ETag='"v1"'),
    "no such range": lambda body: status(416),
    "more than announced": lambda body: answer(
        206, body[PART : 2 * PART + 9], Content_Range=f"bytes {PART}-{2 * PART - 1}/{len(body)}", ETag='"v1"'
    ),
}


@pytest.mark.parametrize("lie", LIES.values(), ids=LIES.keys())
async def test_a_part_that_is_not_believed_begins_all_anew_in_one_stream(
    play: Play, large_checkpoint: bytes, lie
) -> None:
    assert await play.fetch(Parts(large_checkpoint, faults={PART: lie(large_checkpoint)})) == large_checkpoint
    assert play.ranges.count(None) == 1


async def test_a_file_that_changes_between_parts_is_never_joined(play: Play, large_checkpoint: bytes) -> None:
    old, new = Parts(bytes(len(large_checkpoint)), '"v1"'), Parts(large_checkpoint, '"v2"')
    assert await play.fetch(in_turn(old, old, new)) == large_checkpoint
    assert play.ranges.count(None) == 1


async def test_a_part_with_wrong_bytes_is_found_by_the_digest_and_all_is_fetched_in_one_piece(
    play: Play, large_checkpoint: bytes
) -> None:
    lying = part(bytes(len(large_checkpoint)), PART, 2 * PART)
    wanted = Wanted(URL, hint=Sha256.of(large_checkpoint)[:8])
    assert await play.fetch(Parts(large_checkpoint, faults={PART: lying}), wanted) == large_checkpoint
    assert play.ranges.count(None) == 1


async def test_wrong_bytes_in_parts_and_in_one_piece_are_refused(play: Play, large_checkpoint: bytes) -> None:
    with pytest.raises(DigestMismatch):
        await play.fetch(Parts(large_checkpoint), Wanted(URL, hint="0badc0de"))
    assert play.ranges.count(None) == 1
    assert play.landing.size == 0


async def test_a_host_never_has_more_connections_than_it_may(play: Play, large_checkpoint: bytes) -> None:
    host = Parts(large_checkpoint, rate=20e6)
    assert await play.fetch(host, connections=2) == large_checkpoint
    assert host.most == 2


async def test_parts_keep_together_to_the_bandwidth_of_all(play: Play, large_checkpoint: bytes) -> None:
    begun = time.monotonic()
    assert await play.fetch(Parts(large_checkpoint), bandwidth=Bandwidth(20_000_000)) == large_checkpoint
    assert time.monotonic() - begun >= len(large_checkpoint) / 20e6 * 0.9


async def test_no_part_begins_too_far_beyond_a_gap(play: Play, large_checkpoint: bytes) -> None:
    """The first part stalls; what the others have taken when it is given up lies within the bound."""
    host = Parts(large_checkpoint, faults={0: stalled_part(large_checkpoint, 0, PART, 0)})
    two = Segments(2, PART, 0)
    assert await play.fetch(host, segments=two) == large_checkpoint
    again = play.ranges.index(f"bytes=0-{PART - 1}", 1)
    assert max(int((asked or "=0-").split("=")[1].split("-")[0]) for asked in play.ranges[:again]) == two.ahead


async def test_what_was_there_before_is_continued_in_parts(play: Play, large_checkpoint: bytes) -> None:
    with pytest.raises(UpstreamStatus):
        await play.fetch(in_turn(Ranged(large_checkpoint, cuts=[100_000]), status(404)), segments=Segments(1, PART))
    host = Parts(large_checkpoint)
    assert await play.fetch(host) == large_checkpoint
    assert sorted(host.asked) == bounds(len(large_checkpoint), 100_000)


async def test_a_file_larger_than_allowed_is_refused_before_a_second_part_is_asked_for(
    play: Play, large_checkpoint: bytes
) -> None:
    with pytest.raises(UpstreamTooLarge, match="MAX_FILE_BYTES"):
        await play.fetch(Parts(large_checkpoint), largest=len(large_checkpoint) - 1)
    assert len(play.ranges) == 1


async def test_an_upstream_that_is_filling_itself_is_asked_for_one_part_at_a_time(
    play: Play, large_checkpoint: bytes
) -> None:
    host = Parts(large_checkpoint, rate=20e6)

    def filling(handler) -> None:
        handler.send_header = lambda name, value, plain=handler.send_header: (  # type: ignore[method-assign]
            plain("Zooproxy-State", "filling") if name == "Content-Length" else None,
            plain(name, value),
        )
        try:
            host(handler)
        finally:
            del handler.send_header

    assert await play.fetch(filling) == large_checkpoint
    assert host.most == 1


async def test_a_cancelled_fetch_leaves_what_is_there_without_a_gap(
    play: Play, growing: Growing, large_checkpoint: bytes
) -> None:
    host = Parts(large_checkpoint, hold=2 * PART)
    fetching = asyncio.create_task(play.fetch(host))
    for _ in range(2):
        assert await asyncio.to_thread(host.held.acquire, timeout=30)
    while growing.size < 2 * PART:
        await growing.change()
    fetching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await fetching
    host.open()
    assert await play.landing.keep() == 2 * PART


@st.composite
def weathers(draw: st.DrawFn) -> tuple[int, int, dict[int, tuple[str, int]]]:
    """Bytes of a part, connections, and by the position of a part what befalls it after how many bytes."""
    size = draw(st.integers(300, 3000))
    kinds = st.sampled_from(["truncated", "reset", "refused", "lie", "changed"])
    positions = st.integers(0, 9).map(lambda number: number * size)
    return size, draw(st.integers(2, 6)), draw(st.dictionaries(positions, st.tuples(kinds, st.integers(0, size))))


@pytest.fixture(scope="module")
def host() -> Iterator[Upstream]:
    with running_upstream() as upstream:
        yield upstream


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(weather=weathers())
@example(weather=(1829, 2, {0: ("lie", 0)}))
def test_whatever_befalls_which_part_the_bytes_are_right(
    host: Upstream, tmp_path: Path, weather: tuple[int, int, dict[int, tuple[str, int]]], small_checkpoint: bytes
) -> None:
    size, connections, ills = weather
    body = small_checkpoint

    def ill(start: int, kind: str, after: int) -> Behaviour:
        stop = min(start + size, len(body))
        return {
            "truncated": lambda: cut_part(body, start, stop, min(after, stop - start - 1)),
            "reset": lambda: cut_part(body, start, stop, min(after, stop - start - 1), by_reset=True),
            "refused": lambda: status(503),
            "lie": lambda: part(os.urandom(len(body)), start, stop),
            "changed": lambda: part(body, start, stop, etag='"v2"'),
        }[kind]()

    # A lie about the whole file is no matter of joining: it is refused, and not asked for again.
    likely = {
        start: what for start, what in ills.items() if start < len(body) and (what[0] != "lie" or size < len(body))
    }
    faults = {start: ill(start, *what) for start, what in likely.items()}

    async def fetched() -> bytes:
        landing = landing_in(LocalBlobStore(tmp_path), promised=True)
        try:
            wanted = Wanted(URL, pin=Sha256.of(body))
            return await Play(host, landing).fetch(
                Parts(body, faults=faults), wanted, segments=Segments(connections, size, 0)
            )
        finally:
            await landing.discard()

    assert asyncio.run(fetched()) == body
