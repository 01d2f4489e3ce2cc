"""Tensor indexes: read once per blob, whoever asks, across restarts and within a bounded memory."""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, BinaryIO

import pytest

from zooproxy.cache.blobs import HeldBlob
from zooproxy.cache.database import open_database
from zooproxy.cache.index import Index
from zooproxy.cache.local import LocalBlobStore
from zooproxy.digest import Sha256
from zooproxy.errors import FormatError
from zooproxy.formats import reader
from zooproxy.provide.tensor_indexes import TensorIndexes
from zooproxy.wire.tensors import TensorIndex


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
    read: list[int] = []

    def counted(*file: Any) -> TensorIndex:
        read.append(1)
        return reader.read_tensor_index(*file)

    indexes = TensorIndexes(index, read=counted)
    first, *others = await asyncio.gather(*(indexes.of(blob) for _ in range(20)))
    assert [tensor.name for tensor in first.tensors] == ["weight", "bias"]
    assert all(other is first for other in others)
    assert len(read) == 1


async def test_digests_follow_the_index_and_are_computed_once(
    tmp_path: Path, index: Index, small_checkpoint: bytes
) -> None:
    blob = await put(tmp_path, index, small_checkpoint)
    indexes = TensorIndexes(index)
    first = await indexes.of(blob)
    assert not any(storage.sha256 for storage in first.storages)
    proven, *others = await asyncio.gather(*(indexes.proven(blob) for _ in range(5)))
    assert all(
        storage.sha256 == Sha256.of(small_checkpoint[storage.offset : storage.offset + storage.size])
        for storage in proven.storages
    )
    assert all(other is proven for other in [*others, await indexes.of(blob), await indexes.proven(blob)])
    assert Counted.opened == 2
    assert (await TensorIndexes(index).of(blob)).is_proven


async def test_digests_that_a_stop_cut_off_are_computed_after_the_next_start(
    tmp_path: Path, index: Index, small_checkpoint: bytes
) -> None:
    blob = await put(tmp_path, index, small_checkpoint)
    stopped = TensorIndexes(index)
    await stopped.of(blob)
    await stopped.close()
    again = TensorIndexes(index)
    assert not (await again.of(blob)).is_proven
    assert (await again.proven(blob)).is_proven


async def test_a_blob_that_shrank_has_an_index_and_no_digests(
    tmp_path: Path, index: Index, small_checkpoint: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    class Shrinking(Counted):
        def file(self) -> BinaryIO:
            return super().file() if not self.opened else io.BytesIO(small_checkpoint[:40])

    blob = Shrinking(await put(tmp_path, index, small_checkpoint))
    indexes = TensorIndexes(index)
    await indexes.of(blob)
    with pytest.raises(FormatError):
        await indexes.proven(blob)
    assert f"the storages of the blob {blob.digest} were not proven" in caplog.text
    assert not (await indexes.of(blob)).is_proven


def test_the_digests_of_a_large_blob_are_computed_in_steps(small_checkpoint: bytes, monkeypatch: Any) -> None:
    monkeypatch.setattr(reader, "_PAUSE", 1)
    file = io.BytesIO(small_checkpoint)
    read = reader.read_tensor_index(file, len(small_checkpoint), Sha256.of(small_checkpoint))
    steps = list(reader.digested(read, file))
    assert steps[:2] == [None, None]
    assert [step.sha256 for step in steps[2:] if step] == [
        storage.sha256 for storage in reader.with_digests(read, file).storages
    ]


async def test_it_survives_a_restart_without_the_blob_being_read(
    tmp_path: Path, index: Index, small_checkpoint: bytes
) -> None:
    blob = await put(tmp_path, index, small_checkpoint)
    first = await TensorIndexes(index).proven(blob)
    opened = Counted.opened
    assert await TensorIndexes(index).of(blob) == first
    assert Counted.opened == opened


async def test_memory_is_bounded_and_the_database_remembers(
    tmp_path: Path, index: Index, small_checkpoint: bytes
) -> None:
    blob = await put(tmp_path, index, small_checkpoint)
    nothing_fits = TensorIndexes(index, memory=10)
    assert await nothing_fits.proven(blob) == await nothing_fits.of(blob)
    assert Counted.opened == 2
    one_fits = TensorIndexes(index, memory=len(small_checkpoint))
    assert await one_fits.of(blob) is await one_fits.of(blob)


async def test_the_least_recently_used_leaves_first(
    tmp_path: Path, index: Index, small_checkpoint: bytes, large_checkpoint: bytes
) -> None:
    small, large = [await put(tmp_path, index, data) for data in (small_checkpoint, large_checkpoint)]
    indexes = TensorIndexes(index, memory=1500)  # bytes of JSON: room for two of these, not for three
    kept = await indexes.proven(small)
    await indexes.proven(large)
    assert await indexes.of(small) is kept
    third = await put(tmp_path, index, small_checkpoint[:-2] + b"\1\0" + b"x")
    await indexes.proven(third)
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
