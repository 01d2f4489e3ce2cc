"""From a source to a proven partial: candidates in order, nothing left of those that failed."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from fakes.landings import landing_in
from fakes.upstream import Upstream, redirect, status, truncated
from zooproxy.cache.local import LocalBlobStore
from zooproxy.digest import Sha256
from zooproxy.errors import (
    DigestMismatch,
    HostNotAllowed,
    NotACheckpoint,
    RedirectRefused,
    UnsupportedSource,
    UpstreamStatus,
    UpstreamTruncated,
)
from zooproxy.fetch.attempt import Limits
from zooproxy.fetch.fetcher import Fetcher
from zooproxy.fetch.http import HttpUpstream, open_http
from zooproxy.fetch.policy import AllowedHosts, Mirrors
from zooproxy.fetch.proof import Wanted
from zooproxy.fetch.retries import Retries
from zooproxy.provide.landing import Landing

URL = "https://zoo.example/models/net.pth"


@pytest.fixture
async def http() -> AsyncIterator[HttpUpstream]:
    async with open_http(exempt=lambda host, port: True) as http:
        yield http


@pytest.fixture
def store(tmp_path: Path) -> LocalBlobStore:
    return LocalBlobStore(tmp_path)


def fetcher(http: HttpUpstream, *mirrors: str, hosts: tuple[str, ...] = ("zoo.example",), **limits: Any) -> Fetcher:
    both = {"http": http, "https": http}
    limits = {"retries": Retries(tries=3, first_delay=0.001), **limits}
    return Fetcher(both, AllowedHosts(hosts), Mirrors({"zoo.example": [*mirrors, "off"]}), Limits(**limits))


@asynccontextmanager
async def fetched(fetcher: Fetcher, wanted: Wanted, store: LocalBlobStore) -> AsyncIterator[Landing]:
    landing = landing_in(store, promised=bool(wanted.promise))
    try:
        await fetcher.fetch(wanted, landing)
        yield landing
    finally:
        await landing.discard()


def left_in(path: Path) -> list[Path]:
    return [file for file in path.rglob("*") if file.is_file()]


def content(landing: Landing) -> bytes:
    with landing.file() as file:
        return file.read()


async def test_a_proven_partial_is_handed_over_unpublished(
    http: HttpUpstream, upstream: Upstream, store: LocalBlobStore, small_checkpoint: bytes
) -> None:
    upstream.put("/models/net.pth", small_checkpoint)
    pin = Sha256.of(small_checkpoint)
    async with fetched(fetcher(http, upstream.url), Wanted(URL, pin=pin), store) as staged:
        assert content(staged) == small_checkpoint
        assert await staged.digest() == pin


@pytest.mark.parametrize("hint", ["", "{digest:.8}", "{digest:.64}"])
async def test_a_hint_that_fits_is_believed(
    http: HttpUpstream, upstream: Upstream, store: LocalBlobStore, small_checkpoint: bytes, hint: str
) -> None:
    upstream.put("/models/net.pth", small_checkpoint)
    wanted = Wanted(URL, hint.format(digest=Sha256.of(small_checkpoint)) or None)
    async with fetched(fetcher(http, upstream.url), wanted, store) as staged:
        assert staged.size == len(small_checkpoint)


async def test_a_pin_outranks_the_hint(
    http: HttpUpstream, upstream: Upstream, store: LocalBlobStore, small_checkpoint: bytes
) -> None:
    upstream.put("/models/net.pth", small_checkpoint)
    wanted = Wanted(URL, hint="00000000", pin=Sha256.of(small_checkpoint))
    async with fetched(fetcher(http, upstream.url), wanted, store) as staged:
        assert staged.size == len(small_checkpoint)


@pytest.mark.parametrize(
    ("wanted", "promised"),
    [
        (Wanted(URL, hint="0badc0de"), "file name promises 0badc0de"),
        (Wanted(URL, pin=Sha256("0" * 64)), "its pin says 0000"),
    ],
)
async def test_wrong_bytes_are_refused_with_both_digests_and_leave_nothing(
    http: HttpUpstream,
    upstream: Upstream,
    store: LocalBlobStore,
    tmp_path: Path,
    small_checkpoint: bytes,
    wanted: Wanted,
    promised: str,
) -> None:
    upstream.put("/models/net.pth", small_checkpoint)
    with pytest.raises(DigestMismatch, match=promised) as refused:
        async with fetched(fetcher(http, upstream.url), wanted, store):
            pass
    assert refused.value.actual == Sha256.of(small_checkpoint)
    assert left_in(tmp_path) == []


async def test_an_error_page_with_status_200_is_not_a_checkpoint(
    http: HttpUpstream, upstream: Upstream, store: LocalBlobStore, tmp_path: Path
) -> None:
    upstream.put("/models/net.pth", b"<!DOCTYPE html><html><body>This domain has lapsed</body></html>")
    with pytest.raises(NotACheckpoint, match="HTML"):
        async with fetched(fetcher(http, upstream.url), Wanted(URL), store):
            pass
    assert left_in(tmp_path) == []


async def test_the_next_candidate_is_asked_when_one_fails(
    http: HttpUpstream, upstream: Upstream, store: LocalBlobStore, small_checkpoint: bytes
) -> None:
    upstream.put("/short/models/net.pth", truncated(small_checkpoint, 100))
    upstream.put("/wrong/models/net.pth", b"PK\x03\x04 no checkpoint at all")
    upstream.put("/good/models/net.pth", small_checkpoint)
    mirrors = [f"{upstream.url}/{name}" for name in ("gone", "short", "wrong", "good", "unasked")]
    async with fetched(fetcher(http, *mirrors), Wanted(URL), store) as staged:
        assert content(staged) == small_checkpoint
    asked = [path.split("/")[1] for path in upstream.seen]
    assert asked == ["gone", "short", "short", "short", "wrong", "good"]


async def test_when_all_fail_the_last_error_tells_of_the_others(
    http: HttpUpstream, upstream: Upstream, store: LocalBlobStore, tmp_path: Path, small_checkpoint: bytes
) -> None:
    upstream.put("/a/models/net.pth", truncated(small_checkpoint, 100))
    upstream.put("/b/models/net.pth", status(503))
    with pytest.raises(UpstreamStatus, match="503") as refused:
        async with fetched(fetcher(http, upstream.url + "/a", upstream.url + "/b"), Wanted(URL), store):
            pass
    (earlier,) = refused.value.attempts
    assert isinstance(earlier, UpstreamTruncated)
    assert left_in(tmp_path) == []


async def test_a_host_that_is_not_allowed_is_never_asked(
    http: HttpUpstream, upstream: Upstream, store: LocalBlobStore, small_checkpoint: bytes
) -> None:
    url = upstream.put("/net.pth", small_checkpoint)
    with pytest.raises(HostNotAllowed, match=r"127\.0\.0\.1"):
        async with fetched(fetcher(http), Wanted(url), store):
            pass
    assert upstream.seen == []


@pytest.mark.parametrize("url", ["s3://bucket/key.pth", "petrel://bucket/key.pth", "pavi://model"])
async def test_a_source_that_is_not_http_says_so(http: HttpUpstream, store: LocalBlobStore, url: str) -> None:
    with pytest.raises(UnsupportedSource, match="http://"):
        async with fetched(fetcher(http), Wanted(url), store):
            pass


async def test_a_host_whose_mirrors_are_only_off_has_no_candidate(http: HttpUpstream, store: LocalBlobStore) -> None:
    with pytest.raises(UnsupportedSource, match="MIRRORS"):
        async with fetched(fetcher(http), Wanted(URL), store):
            pass


async def test_a_mirror_may_redirect_within_itself_and_to_allowed_hosts_only(
    http: HttpUpstream, upstream: Upstream, store: LocalBlobStore, small_checkpoint: bytes
) -> None:
    upstream.put("/models/net.pth", redirect("/elsewhere"))
    upstream.put("/elsewhere", small_checkpoint)
    async with fetched(fetcher(http, upstream.url), Wanted(URL), store) as staged:
        assert staged.size == len(small_checkpoint)
    upstream.put("/models/net.pth", redirect(f"http://localhost:{upstream.port}/elsewhere"))
    with pytest.raises(RedirectRefused, match="'localhost'"):
        async with fetched(fetcher(http, upstream.url), Wanted(URL), store):
            pass
    allowed = fetcher(http, upstream.url, hosts=("zoo.example", "localhost"))
    async with fetched(allowed, Wanted(URL), store) as staged:
        assert staged.size == len(small_checkpoint)
