"""What counts as rot, and what does not."""

from __future__ import annotations

import errno
import os
from io import BytesIO
from typing import BinaryIO

import pytest

from fakes.memory_blobs import MemoryBlobStore
from zooproxy.cache.blobs import HeldBlob
from zooproxy.digest import Sha256
from zooproxy.errors import CacheError
from zooproxy.provide.hashing import rot_of

CONTENT = b"some weights"
DIGEST = Sha256.of(CONTENT)


class BadSector(BytesIO):
    def read(self, size: int | None = -1) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))


class OnABadSector(HeldBlob):
    def file(self) -> BinaryIO:
        return BadSector()


class BadStore(MemoryBlobStore):
    async def open(self, digest: Sha256) -> HeldBlob:
        return OnABadSector(digest, len(CONTENT), None)


async def filled(store: MemoryBlobStore, content: bytes = CONTENT) -> MemoryBlobStore:
    async with await store.stage() as staged:
        await staged.write(CONTENT)
        await staged.commit()
    store.held[DIGEST] = content
    return store


async def at_any_pace(size: int) -> None:
    pass


async def test_blob_as_it_was_has_no_rot() -> None:
    assert await rot_of(await filled(MemoryBlobStore()), DIGEST, at_any_pace) is None


async def test_other_bytes_are_rot_and_told_by_their_digest() -> None:
    rotten = await rot_of(await filled(MemoryBlobStore(), b"some weighty"), DIGEST, at_any_pace)
    assert rotten is not None
    assert Sha256.of(b"some weighty") in rotten.detail


async def test_sector_that_cannot_be_read_is_rot() -> None:
    rotten = await rot_of(await filled(BadStore()), DIGEST, at_any_pace)
    assert rotten is not None
    assert "cannot read" in rotten.detail


async def test_blob_removed_or_replaced_while_it_is_read_is_no_rot() -> None:
    store = await filled(MemoryBlobStore(), b"some weighty")

    async def replacing(size: int) -> None:
        await filled(store)

    assert await rot_of(store, DIGEST, replacing) is None
    store = MemoryBlobStore()
    assert await rot_of(store, DIGEST, at_any_pace) is None


async def test_store_that_fails_accuses_no_blob() -> None:
    class Failing(MemoryBlobStore):
        async def open(self, digest: Sha256) -> HeldBlob:
            raise CacheError("the disk is on fire")

    with pytest.raises(CacheError, match="fire"):
        await rot_of(Failing(), DIGEST, at_any_pace)
