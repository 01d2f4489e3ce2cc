"""What is handed over to nginx stays where it is until nginx has had the time to open it."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from starlette.requests import Request

from zooproxy.cache.blobs import HeldBlob
from zooproxy.cache.local import LocalBlobStore
from zooproxy.serving.acceleration import Acceleration
from zooproxy.serving.replies import raw_representation

CONTENT = b"some weights"


@pytest.fixture
def store(tmp_path: Path) -> LocalBlobStore:
    return LocalBlobStore(tmp_path)


async def put(store: LocalBlobStore, content: bytes = CONTENT) -> HeldBlob:
    async with await store.stage() as staged:
        await staged.write(content)
        return await staged.commit()


@pytest.fixture
def acceleration() -> Iterator[Acceleration]:
    """Keeps for longer than any test."""
    with closing(Acceleration("/blobs/", seconds=1000)) as acceleration:
        yield acceleration


def is_handed_over(acceleration: Acceleration, blob: HeldBlob, method: str = "GET") -> bool:
    request = Request({"type": "http", "method": method, "headers": [(b"zooproxy-accel", b"on")]})
    reply = acceleration.reply(request, raw_representation(blob, "net.pth"), {})
    assert reply is None or reply.headers["x-accel-redirect"].endswith(blob.digest[2:])
    return reply is not None


async def is_claimed(store: LocalBlobStore, blob: HeldBlob) -> bool:
    async with store.claim([blob.digest]) as claim:
        return not claim.busy


async def test_a_file_that_was_handed_over_is_evicted_by_nobody_until_its_time_is_over(store: LocalBlobStore) -> None:
    blob, acceleration = await put(store), Acceleration("/blobs/", seconds=0.3)
    assert await is_claimed(store, blob)
    assert is_handed_over(acceleration, blob)
    assert not await is_claimed(store, blob)
    async with asyncio.timeout(30):
        while not await is_claimed(store, blob):  # noqa: ASYNC110  # a lock that is let go of sets no event
            await asyncio.sleep(0.01)


async def test_each_reply_begins_the_time_anew_and_takes_no_descriptor_more(
    store: LocalBlobStore, acceleration: Acceleration
) -> None:
    blob = await put(store)
    descriptors = [len(os.listdir("/proc/self/fd")) for _ in range(3) if is_handed_over(acceleration, blob)]  # noqa: PTH208
    assert len(descriptors) == 3
    assert len(set(descriptors)) == 1
    assert not await is_claimed(store, blob)


async def test_a_file_that_is_being_removed_or_is_gone_is_not_handed_over(
    store: LocalBlobStore, acceleration: Acceleration
) -> None:
    blob = await put(store)
    async with store.claim([blob.digest]):
        assert not is_handed_over(acceleration, blob)
        await store.remove(blob.digest)
    assert not is_handed_over(acceleration, blob)


async def test_more_files_than_may_be_kept_are_sent_from_here(
    store: LocalBlobStore, acceleration: Acceleration, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("zooproxy.serving.acceleration._MOST_KEPT", 2)
    blobs = [await put(store, b"%d weights" % number) for number in range(3)]
    assert [is_handed_over(acceleration, blob) for blob in (*blobs, blobs[0])] == [True, True, False, True]
