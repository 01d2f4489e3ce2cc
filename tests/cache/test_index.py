"""The index: what was published is found, what was forgotten is gone, and nothing in between."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta

import pytest

from zooproxy.cache.database import Database, open_database
from zooproxy.cache.index import HeldSource, Index
from zooproxy.digest import Sha256
from zooproxy.errors import BlobCorrupt

URL = "https://example.org/resnet50-0676ba61.pth"
OTHER_URL = "https://mirror.example.org/resnet50-0676ba61.pth"
BLOB = Sha256.of(b"some weights")
OTHER_BLOB = Sha256.of(b"other weights")
HUGE = 5 << 40


@pytest.fixture
def index(database: Database) -> Index:
    return Index(database)


async def test_source_never_filled_is_not_held(index: Index) -> None:
    assert await index.held(URL) is None
    assert await index.blob(BLOB) is None


async def test_published_source_is_held_with_its_blob(index: Index) -> None:
    published = await index.publish(URL, BLOB, HUGE)
    assert await index.held(URL) == published == HeldSource(URL, BLOB, HUGE, published.filled_at)
    assert isinstance(published.sha256, Sha256)
    assert await index.blob(BLOB) == HUGE


async def test_time_of_a_fill_is_kept_to_the_microsecond_in_utc(index: Index) -> None:
    before = datetime.now(UTC)
    published = await index.publish(URL, BLOB, 12)
    held = await index.held(URL)
    assert held is not None
    assert before <= held.filled_at <= datetime.now(UTC)
    assert held.filled_at == published.filled_at
    assert held.filled_at.utcoffset() == timedelta(0)


async def test_published_source_outlives_the_process(url: str) -> None:
    async with open_database(url) as database:
        published = await Index(database).publish(URL, BLOB, 12)
    async with open_database(url) as database:
        assert await Index(database).held(URL) == published


async def test_source_published_anew_is_held_as_its_latest_blob(index: Index) -> None:
    await index.publish(URL, BLOB, 12)
    latest = await index.publish(URL, OTHER_BLOB, 13)
    assert await index.held(URL) == latest
    assert await index.blob(BLOB) == 12


async def test_two_sources_share_one_blob(index: Index) -> None:
    await index.publish(URL, BLOB, 12)
    await index.publish(OTHER_URL, BLOB, 12)
    for url in (URL, OTHER_URL):
        held = await index.held(url)
        assert held is not None
        assert held.sha256 == BLOB


async def test_blob_published_with_another_size_is_refused_and_changes_nothing(index: Index) -> None:
    await index.publish(URL, BLOB, 12)
    with pytest.raises(BlobCorrupt, match="12 bytes"):
        await index.publish(OTHER_URL, BLOB, 13)
    assert await index.held(OTHER_URL) is None
    assert await index.blob(BLOB) == 12


async def test_twenty_publications_at_once_are_all_held(index: Index) -> None:
    urls = [f"https://example.org/{number}.pth" for number in range(20)]
    published = await asyncio.gather(*(index.publish(url, BLOB, 12) for url in urls))
    assert await asyncio.gather(*(index.held(url) for url in urls)) == published


async def test_forgotten_blob_takes_its_sources_and_tensor_indexes_with_it(index: Index) -> None:
    for url in (URL, OTHER_URL):
        await index.publish(url, BLOB, 12)
    await index.keep_tensor_index(BLOB, 1, b"document")
    spared = await index.publish("https://example.org/other.pth", OTHER_BLOB, 13)
    await index.forget(BLOB)
    assert [await index.held(url) for url in (URL, OTHER_URL)] == [None, None]
    assert await index.blob(BLOB) is None
    assert await index.tensor_index(BLOB, 1) is None
    assert await index.held(spared.url) == spared


async def test_forgetting_an_unknown_blob_is_nothing(index: Index) -> None:
    await index.forget(BLOB)
    assert await index.blob(BLOB) is None


async def test_kept_tensor_index_is_found_under_its_reader_version_only(index: Index) -> None:
    await index.publish(URL, BLOB, 12)
    await index.keep_tensor_index(BLOB, 2, b"\x00document\xff")
    assert await index.tensor_index(BLOB, 2) == b"\x00document\xff"
    assert await index.tensor_index(BLOB, 1) is None
    assert await index.tensor_index(OTHER_BLOB, 2) is None


async def test_tensor_index_of_a_newer_reader_drops_the_older_ones(index: Index) -> None:
    await index.publish(URL, BLOB, 12)
    await index.publish(OTHER_URL, OTHER_BLOB, 13)
    await index.keep_tensor_index(OTHER_BLOB, 1, b"of another blob")
    await index.keep_tensor_index(BLOB, 1, b"old")
    await index.keep_tensor_index(BLOB, 2, b"new")
    assert await index.tensor_index(BLOB, 1) is None
    assert await index.tensor_index(BLOB, 2) == b"new"
    assert await index.tensor_index(OTHER_BLOB, 1) == b"of another blob"


async def test_tensor_index_of_an_older_reader_spares_the_newer_one(index: Index) -> None:
    await index.publish(URL, BLOB, 12)
    await index.keep_tensor_index(BLOB, 2, b"new")
    await index.keep_tensor_index(BLOB, 1, b"old")
    assert await index.tensor_index(BLOB, 2) == b"new"


async def test_tensor_index_kept_again_is_the_latest(index: Index) -> None:
    await index.publish(URL, BLOB, 12)
    for document in (b"first", b"second"):
        await index.keep_tensor_index(BLOB, 1, document)
    assert await index.tensor_index(BLOB, 1) == b"second"


async def test_tensor_index_of_a_blob_forgotten_meanwhile_is_not_kept(index: Index) -> None:
    await index.publish(URL, BLOB, 12)
    await index.forget(BLOB)
    await index.keep_tensor_index(BLOB, 1, b"document")
    assert await index.tensor_index(BLOB, 1) is None
