"""A blob read once more: from the disk, at a pace, with what the disk says of itself."""

from __future__ import annotations

import asyncio
import errno
import os
from io import BytesIO
from pathlib import Path
from typing import BinaryIO

import pytest

from zooproxy.cache.blobs import HeldBlob
from zooproxy.cache.local import LocalBlobStore
from zooproxy.cache.rereading import BLOCK_BYTES, reread
from zooproxy.digest import Sha256
from zooproxy.errors import BlobAbsent, BlobCorrupt, CacheError

CONTENT = bytes(range(256)) * 40_000  # some blocks and a bit


async def put(root: Path, content: bytes = CONTENT) -> HeldBlob:
    async with await LocalBlobStore(root).stage() as staged:
        await staged.write(content)
        return await staged.commit()


@pytest.mark.parametrize("content", [CONTENT, b""])
async def test_blob_that_is_sound_has_its_own_digest(tmp_path: Path, content: bytes) -> None:
    blob = await put(tmp_path, content)
    assert await reread(blob) == blob.digest


async def test_one_flipped_bit_makes_another_digest(tmp_path: Path) -> None:
    blob = await put(tmp_path)
    assert blob.path is not None
    rotten = bytearray(CONTENT)
    rotten[5_000_000] ^= 1
    blob.path.chmod(0o644)
    blob.path.write_bytes(rotten)
    assert await reread(blob) == Sha256.of(rotten)


async def test_pace_is_told_of_every_byte_in_blocks(tmp_path: Path) -> None:
    told: list[int] = []

    async def pace(size: int) -> None:
        told.append(size)

    await reread(await put(tmp_path), pace)
    assert sum(told) == len(CONTENT)
    assert max(told) <= BLOCK_BYTES
    assert len(told) > 2


async def test_reader_waits_for_its_pace_and_can_be_stopped(tmp_path: Path) -> None:
    waiting = asyncio.Event()

    async def pace(size: int) -> None:
        waiting.set()
        await asyncio.Event().wait()

    task = asyncio.create_task(reread(await put(tmp_path), pace))
    await waiting.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_blob_removed_meanwhile_is_absent(tmp_path: Path) -> None:
    blob = await put(tmp_path)
    await LocalBlobStore(tmp_path).remove(blob.digest)
    with pytest.raises(BlobAbsent):
        await reread(blob)


class FailingBlob(HeldBlob):
    """A blob on a disk that fails with ``number``."""

    number: int = errno.EIO

    def file(self) -> BinaryIO:
        return Failing(self.number)


class Failing(BytesIO):
    def __init__(self, number: int) -> None:
        super().__init__()
        self._number = number

    def read(self, size: int | None = -1) -> bytes:
        raise OSError(self._number, os.strerror(self._number))


async def test_sector_that_cannot_be_read_is_corrupt() -> None:
    with pytest.raises(BlobCorrupt, match="cannot read"):
        await reread(FailingBlob(Sha256.of(b""), 1, None))


async def test_disk_that_fails_otherwise_accuses_no_blob(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(FailingBlob, "number", errno.ESTALE)
    with pytest.raises(CacheError) as failure:
        await reread(FailingBlob(Sha256.of(b""), 1, None))
    assert not isinstance(failure.value, BlobCorrupt)
