"""Uses: gathered in memory, written down in one go, in an order that no clock can break."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from pysqlite3 import dbapi2 as sqlite
from sqlalchemy import select, text

from zooproxy.cache.database import Database, open_database
from zooproxy.cache.index import Index
from zooproxy.cache.tables import uses
from zooproxy.digest import Sha256
from zooproxy.errors import CacheError

A, B, C = (Sha256.of(name) for name in (b"a", b"b", b"c"))


@pytest.fixture
async def index(database: Database) -> Index:
    """Holds A, B and C, which came in this order."""
    index = Index(database)
    for number, digest in enumerate((A, B, C)):
        await index.publish(f"https://example.org/{number}.pth", digest, 10)
    return index


async def in_order(database: Database) -> list[Sha256]:
    """What leaves first comes first."""
    async with database.read() as connection:
        rows = await connection.execute(select(uses.c.sha256).order_by(uses.c.priority))
        return [Sha256(row.sha256) for row in rows]


async def counts(database: Database) -> dict[Sha256, int]:
    async with database.read() as connection:
        rows = await connection.execute(select(uses.c.sha256, uses.c.count))
        return {Sha256(digest): count for digest, count in rows}


async def test_uses_are_in_memory_until_they_are_flushed_and_then_in_the_order_of_last_use(
    database: Database, index: Index
) -> None:
    for digest in (B, A, A, B, A):
        index.uses.note(digest)
    assert await in_order(database) == [A, B, C]
    await index.uses.flush()
    assert await in_order(database) == [C, B, A]
    assert await counts(database) == {A: 3, B: 2, C: 0}
    index.uses.note(C)
    index.uses.note(B)
    await index.uses.flush()
    assert await in_order(database) == [A, C, B]
    assert await counts(database) == {A: 3, B: 3, C: 1}


async def test_a_flush_with_nothing_noted_writes_nothing(database: Database, index: Index, url: str) -> None:
    def written() -> tuple[int, int]:
        status = Path(url.removeprefix("sqlite:///") + "-wal").stat()
        return status.st_size, status.st_mtime_ns

    before = written()
    await index.uses.flush()
    assert written() == before


async def test_clock_going_backwards_does_not_break_the_order_of_use(
    database: Database, index: Index, monkeypatch: pytest.MonkeyPatch
) -> None:
    index.uses.note(A)
    await index.uses.flush()
    a_day_ago = time.time_ns() - 86_400 * 10**9
    monkeypatch.setattr(time, "time_ns", lambda: a_day_ago)
    index.uses.note(B)
    await index.uses.flush()
    await index.publish("https://example.org/new.pth", Sha256.of(b"new"), 10)
    assert await in_order(database) == [C, A, B, Sha256.of(b"new")]


async def test_a_blob_published_again_counts_as_newest_and_keeps_its_uses(database: Database, index: Index) -> None:
    index.uses.note(A)
    await index.uses.flush()
    index.uses.note(B)
    await index.uses.flush()
    await index.publish("https://example.org/again.pth", A, 10)
    assert await in_order(database) == [C, B, A]
    assert await counts(database) == {A: 1, B: 1, C: 0}


async def test_uses_of_a_blob_that_was_forgotten_meanwhile_are_passed_over(database: Database, index: Index) -> None:
    index.uses.note(A)
    index.uses.note(B)
    await index.forget(A)
    await index.uses.flush()
    assert await counts(database) == {B: 1, C: 0}


async def test_database_locked_by_another_process_keeps_the_uses_for_the_next_flush(url: str) -> None:
    async with open_database(url, busy_seconds=0.05) as database:
        index = Index(database)
        for number, digest in enumerate((A, B)):
            await index.publish(f"https://example.org/{number}.pth", digest, 10)
        index.uses.note(A)
        other = sqlite.connect(url.removeprefix("sqlite:///"), isolation_level=None)
        try:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(CacheError, match="locked by another process"):
                await index.uses.flush()
        finally:
            other.close()
        index.uses.note(A)
        index.uses.note(B)
        index.uses.note(A)
        await index.uses.flush()
        assert await counts(database) == {A: 3, B: 1}
        assert await in_order(database) == [B, A]


async def test_a_thousand_blobs_used_at_once_are_one_flush(database: Database) -> None:
    index = Index(database)
    digests = [Sha256.of(str(number).encode()) for number in range(1001)]
    async with database.write() as connection:
        for digest in digests:
            await connection.execute(
                text("INSERT INTO blobs (sha256, size, created_at) VALUES (:digest, 1, 1)"), {"digest": digest}
            )
    for digest in reversed(digests):
        index.uses.note(digest)
    await index.uses.flush()
    assert await in_order(database) == digests[::-1]
