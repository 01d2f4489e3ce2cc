"""Where a source comes to be held as a blob: bytes, sidecar, row, in that order."""

from __future__ import annotations

import asyncio
import errno
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fakes.disks import FailingDisk
from zooproxy.cache.blobs import BlobStore, Change, HeldBlob
from zooproxy.cache.database import Database
from zooproxy.cache.index import Index
from zooproxy.cache.local import LocalBlobStore
from zooproxy.cache.shelf import DERIVED, Shelf
from zooproxy.cache.sidecars import Origin, Sidecar, sidecar_from_json
from zooproxy.digest import Sha256
from zooproxy.errors import BlobAbsent, CacheError

URL, OTHER_URL = "https://zoo.example/x.pth", "https://zoo.example/y.pth"
CONTENT, CHANGED = b"some weights", b"other weights!"
DIGEST, OTHER = Sha256.of(CONTENT), Sha256.of(CHANGED)


@pytest.fixture
def shelf(tmp_path: Path, database: Database) -> Shelf:
    return Shelf(LocalBlobStore(tmp_path), Index(database))


async def put(store: BlobStore, content: bytes = CONTENT) -> HeldBlob:
    async with await store.stage() as staged:
        await staged.write(content)
        return await staged.commit()


async def sidecar(shelf: Shelf, digest: Sha256 = DIGEST) -> Sidecar:
    document = await shelf.store.sidecar(digest)
    assert document is not None
    return sidecar_from_json(document, digest)


async def test_published_source_is_held_and_told_by_the_sidecar(shelf: Shelf) -> None:
    held = await shelf.publish(URL, await put(shelf.store))
    assert await shelf.index.held(URL) == held
    told = await sidecar(shelf)
    assert told == Sidecar(DIGEST, len(CONTENT), (Origin(URL, held.filled_at, DIGEST, held.filled_at),))
    trusted = await shelf.index.trust.of(URL)
    assert trusted is not None
    assert trusted.since == held.filled_at


async def test_two_sources_of_one_blob_published_at_once_are_both_told(shelf: Shelf) -> None:
    blob = await put(shelf.store)
    urls = [f"https://zoo.example/{number}" for number in range(8)]
    await asyncio.gather(*(shelf.publish(url, blob) for url in urls))
    assert [origin.url for origin in (await sidecar(shelf)).origins] == urls


async def test_source_published_as_another_blob_is_told_by_that_one_alone_and_as_the_later(shelf: Shelf) -> None:
    first = await shelf.publish(URL, await put(shelf.store))
    second = await shelf.publish(URL, await put(shelf.store, CHANGED))
    assert second.filled_at > first.filled_at
    (left,) = (await sidecar(shelf)).origins
    (held,) = (await sidecar(shelf, OTHER)).origins
    assert (left.filled_at, left.trusted) == (None, OTHER)
    assert (held.filled_at, held.trusted) == (second.filled_at, OTHER)


async def test_clock_going_backwards_makes_no_fill_earlier_than_the_one_before_it(shelf: Shelf) -> None:
    tomorrow = datetime.now(UTC) + timedelta(days=1)
    await shelf.index.publish(URL, DIGEST, len(CONTENT), at=tomorrow)
    held = await shelf.publish(URL, await put(shelf.store, CHANGED))
    assert held.filled_at == tomorrow + timedelta(microseconds=1)


async def test_operators_word_is_told_beside_what_is_held_no_more(shelf: Shelf) -> None:
    await shelf.publish(URL, await put(shelf.store))
    await shelf.publish(OTHER_URL, await put(shelf.store))
    await shelf.accept(URL, OTHER)
    assert await shelf.index.held(URL) is None
    left, spared = (await sidecar(shelf)).origins
    assert (left.url, left.filled_at, left.trusted) == (URL, None, OTHER)
    assert left.accepted_at is not None
    assert (spared.url, spared.trusted, spared.accepted_at) == (OTHER_URL, DIGEST, None)


async def test_operators_word_on_what_is_held_is_told(shelf: Shelf) -> None:
    held = await shelf.publish(URL, await put(shelf.store))
    await shelf.accept(URL, DIGEST)
    (origin,) = (await sidecar(shelf)).origins
    assert (origin.filled_at, origin.trusted) == (held.filled_at, DIGEST)
    assert origin.accepted_at is not None


async def test_operators_word_on_a_source_whose_blob_is_gone_needs_no_sidecar(shelf: Shelf) -> None:
    await shelf.publish(URL, await put(shelf.store))
    await shelf.store.remove(DIGEST)
    await shelf.accept(URL, OTHER)
    assert await shelf.store.sidecar(DIGEST) is None


async def test_sidecar_that_is_garbage_is_written_anew(shelf: Shelf) -> None:
    blob = await put(shelf.store)
    await shelf.store.annotate(DIGEST, lambda before: b"\0\0\0")
    await shelf.publish(URL, blob)
    assert [origin.url for origin in (await sidecar(shelf)).origins] == [URL]


async def test_derived_blob_has_no_sidecar(shelf: Shelf) -> None:
    url = f"{DERIVED}{OTHER}/{OTHER}"
    await shelf.publish(url, await put(shelf.store))
    assert await shelf.index.held(url) is not None
    assert await shelf.store.sidecar(DIGEST) is None


async def test_blob_removed_before_its_row_is_written_is_not_held(shelf: Shelf) -> None:
    blob = await put(shelf.store)
    await shelf.store.remove(DIGEST)
    with pytest.raises(BlobAbsent):
        await shelf.publish(URL, blob)
    assert await shelf.index.held(URL) is None


async def test_sidecar_is_durable_before_the_row_is_written(tmp_path: Path, database: Database) -> None:
    order: list[str] = []

    class Store(LocalBlobStore):
        async def annotate(self, digest: Sha256, change: Change) -> None:
            await super().annotate(digest, change)
            order.append(f"sidecar, row: {await index.held(URL)}")

    index = Index(database)
    store = Store(tmp_path)
    await Shelf(store, index).publish(URL, await put(store))
    assert order == ["sidecar, row: None"]


@pytest.mark.parametrize("call", ["create", "write", "fsync", "rename", "fsync_directory"])
async def test_failed_sidecar_is_typed_and_no_row_is_written(tmp_path: Path, database: Database, call: str) -> None:
    disk = FailingDisk()
    shelf = Shelf(LocalBlobStore(tmp_path, disk), Index(database))
    blob = await put(shelf.store)
    disk.broken, disk.errno = call, errno.EIO
    with pytest.raises(CacheError):
        await shelf.publish(URL, blob)
    disk.broken = None
    assert await shelf.index.held(URL) is None
    assert list((tmp_path / "partial").iterdir()) == []
    await shelf.publish(URL, blob)
    assert [origin.url for origin in (await sidecar(shelf)).origins] == [URL]
