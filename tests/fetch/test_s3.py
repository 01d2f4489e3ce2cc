"""Objects of an S3 service, played by the scripted upstream: what is asked, what is believed."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from fakes.upstream import Gate, Ranged, Upstream, answer, reset, silent, status, truncated
from zooproxy.errors import (
    RangeNotBelieved,
    UnsupportedSource,
    UpstreamStalled,
    UpstreamStatus,
    UpstreamTruncated,
    UpstreamUnreachable,
)
from zooproxy.fetch.s3 import Cluster, S3Upstream, open_s3
from zooproxy.fetch.upstream import Continuation, Patience

BODY = bytes(range(256)) * 4000
URL = "lab:s3://bucket/models/net.pth"


@pytest.fixture
async def s3(upstream: Upstream) -> AsyncIterator[S3Upstream]:
    clusters = {
        "lab": Cluster(upstream.url, access_key="key", secret_key="secret"),
        "default": Cluster(upstream.url),
        "dead": Cluster("http://127.0.0.1:1"),
    }
    async with open_s3(clusters, patience=Patience(stall_seconds=0.5)) as s3:
        yield s3


async def read(s3: S3Upstream, url: str = URL, rest: Continuation | None = None) -> bytes:
    async with s3.get(url, lambda _: True, rest) as body:
        return b"".join([block async for block in body.blocks])


async def test_an_object_is_asked_of_its_cluster_and_signed(s3: S3Upstream, upstream: Upstream) -> None:
    upstream.put("/bucket/models/net.pth", Ranged(BODY))
    async with s3.get(URL, lambda _: True) as body:
        assert (body.start, body.version.length, body.version.etag) == (0, len(BODY), '"v1"')
        assert b"".join([block async for block in body.blocks]) == BODY
    assert upstream.headers[0]["authorization"].startswith("AWS4-HMAC-SHA256 Credential=key/")
    assert "secret" not in str(upstream.headers)


async def test_without_keys_it_is_asked_anonymously(s3: S3Upstream, upstream: Upstream) -> None:
    upstream.put("/bucket/models/net.pth", Ranged(BODY))
    assert await read(s3, "s3://bucket/models/net.pth") == BODY
    assert "authorization" not in upstream.headers[0]


async def test_the_rest_is_asked_for_by_range_and_tag(s3: S3Upstream, upstream: Upstream) -> None:
    upstream.put("/bucket/models/net.pth", Ranged(BODY))
    async with s3.get(URL, lambda _: True, Continuation(500, len(BODY), '"v1"')) as body:
        assert (body.start, body.version.length) == (500, len(BODY))
        assert b"".join([block async for block in body.blocks]) == BODY[500:]
    assert (upstream.headers[0]["range"], upstream.headers[0]["if-match"]) == ("bytes=500-", '"v1"')


async def test_a_store_that_does_no_ranges_sends_the_whole(s3: S3Upstream, upstream: Upstream) -> None:
    upstream.put("/bucket/models/net.pth", answer(200, BODY))
    async with s3.get(URL, lambda _: True, Continuation(500, len(BODY), None)) as body:
        assert body.start == 0


@pytest.mark.parametrize(
    "behaviour",
    [status(412), status(416), answer(206, BODY[500:], Content_Range=f"bytes 0-{len(BODY) - 1}/{len(BODY)}")],
    ids=["changed", "no such range", "another range"],
)
async def test_an_answer_that_is_not_the_rest_is_not_believed(s3: S3Upstream, upstream: Upstream, behaviour) -> None:
    upstream.put("/bucket/models/net.pth", behaviour)
    with pytest.raises(RangeNotBelieved):
        await read(s3, rest=Continuation(500, len(BODY), '"v1"'))


@pytest.mark.parametrize("code", [403, 404, 500, 503])
async def test_a_refusal_comes_with_its_status_after_one_request(s3: S3Upstream, upstream: Upstream, code: int) -> None:
    upstream.put("/bucket/models/net.pth", status(code, b""))
    with pytest.raises(UpstreamStatus) as refused:
        await read(s3)
    assert (refused.value.status, len(upstream.seen)) == (code, 1)


@pytest.mark.parametrize("fault", [truncated, reset])
async def test_a_body_cut_short_is_truncated(s3: S3Upstream, upstream: Upstream, fault) -> None:
    upstream.put("/bucket/models/net.pth", fault(BODY, 300_000))
    with pytest.raises(UpstreamTruncated):
        await read(s3)


async def test_a_store_that_sends_nothing_for_too_long_is_stalled(s3: S3Upstream, upstream: Upstream) -> None:
    gate = Gate(BODY, 1000)
    upstream.put("/bucket/models/net.pth", gate)
    with pytest.raises(UpstreamStalled):
        await read(s3)
    gate.open()


async def test_a_store_that_takes_the_request_and_does_not_answer_is_stalled(
    s3: S3Upstream, upstream: Upstream
) -> None:
    upstream.put("/bucket/models/net.pth", silent)
    with pytest.raises(UpstreamStalled):
        await read(s3)


async def test_a_cluster_that_is_down_or_unknown_is_told_apart(s3: S3Upstream) -> None:
    with pytest.raises(UpstreamUnreachable):
        await read(s3, "dead:s3://bucket/x.pth")
    with pytest.raises(UnsupportedSource, match="'other'"):
        await read(s3, "other:s3://bucket/x.pth")
    with pytest.raises(UnsupportedSource, match="names no object"):
        await read(s3, "https://zoo.example/x.pth")
