"""Which blobs are due, what was read out of them, whether the database is sound."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from zooproxy.cache.database import Database
from zooproxy.cache.index import Index
from zooproxy.cache.inspection import HeldDigest, Inspection
from zooproxy.cache.inventory import PORTION
from zooproxy.digest import Sha256
from zooproxy.errors import CacheError

NOW = datetime(2026, 6, 1, tzinfo=UTC)
DAY = timedelta(days=1)
MONTH = 30 * DAY
FIRST, SECOND, THIRD = (Sha256.of(b"%d" % number) for number in range(3))


@pytest.fixture
async def inspection(database: Database) -> Inspection:
    """Three blobs that came 50, 40 and 10 days before ``NOW``."""
    index = Index(database)
    for number, (digest, days) in enumerate({FIRST: 50, SECOND: 40, THIRD: 10}.items()):
        await index.publish(f"https://zoo.example/{number}", digest, number, at=NOW - days * DAY)
    return Inspection(database)


async def due(inspection: Inspection, limit: int = 10) -> list[Sha256]:
    return [one.sha256 for one in await inspection.due(NOW, MONTH, limit)]


async def test_blobs_that_came_long_ago_are_due_the_longest_ago_first(inspection: Inspection) -> None:
    assert await inspection.due(NOW, MONTH, 10) == [HeldDigest(FIRST, 0), HeldDigest(SECOND, 1)]
    assert await due(inspection, 1) == [FIRST]


async def test_blob_that_was_verified_is_due_again_when_that_is_long_ago(inspection: Inspection) -> None:
    await inspection.mark_verified([FIRST], NOW - DAY)
    assert await due(inspection) == [SECOND]
    await inspection.mark_verified([FIRST], NOW - 60 * DAY)
    assert await due(inspection) == [FIRST, SECOND]


async def test_clock_going_backwards_makes_blobs_due_and_not_exempt(inspection: Inspection) -> None:
    await inspection.mark_verified([THIRD], NOW + 1000 * DAY)
    assert await due(inspection) == [THIRD, FIRST, SECOND]
    await inspection.mark_verified([THIRD], NOW)
    assert await due(inspection) == [FIRST, SECOND]


async def test_more_blobs_than_one_transaction_takes_are_marked(database: Database, inspection: Inspection) -> None:
    many = [Sha256.of(b"many %d" % number) for number in range(PORTION + 1)]
    index = Index(database)
    for digest in (many[0], many[-1]):
        await index.publish(f"https://zoo.example/{digest}", digest, 1, at=NOW - 90 * DAY)
    await inspection.mark_verified(many, NOW)
    assert await due(inspection) == [FIRST, SECOND]


async def test_size_is_that_of_all_blobs(database: Database, inspection: Inspection) -> None:
    assert await inspection.size() == 0 + 1 + 2
    await Index(database).forget(FIRST, SECOND, THIRD)
    assert await inspection.size() == 0


async def test_documents_of_one_reader_are_told_in_portions_and_can_be_dropped(
    database: Database, inspection: Inspection
) -> None:
    index = Index(database)
    digests = sorted(Sha256.of(b"document %d" % number) for number in range(33))
    for digest in digests:
        await index.publish(f"https://zoo.example/{digest}", digest, 7)
        await index.keep_tensor_index(digest, 5, digest.encode())
    await index.keep_tensor_index(FIRST, 4, b"an older reader's")
    told = [one async for one in inspection.tensor_indexes(5)]
    assert told == [(digest, 7, digest.encode()) for digest in digests]
    await inspection.drop_tensor_index(digests[0])
    assert len([one async for one in inspection.tensor_indexes(5)]) == 32


async def test_sound_database_has_no_faults(inspection: Inspection) -> None:
    assert await inspection.faults() == []


async def test_only_one_of_two_is_at_a_work_until_it_ends(database: Database, tmp_path: Path) -> None:
    with database.sole("scrub") as first, database.sole("scrub") as second, database.sole("other") as other:
        assert (first, second, other) == (True, False, True)
    with database.sole("scrub") as again:
        assert again
    (tmp_path / "zooproxy.sqlite3.blocked").mkdir()
    with pytest.raises(CacheError, match="cannot be written"), database.sole("blocked"):
        pass
