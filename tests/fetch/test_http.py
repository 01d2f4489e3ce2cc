"""The HTTP upstream against real sockets: what is read, what is refused, what it is told."""

from __future__ import annotations

import gzip
from collections.abc import AsyncIterator, Callable
from http.server import BaseHTTPRequestHandler

import httpx2
import pytest

from fakes.upstream import (
    Gate,
    Ranged,
    Upstream,
    answer,
    chunked,
    close_delimited,
    encoded,
    honest,
    overlong,
    redirect,
    reset,
    status,
    truncated,
)
from zooproxy.errors import (
    AddressRefused,
    RangeNotBelieved,
    RedirectRefused,
    UpstreamEncoded,
    UpstreamStalled,
    UpstreamStatus,
    UpstreamTruncated,
    UpstreamUnreachable,
)
from zooproxy.fetch.http import MAX_REDIRECTS, HttpUpstream, open_http
from zooproxy.fetch.upstream import Continuation, Patience

BODY = bytes(range(256)) * 9000  # more than two blocks


PARSED, APART = 1 << 40, 1


@pytest.fixture(params=[PARSED, APART], ids=["parsed", "apart"], autouse=True)
def apart_from(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Small bodies go through the HTTP library, large ones do not: what is large is set here."""
    monkeypatch.setattr("zooproxy.fetch.http._APART", request.param)


@pytest.fixture
async def http() -> AsyncIterator[HttpUpstream]:
    async with open_http(exempt=lambda host, port: True) as http:
        yield http


def everywhere(_: str) -> bool:
    return True


async def read(http: HttpUpstream, url: str, allows: Callable[[str], bool] = everywhere) -> bytes:
    async with http.get(url, allows) as body:
        return b"".join([block async for block in body.blocks])


async def test_a_body_comes_whole_with_its_declared_length(http: HttpUpstream, upstream: Upstream) -> None:
    async with http.get(upstream.put("/x", BODY), everywhere) as body:
        blocks = [block async for block in body.blocks]
    assert (body.start, body.version.length) == (0, len(BODY))
    assert b"".join(blocks) == BODY


async def test_it_asks_for_identity_and_sends_nothing_it_need_not(http: HttpUpstream, upstream: Upstream) -> None:
    await read(http, upstream.put("/x", BODY))
    assert upstream.headers[0]["accept-encoding"] == "identity"
    assert set(upstream.headers[0]) <= {"host", "accept", "accept-encoding", "connection", "user-agent"}


@pytest.mark.parametrize("behaviour", [chunked(BODY), close_delimited(BODY)], ids=["chunked", "close-delimited"])
async def test_a_body_of_no_declared_length_comes_whole(http: HttpUpstream, upstream: Upstream, behaviour) -> None:
    async with http.get(upstream.put("/x", behaviour), everywhere) as body:
        assert body.version.length is None
        assert b"".join([block async for block in body.blocks]) == BODY


@pytest.mark.parametrize("fault", [truncated, reset])
async def test_a_body_cut_short_is_truncated_with_both_lengths(http: HttpUpstream, upstream: Upstream, fault) -> None:
    with pytest.raises(UpstreamTruncated) as cut:
        await read(http, upstream.put("/x", fault(BODY, 300_000)))
    assert cut.value.expected == len(BODY)
    assert cut.value.received <= 300_000
    assert cut.value.url.endswith("/x")


async def test_what_comes_after_a_body_is_not_the_answer_to_the_next_request(
    http: HttpUpstream, upstream: Upstream
) -> None:
    forged = b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nforged"
    first, second = upstream.put("/x", overlong(b"first", forged)), upstream.put("/y", b"second")
    assert [await read(http, url) for url in (first, second, first, second)] == [b"first", b"second"] * 2


@pytest.mark.parametrize(("apart_from", "connections"), [(PARSED, 1), (APART, 3)], indirect=["apart_from"])
async def test_a_connection_that_was_not_abused_is_used_again_but_after_a_body_that_was_not_parsed(
    http: HttpUpstream, upstream: Upstream, connections: int
) -> None:
    url = upstream.put("/x", BODY)
    for _ in range(3):
        assert await read(http, url) == BODY
    assert len(set(upstream.peers)) == connections


async def test_what_comes_before_the_final_head_is_no_part_of_the_body(http: HttpUpstream, upstream: Upstream) -> None:
    def hints_first(handler: BaseHTTPRequestHandler) -> None:
        handler.wfile.write(b"HTTP/1.1 103 Early Hints\r\nLink: </style.css>\r\n\r\n")
        honest(BODY)(handler)

    assert await read(http, upstream.put("/x", hints_first)) == BODY


async def test_an_overlong_body_ends_where_it_was_said_to(http: HttpUpstream, upstream: Upstream) -> None:
    assert await read(http, upstream.put("/x", overlong(BODY, b"and more"))) == BODY


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


async def test_redirects_are_followed_and_the_body_is_of_the_url_that_was_asked(
    http: HttpUpstream, upstream: Upstream
) -> None:
    upstream.put("/c", BODY)
    upstream.put("/b", redirect("c"))
    async with http.get(upstream.put("/a", redirect("/b", 301)), everywhere) as body:
        assert body.version.url == upstream.url + "/a"
        assert b"".join([block async for block in body.blocks]) == BODY
    assert upstream.seen == ["/a", "/b", "/c"]


async def test_credentials_are_for_the_url_that_was_asked_and_no_redirect_carries_them_along(
    upstream: Upstream,
) -> None:
    upstream.put("/b", BODY)
    url = upstream.put("/a", redirect("/b"))  # not even to the same host
    asked = {"Authorization": "Bearer secret"}
    credentials = lambda one: asked if one == url else {}  # noqa: E731
    async with open_http(exempt=lambda host, port: True, credentials=credentials) as http:
        assert await read(http, url) == BODY
        await http.look(url, everywhere)
    sent = [(path, headers.get("authorization")) for path, headers in zip(upstream.seen, upstream.headers, strict=True)]
    assert sent == [("/a", "Bearer secret"), ("/b", None)] * 2


async def test_a_proxy_that_asks_for_a_token_is_told_of_with_the_setting_that_has_it(
    http: HttpUpstream, upstream: Upstream
) -> None:
    body = b'{"type": "urn:zooproxy:problem:token-required"}'
    url = upstream.put("/a", answer(401, body, Content_Type="application/problem+json"))
    with pytest.raises(UpstreamStatus, match=r"401 .*PARENT_TOKEN"):
        await read(http, url)


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
    async with open_http(exempt=lambda host, port: True) as http:
        assert await read(http, upstream.put("/x", BODY)) == BODY


def rest(start: int, validator: str | None = '"v1"') -> Continuation:
    return Continuation(start, len(BODY), validator)


async def test_the_rest_of_a_body_is_asked_for_by_range_and_validator(http: HttpUpstream, upstream: Upstream) -> None:
    async with http.get(upstream.put("/x", Ranged(BODY)), everywhere, rest(500)) as body:
        assert (body.start, body.version.length, body.version.etag) == (500, len(BODY), '"v1"')
        assert b"".join([block async for block in body.blocks]) == BODY[500:]
    assert (upstream.headers[0]["range"], upstream.headers[0]["if-range"]) == ("bytes=500-", '"v1"')


@pytest.mark.parametrize("behaviour", [Ranged(BODY, etag='"v2"'), honest(BODY)], ids=["changed", "no ranges"])
async def test_a_200_to_a_range_begins_at_the_beginning(http: HttpUpstream, upstream: Upstream, behaviour) -> None:
    async with http.get(upstream.put("/x", behaviour), everywhere, rest(500)) as body:
        assert (body.start, body.version.length) == (0, len(BODY))
        assert b"".join([block async for block in body.blocks]) == BODY


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Content_Range": f"bytes 0-{len(BODY) - 1}/{len(BODY)}"},
        {"Content_Range": f"bytes 500-600/{len(BODY)}"},
        {"Content_Range": f"bytes 500-{len(BODY)}/{len(BODY) + 1}"},
        {"Content_Range": f"bytes 500-{len(BODY) - 1}/*"},
        {"Content_Range": f"bytes 500-{len(BODY) - 1}/{len(BODY)}", "ETag": '"v2"'},
    ],
)
async def test_a_206_that_is_not_what_was_asked_is_not_believed(
    http: HttpUpstream, upstream: Upstream, headers
) -> None:
    lying = answer(206, BODY[500:], **headers)
    with pytest.raises(RangeNotBelieved):
        async with http.get(upstream.put("/x", lying), everywhere, rest(500)):
            pass


async def test_a_416_to_the_rest_is_not_believed_either(http: HttpUpstream, upstream: Upstream) -> None:
    with pytest.raises(RangeNotBelieved):
        async with http.get(upstream.put("/x", status(416)), everywhere, rest(500)):
            pass


@pytest.mark.parametrize(
    ("headers", "etag", "settled"),
    [
        ({"ETag": '"v1"'}, '"v1"', False),
        ({"ETag": 'W/"v1"'}, None, False),
        ({"ETag": "v1"}, None, False),
        ({"Last_Modified": "Mon, 01 Jan 2024 00:00:00 GMT"}, None, True),
        ({"Last_Modified": "Mon, 01 Jan 2198 00:00:00 GMT"}, None, False),
        ({"Last_Modified": "yesterday"}, None, False),
    ],
)
async def test_only_strong_validators_are_kept(
    http: HttpUpstream, upstream: Upstream, headers: dict[str, str], etag: str | None, settled: bool
) -> None:
    async with http.get(upstream.put("/x", answer(200, BODY, **headers)), everywhere) as body:
        assert (body.version.etag, body.version.modified is not None) == (etag, settled)


async def test_a_retry_after_in_seconds_comes_along(http: HttpUpstream, upstream: Upstream) -> None:
    with pytest.raises(UpstreamStatus) as refused:
        await read(http, upstream.put("/x", answer(503, b"", Retry_After="7")))
    assert refused.value.retry_after == 7.0


async def test_an_upstream_that_sends_nothing_for_too_long_is_stalled(upstream: Upstream) -> None:
    gate = Gate(BODY, 1000)
    async with open_http(patience=Patience(stall_seconds=0.2), exempt=lambda host, port: True) as http:
        with pytest.raises(UpstreamStalled, match="after 1000 bytes"):
            await read(http, upstream.put("/x", gate))
    gate.open()


async def test_a_private_address_is_never_dialled(upstream: Upstream) -> None:
    async with open_http() as http:
        with pytest.raises(AddressRefused, match=r"127\.0\.0\.1.*PRIVATE_HOSTS"):
            await read(http, upstream.put("/x", BODY))
    assert upstream.seen == []


async def test_a_redirect_to_a_private_address_is_never_dialled(upstream: Upstream) -> None:
    upstream.put("/inside", BODY)
    url = upstream.put("/x", redirect(f"http://localhost:{upstream.port}/inside"))
    async with open_http(exempt=lambda host, port: host == "127.0.0.1") as http:
        with pytest.raises(AddressRefused, match="'localhost'"):
            await read(http, url)
    assert upstream.seen == ["/x"]


async def test_what_has_come_is_taken_in_large_reads(http: HttpUpstream, upstream: Upstream) -> None:
    """The library itself would never hand on more than 64 KiB at once."""
    async with http.get(upstream.put("/x", bytes(16 << 20)), everywhere) as body:
        sizes = [len(block) async for block in body.blocks]
    assert sum(sizes) == 16 << 20
    assert max(sizes) > 64 << 10
