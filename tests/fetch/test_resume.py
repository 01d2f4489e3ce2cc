"""Going on where a transfer stopped: only where the bytes are known to be the same."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fakes.landings import landing_in
from fakes.upstream import Ranged, Upstream, answer, close_delimited, in_turn, status, truncated
from zooproxy.cache.local import LocalBlobStore
from zooproxy.digest import Sha256
from zooproxy.errors import DigestMismatch, UpstreamStatus, UpstreamTooLarge, UpstreamTruncated
from zooproxy.fetch.attempt import Limits
from zooproxy.fetch.fetcher import Fetcher
from zooproxy.fetch.http import HttpUpstream, open_http
from zooproxy.fetch.policy import AllowedHosts, Mirrors
from zooproxy.fetch.proof import Wanted
from zooproxy.fetch.retries import Retries
from zooproxy.provide.landing import Landing

URL = "https://zoo.example/net.pth"


@pytest.fixture
async def http() -> AsyncIterator[HttpUpstream]:
    async with open_http(exempt=lambda host, port: True) as http:
        yield http


@pytest.fixture
async def landing(tmp_path: Path) -> AsyncIterator[Landing]:
    landing = landing_in(LocalBlobStore(tmp_path), promised=True)
    yield landing
    await landing.discard()


class Play:
    """One upstream that is asked under one or two names, in order."""

    def __init__(self, http: HttpUpstream, upstream: Upstream, landing: Landing) -> None:
        self._http = http
        self._upstream = upstream
        self._landing = landing

    async def fetch(self, wanted: Wanted, *behaviours: object, largest: int = 0) -> bytes:
        mirrors = []
        for number, behaviour in enumerate(behaviours):
            self._upstream.put(f"/{number}/net.pth", behaviour)  # type: ignore[arg-type]
            mirrors.append(f"{self._upstream.url}/{number}")
        limits = Limits(Retries(tries=3, first_delay=0.001), largest=largest)
        both = {"http": self._http, "https": self._http}
        fetcher = Fetcher(both, AllowedHosts(["zoo.example"]), Mirrors({"zoo.example": [*mirrors, "off"]}), limits)
        await fetcher.fetch(wanted, self._landing)
        with self._landing.file() as file:
            return file.read()

    @property
    def ranges(self) -> list[str | None]:
        """What each request asked for."""
        return [headers.get("range") for headers in self._upstream.headers]

    @property
    def conditions(self) -> list[str | None]:
        return [headers.get("if-range") for headers in self._upstream.headers]


@pytest.fixture
def play(http: HttpUpstream, upstream: Upstream, landing: Landing) -> Play:
    return Play(http, upstream, landing)


async def test_a_body_cut_short_is_continued_from_its_last_byte(play: Play, small_checkpoint: bytes) -> None:
    fetched = await play.fetch(Wanted(URL), Ranged(small_checkpoint, cuts=[300, 200]))
    assert fetched == small_checkpoint
    assert play.ranges == [None, "bytes=300-", "bytes=500-"]
    assert play.conditions == [None, '"v1"', '"v1"']


async def test_progress_begins_a_new_row_of_tries(play: Play, small_checkpoint: bytes) -> None:
    assert await play.fetch(Wanted(URL), Ranged(small_checkpoint, cuts=[100] * 8)) == small_checkpoint


async def test_without_a_validator_and_a_promise_it_starts_again(play: Play, small_checkpoint: bytes) -> None:
    assert await play.fetch(Wanted(URL), Ranged(small_checkpoint, etag=None, cuts=[300])) == small_checkpoint
    assert play.ranges == [None, None]


async def test_a_promised_digest_allows_to_continue_without_a_validator(play: Play, small_checkpoint: bytes) -> None:
    wanted = Wanted(URL, pin=Sha256.of(small_checkpoint))
    assert await play.fetch(wanted, Ranged(small_checkpoint, etag=None, cuts=[300])) == small_checkpoint
    assert (play.ranges, play.conditions) == ([None, "bytes=300-"], [None, None])


async def test_a_tag_that_changes_between_ranges_starts_again(play: Play, small_checkpoint: bytes) -> None:
    other = bytes(len(small_checkpoint))
    behaviour = in_turn(Ranged(other, '"v1"', cuts=[300]), Ranged(small_checkpoint, '"v2"'))
    assert await play.fetch(Wanted(URL), behaviour) == small_checkpoint
    assert play.conditions == [None, '"v1"']


async def test_a_200_to_a_range_starts_again(play: Play, small_checkpoint: bytes) -> None:
    behaviour = in_turn(Ranged(small_checkpoint, cuts=[300]), answer(200, small_checkpoint))
    assert await play.fetch(Wanted(URL), behaviour) == small_checkpoint


async def test_a_lying_206_is_never_joined(play: Play, small_checkpoint: bytes) -> None:
    size = len(small_checkpoint)
    lie = answer(206, small_checkpoint[300:], Content_Range=f"bytes 299-{size - 1}/{size}")
    behaviour = in_turn(Ranged(small_checkpoint, cuts=[300]), lie, Ranged(small_checkpoint))
    assert await play.fetch(Wanted(URL), behaviour) == small_checkpoint
    assert play.ranges == [None, "bytes=300-", None]


async def test_another_candidate_with_the_same_tag_continues(play: Play, small_checkpoint: bytes) -> None:
    first = in_turn(Ranged(small_checkpoint, cuts=[300]), status(404))
    assert await play.fetch(Wanted(URL), first, Ranged(small_checkpoint)) == small_checkpoint
    assert play.ranges == [None, "bytes=300-", "bytes=300-"]


async def test_another_candidate_with_another_tag_starts_again_unless_a_digest_is_promised(
    play: Play, small_checkpoint: bytes
) -> None:
    first = in_turn(Ranged(small_checkpoint, cuts=[300]), status(404))
    assert await play.fetch(Wanted(URL), first, Ranged(small_checkpoint, '"other"')) == small_checkpoint
    assert play.conditions == [None, '"v1"', '"v1"']


async def test_another_candidate_continues_where_a_digest_is_promised(play: Play, small_checkpoint: bytes) -> None:
    first = in_turn(Ranged(small_checkpoint, cuts=[300]), status(404))
    wanted = Wanted(URL, hint=Sha256.of(small_checkpoint)[:8])
    assert await play.fetch(wanted, first, Ranged(small_checkpoint, '"other"')) == small_checkpoint
    assert (play.ranges[-1], play.conditions[-1]) == ("bytes=300-", None)


async def test_a_joint_that_does_not_hash_is_fetched_once_more_in_one_piece(
    play: Play, small_checkpoint: bytes
) -> None:
    other = bytes(len(small_checkpoint))
    wanted = Wanted(URL, hint=Sha256.of(small_checkpoint)[:8])
    first = in_turn(Ranged(other, cuts=[300]), status(404))
    assert await play.fetch(wanted, first, Ranged(small_checkpoint, '"other"')) == small_checkpoint
    assert play.ranges == [None, "bytes=300-", "bytes=300-", None]


async def test_wrong_bytes_in_one_piece_are_not_fetched_again(play: Play, small_checkpoint: bytes) -> None:
    with pytest.raises(DigestMismatch):
        await play.fetch(Wanted(URL, hint="0badc0de"), Ranged(small_checkpoint))
    assert play.ranges == [None]


async def test_503_three_times_then_well(play: Play, small_checkpoint: bytes) -> None:
    behaviour = in_turn(status(503), answer(429, b"", Retry_After="0"), Ranged(small_checkpoint))
    assert await play.fetch(Wanted(URL), behaviour) == small_checkpoint


@pytest.mark.parametrize(("code", "requests"), [(404, 1), (410, 1), (403, 1), (500, 3), (503, 3), (429, 3)])
async def test_only_what_may_pass_is_asked_again(play: Play, code: int, requests: int) -> None:
    with pytest.raises(UpstreamStatus):
        await play.fetch(Wanted(URL), status(code))
    assert len(play.ranges) == requests


async def test_a_retry_after_longer_than_anybody_waits_ends_the_tries(play: Play) -> None:
    with pytest.raises(UpstreamStatus):
        await play.fetch(Wanted(URL), answer(503, b"", Retry_After="86400"))
    assert len(play.ranges) == 1


async def test_no_new_byte_in_all_tries_is_the_end(play: Play, small_checkpoint: bytes) -> None:
    with pytest.raises(UpstreamTruncated):
        await play.fetch(Wanted(URL), truncated(small_checkpoint, 300))
    assert play.ranges == [None] * 3


@pytest.mark.parametrize("behaviour", [Ranged, close_delimited], ids=["declared", "undeclared"])
async def test_a_file_larger_than_allowed_is_refused(play: Play, small_checkpoint: bytes, behaviour) -> None:
    with pytest.raises(UpstreamTooLarge, match="MAX_FILE_BYTES"):
        await play.fetch(Wanted(URL), behaviour(small_checkpoint), largest=1000)
