"""The HTTP upstream against real sockets: what is read, what is refused, what it is told."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator, Callable

import httpx2
import pytest

from fakes.upstream import Upstream, chunked, close_delimited, encoded, redirect, reset, status, truncated
from zooproxy.errors import RedirectRefused, UpstreamEncoded, UpstreamStatus, UpstreamTruncated, UpstreamUnreachable
from zooproxy.fetch.http import BLOCK, MAX_REDIRECTS, HttpUpstream, open_http

BODY = bytes(range(256)) * 9000  # more than two blocks


@pytest.fixture
async def http() -> AsyncIterator[HttpUpstream]:
    async with open_http() as http:
        yield http


def everywhere(_: str) -> bool:
    return True


async def read(http: HttpUpstream, url: str, allows: Callable[[str], bool] = everywhere) -> bytes:
    async with http.get(url, allows) as body:
        return b"".join([block async for block in body.blocks])


async def test_a_body_comes_whole_in_blocks_with_its_declared_length(http: HttpUpstream, upstream: Upstream) -> None:
    async with http.get(upstream.put("/x", BODY), everywhere) as body:
        blocks = [block async for block in body.blocks]
    assert body.length == len(BODY)
    assert b"".join(blocks) == BODY
    assert [len(block) for block in blocks[:-1]] == [BLOCK] * (len(blocks) - 1)


async def test_it_asks_for_identity_and_sends_nothing_it_need_not(http: HttpUpstream, upstream: Upstream) -> None:
    await read(http, upstream.put("/x", BODY))
    assert upstream.headers[0]["accept-encoding"] == "identity"
    assert set(upstream.headers[0]) <= {"host", "accept", "accept-encoding", "connection", "user-agent"}


@pytest.mark.parametrize("behaviour", [chunked(BODY), close_delimited(BODY)], ids=["chunked", "close-delimited"])
async def test_a_body_of_no_declared_length_comes_whole(http: HttpUpstream, upstream: Upstream, behaviour) -> None:
    async with http.get(upstream.put("/x", behaviour), everywhere) as body:
        assert body.length is None
        assert b"".join([block async for block in body.blocks]) == BODY


@pytest.mark.parametrize("fault", [truncated, reset])
async def test_a_body_cut_short_is_truncated_with_both_lengths(http: HttpUpstream, upstream: Upstream, fault) -> None:
    with pytest.raises(UpstreamTruncated) as cut:
        await read(http, upstream.put("/x", fault(BODY, 300_000)))
    assert cut.value.expected == len(BODY)
    assert cut.value.received <= 300_000
    assert cut.value.url.endswith("/x")


@pytest.mark.parametrize("code", [204, 206, 304, 403, 404, 410, 429, 500, 503])
async def test_any_answer_but_200_is_refused_with_its_status(http: HttpUpstream, upstream: Upstream, code: int) -> None:
    with pytest.raises(UpstreamStatus, match=str(code)) as refused:
        await read(http, upstream.put("/x", status(code, b"")))
    assert refused.value.status == code


async def test_an_encoded_body_is_refused_although_it_would_inflate(http: HttpUpstream, upstream: Upstream) -> None:
    with pytest.raises(UpstreamEncoded):
        await read(http, upstream.put("/x", encoded(gzip.compress(BODY))))


async def test_nobody_listening_is_unreachable(http: HttpUpstream) -> None:
    with pytest.raises(UpstreamUnreachable, match="cannot be reached"):
        await read(http, "http://127.0.0.1:1/x")


async def test_a_time_out_without_words_is_unreachable_and_named() -> None:
    def hang(request: httpx2.Request) -> httpx2.Response:
        raise httpx2.ConnectTimeout("", request=request)

    async with open_http(httpx2.MockTransport(hang)) as http:
        with pytest.raises(UpstreamUnreachable, match="ConnectTimeout"):
            await read(http, "http://zoo.example/x")


async def test_redirects_are_followed_and_the_last_url_is_told(http: HttpUpstream, upstream: Upstream) -> None:
    upstream.put("/c", BODY)
    upstream.put("/b", redirect("c"))
    async with http.get(upstream.put("/a", redirect("/b", 301)), everywhere) as body:
        assert body.url == upstream.url + "/c"
        assert b"".join([block async for block in body.blocks]) == BODY
    assert upstream.seen == ["/a", "/b", "/c"]


async def test_a_redirect_loop_ends_after_the_limit(http: HttpUpstream, upstream: Upstream) -> None:
    with pytest.raises(RedirectRefused, match="more than 5 times"):
        await read(http, upstream.put("/a", redirect("/a")))
    assert len(upstream.seen) == MAX_REDIRECTS + 1


async def test_a_redirect_to_a_host_that_is_not_allowed_is_not_followed(http: HttpUpstream, upstream: Upstream) -> None:
    with pytest.raises(RedirectRefused, match="'localhost'"):
        await read(
            http,
            upstream.put("/a", redirect(f"http://localhost:{upstream.port}/b")),
            lambda url: "localhost" not in url,
        )
    assert upstream.seen == ["/a"]


@pytest.mark.parametrize("target", ["file:///etc/passwd", "ftp://zoo.example/x"])
async def test_a_redirect_away_from_http_is_refused(http: HttpUpstream, upstream: Upstream, target: str) -> None:
    with pytest.raises(RedirectRefused, match=r"no http\(s\) URL"):
        await read(http, upstream.put("/a", redirect(target)))


async def test_a_redirect_from_https_down_to_http_is_refused() -> None:
    def down(request: httpx2.Request) -> httpx2.Response:
        return httpx2.Response(302, headers={"location": "http://zoo.example/x"})

    async with open_http(httpx2.MockTransport(down)) as http:
        with pytest.raises(RedirectRefused, match="down to http"):
            await read(http, "https://zoo.example/x")


async def test_a_redirect_without_a_target_is_only_a_bad_status(http: HttpUpstream, upstream: Upstream) -> None:
    with pytest.raises(UpstreamStatus, match="302"):
        await read(http, upstream.put("/a", status(302)))


async def test_a_proxy_in_the_environment_is_not_used(upstream: Upstream, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    async with open_http() as http:
        assert await read(http, upstream.put("/x", BODY)) == BODY
