"""Pins in the cache: kept in the database, the same however often they are asked for."""

from __future__ import annotations

from sqlalchemy import select

from zooproxy.cache.cache_pins import CachePins, is_pinned
from zooproxy.cache.database import Database, open_database
from zooproxy.cache.index import Index
from zooproxy.cache.tables import blobs
from zooproxy.digest import Sha256

URL = "https://example.org/net.pth"
BLOB = Sha256.of(b"some weights")


async def pinned_blobs(database: Database) -> list[str]:
    async with database.read() as connection:
        return list((await connection.execute(select(blobs.c.sha256).where(is_pinned()))).scalars())


async def test_pin_asked_for_again_keeps_its_first_name_and_time(database: Database) -> None:
    pins = CachePins(database)
    assert await pins.pin(URL, "zoo://net")
    first = await pins.of(URL)
    assert first is not None
    assert not await pins.pin(URL, "other://net")
    assert await pins.of(URL) == first
    assert (first.ref, first.sha256) == ("zoo://net", None)


async def test_unpin_says_whether_it_was_pinned(database: Database) -> None:
    pins = CachePins(database)
    assert not await pins.unpin(URL)
    await pins.pin(URL, URL)
    assert await pins.unpin(URL)
    assert await pins.of(URL) is None


async def test_blob_is_pinned_as_long_as_one_of_its_sources_is(database: Database) -> None:
    pins, index = CachePins(database), Index(database)
    await index.publish(URL, BLOB, 1)
    await index.publish("https://mirror.example.org/net.pth", BLOB, 1)
    await index.publish("https://example.org/other.pth", Sha256.of(b"other"), 1)
    assert await pinned_blobs(database) == []
    await pins.pin(URL, URL)
    assert await pinned_blobs(database) == [BLOB]
    await pins.unpin(URL)
    assert await pinned_blobs(database) == []


async def test_source_pinned_before_it_is_held_is_pinned_when_it_comes_and_in_every_process(
    database: Database, url: str
) -> None:
    pins = CachePins(database)
    await pins.pin("https://example.org/b.pth", "zoo://b")
    await pins.pin(URL, "zoo://a")
    await Index(database).publish(URL, BLOB, 1)
    async with open_database(url) as other:
        assert [(pin.ref, pin.sha256) for pin in await CachePins(other).all()] == [("zoo://a", BLOB), ("zoo://b", None)]
        assert await pinned_blobs(other) == [BLOB]
