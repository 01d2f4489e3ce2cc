"""Tensor indexes: read once per blob, whoever asks, across restarts and within a bounded memory."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import BinaryIO

import pytest

from zooproxy.cache.blobs import HeldBlob
from zooproxy.cache.database import open_database
from zooproxy.cache.index import Index
from zooproxy.cache.local import LocalBlobStore
from zooproxy.errors import FormatError
from zooproxy.provide.tensor_indexes import TensorIndexes


class Counted(HeldBlob):
    """A blob that counts how often it is opened."""

    opened = 0

    def __init__(self, blob: HeldBlob) -> None:
        for name in ("digest", "size", "path"):
            object.__setattr__(self, name, getattr(blob, name))
        object.__setattr__(self, "blob", blob)

    def file(self) -> BinaryIO:
        type(self).opened += 1
        return self.blob.file()


@pytest.fixture
async def index(tmp_path: Path) -> AsyncIterator[Index]:
    async with open_database(f"sqlite:///{tmp_path}/zooproxy.db") as database:
        yield Index(database)


async def put(tmp_path: Path, index: Index, data: bytes) -> HeldBlob:
    async with await LocalBlobStore(tmp_path).stage() as staged:
        await staged.write(data)
        blob = await staged.commit()
    await index.publish("https://zoo.example/net.pth", blob.digest, blob.size)
    Counted.opened = 0
    return Counted(blob)


async def test_it_is_read_once_for_all_who_ask(tmp_path: Path, index: Index, small_checkpoint: bytes) -> None:
    blob = await put(tmp_path, index, small_checkpoint)
    indexes = TensorIndexes(index)
    first, *others = await asyncio.gather(*(indexes.of(blob) for _ in range(20)))
    assert [tensor.name for tensor in first.tensors] == ["weight", "bias"]
    assert all(storage.sha256 for storage in first.storages)
    assert all(other is first for other in others)
    assert Counted.opened == 1


async def test_it_survives_a_restart_without_the_blob_being_read(
    tmp_path: Path, index: Index, small_checkpoint: bytes
) -> None:
    blob = await put(tmp_path, index, small_checkpoint)
    first = await TensorIndexes(index).of(blob)
    assert await TensorIndexes(index).of(blob) == first
    assert Counted.opened == 1


async def test_memory_is_bounded_and_the_database_remembers(
    tmp_path: Path, index: Index, small_checkpoint: bytes
) -> None:
    blob = await put(tmp_path, index, small_checkpoint)
    nothing_fits = TensorIndexes(index, memory=10)
    assert await nothing_fits.of(blob) == await nothing_fits.of(blob)
    assert Counted.opened == 1
    one_fits = TensorIndexes(index, memory=len(small_checkpoint))
    assert await one_fits.of(blob) is await one_fits.of(blob)


async def test_the_least_recently_used_leaves_first(
    tmp_path: Path, index: Index, small_checkpoint: bytes, large_checkpoint: bytes
) -> None:
    small, large = [await put(tmp_path, index, data) for data in (small_checkpoint, large_checkpoint)]
    indexes = TensorIndexes(index, memory=1500)  # bytes of JSON: room for two of these, not for three
    kept = await indexes.of(small)
    await indexes.of(large)
    assert await indexes.of(small) is kept
    third = await put(tmp_path, index, small_checkpoint[:-2] + b"\1\0" + b"x")
    await indexes.of(third)
    assert await indexes.of(small) is kept


async def test_a_blob_that_cannot_be_read_says_so_every_time_and_keeps_nothing(
    tmp_path: Path, index: Index, small_checkpoint: bytes
) -> None:
    blob = await put(tmp_path, index, small_checkpoint[:-30])
    indexes = TensorIndexes(index)
    for times in (1, 2):
        with pytest.raises(FormatError):
            await indexes.of(blob)
        assert Counted.opened == times
