"""Replies through a server that offers no zero-copy sends: the same bytes, in blocks."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from starlette.requests import Request

from zooproxy.cache.local import LocalBlob
from zooproxy.digest import Sha256
from zooproxy.errors import BlobCorrupt, BlobLeft
from zooproxy.formats.segments import BlobRange, Literal, Segment
from zooproxy.serving.replies import BATCH, WORTH_A_CALL, Representation, batches, disposition, reply

SIZE = 3_000_000


@pytest.fixture(scope="module")
def blob(tmp_path_factory: pytest.TempPathFactory) -> LocalBlob:
    path = tmp_path_factory.mktemp("blobs") / "blob"
    path.write_bytes(os.urandom(SIZE))
    return LocalBlob(Sha256.of(path.read_bytes()), SIZE, path)


def length_of(segments: list[Segment]) -> int:
    return sum(len(segment.data) if isinstance(segment, Literal) else segment.length for segment in segments)


def bytes_of(segments: list[Segment], data: bytes) -> bytes:
    return b"".join(
        segment.data if isinstance(segment, Literal) else data[segment.offset : segment.offset + segment.length]
        for segment in segments
    )


async def served(
    blob: LocalBlob, segments: list[Segment], headers: dict[str, str], on_body: Callable[[], None] = lambda: None
) -> tuple[int, list[bytes]]:
    """Status and body messages, as an ASGI server without extensions gets them."""
    scope: dict[str, Any] = {
        "type": "http",
        "method": "GET",
        "headers": [(name.encode(), value.encode()) for name, value in headers.items()],
    }
    status, bodies = 0, []
    gone = asyncio.Event()

    async def receive() -> dict[str, Any]:
        await gone.wait()
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        nonlocal status
        if message["type"] == "http.response.start":
            status = message["status"]
            return
        bodies.append(message["body"])
        try:
            on_body()
        except ConnectionError:
            gone.set()
            await asyncio.sleep(0)

    what = Representation(blob, segments, length_of(segments), '"tag"', "net.pth")
    await reply(Request(scope), what, {})(scope, receive, send)
    return status, bodies


async def test_segments_arrive_in_order_without_the_extension(blob: LocalBlob) -> None:
    segments = [Literal(b"head"), BlobRange(5, 2_500_000), BlobRange(0, 10), Literal(b"tail")]
    status, bodies = await served(blob, segments, {})
    assert (status, b"".join(bodies)) == (200, bytes_of(segments, blob.path.read_bytes()))
    assert max(map(len, bodies)) <= BATCH


async def test_a_range_is_cut_without_the_extension(blob: LocalBlob) -> None:
    segments = [Literal(b"head"), BlobRange(5, 2_500_000)]
    status, bodies = await served(blob, segments, {"range": "bytes=2-1000000"})
    assert (status, b"".join(bodies)) == (206, bytes_of(segments, blob.path.read_bytes())[2:1_000_001])


async def test_a_client_that_leaves_is_read_no_further_for(blob: LocalBlob) -> None:
    def leave() -> None:
        raise ConnectionError

    _, bodies = await served(blob, [BlobRange(0, SIZE)], {}, leave)
    assert len(b"".join(bodies)) < SIZE


async def test_a_blob_that_ends_early_raises_and_never_ends_cleanly(blob: LocalBlob, tmp_path: Path) -> None:
    (tmp_path / "short").write_bytes(blob.path.read_bytes()[:-1])
    short = LocalBlob(blob.digest, SIZE, tmp_path / "short")
    with pytest.raises(BlobCorrupt):
        await served(short, [BlobRange(0, SIZE)], {})


SEGMENTS = st.lists(
    st.one_of(
        st.binary(max_size=20).map(Literal),
        st.builds(BlobRange, st.integers(0, SIZE // 2), st.sampled_from([0, 1, 1000, WORTH_A_CALL, SIZE // 2])),
    ),
    max_size=30,
)


@given(SEGMENTS)
@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None)
def test_batches_keep_every_segment_in_order_and_stay_small(segments: list[Segment]) -> None:
    flat: list[Segment] = []
    for batch in batches(segments):
        if isinstance(batch, BlobRange):
            assert batch.length >= WORTH_A_CALL
            flat.append(batch)
        else:
            assert length_of(batch) <= BATCH
            flat.extend(batch)
    assert flat == segments


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("resnet50-0676ba61.pth", 'attachment; filename="resnet50-0676ba61.pth"'),
        ("a b.pth", "attachment; filename=\"a_b.pth\"; filename*=UTF-8''a%20b.pth"),
        ('x"; evil="1', "attachment; filename=\"x___evil__1\"; filename*=UTF-8''x%22%3B%20evil%3D%221"),
        ("ж\r\n.pth", "attachment; filename=\"___.pth\"; filename*=UTF-8''%D0%B6%0D%0A.pth"),
    ],
)
def test_a_file_name_makes_one_header_whatever_it_holds(name: str, expected: str) -> None:
    assert disposition(name) == expected


async def test_blob_removed_before_its_reply_began_is_told_before_any_status(tmp_path: Path) -> None:
    gone = LocalBlob(Sha256.of(b"gone"), 4, tmp_path / "gone")
    sent: list[Any] = []

    async def send(message: Any) -> None:
        sent.append(message)

    request = Request({"type": "http", "method": "GET", "headers": []})
    response = reply(request, Representation(gone, (BlobRange(0, 4),), 4, '"gone"', "gone.pth"), {})
    with pytest.raises(BlobLeft, match="ask again"):
        await response(request.scope, asyncio.Event().wait, send)  # type: ignore[arg-type]
    assert sent == []
