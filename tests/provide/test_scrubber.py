"""Blobs read again in the background: what is bad is found, quarantined and told of, in good time and politely."""

from __future__ import annotations

import asyncio
import time
from datetime import UTC, datetime, timedelta

import pytest

from fakes.directories import CHANGED, CONTENT, DIGEST, OTHER, OTHER_URL, URL, Directory
from zooproxy.cache.database import open_database
from zooproxy.digest import Sha256
from zooproxy.errors import CacheError
from zooproxy.provide.scrubber import Pace, Scrubber, scrubbing

FAST = Pace(1 << 60, timedelta(microseconds=1), idle_seconds=0.01)


class Told:
    def __init__(self) -> None:
        self.of: list[tuple[Sha256, str, tuple[str, ...]]] = []
        self.once = asyncio.Event()

    async def __call__(self, digest: Sha256, reason: str, urls: tuple[str, ...]) -> None:
        self.of.append((digest, reason, urls))
        self.once.set()


@pytest.fixture
def told() -> Told:
    return Told()


@pytest.fixture
async def two(directory: Directory) -> Directory:
    await directory.publish()
    await directory.publish(OTHER_URL, CHANGED)
    return directory


def scrubber(directory: Directory, told: Told, pace: Pace = FAST) -> Scrubber:
    return Scrubber(directory.shelf, directory.inspection, pace, told)


def flip(directory: Directory) -> None:
    directory.damage(bytes([CONTENT[0] ^ 1]) + CONTENT[1:])


async def test_one_flipped_bit_is_found_quarantined_and_told(two: Directory, told: Told) -> None:
    flip(two)
    assert await scrubber(two, told).round()
    ((digest, reason, urls),) = told.of
    assert (digest, urls) == (DIGEST, (URL,))
    assert "sha256" in reason
    assert await two.index.held(URL) is None
    assert (two.root / "quarantine" / DIGEST).exists()
    assert await two.index.held(OTHER_URL) is not None


async def test_what_is_sound_is_not_due_again_before_its_time(two: Directory, told: Told) -> None:
    month = Pace(1 << 40, timedelta(days=30))
    assert not await scrubber(two, told, month).round()
    async with two.database.write() as connection:
        await connection.exec_driver_sql("UPDATE blobs SET created_at = 0")
    assert await scrubber(two, told, month).round()
    assert not await scrubber(two, told, month).round()
    assert told.of == []


async def test_blob_deleted_behind_the_index_is_forgotten(two: Directory, told: Told) -> None:
    two.path().unlink()
    await scrubber(two, told).round()
    assert await two.index.held(URL) is None
    assert told.of == []


async def test_blob_of_a_wrong_length_is_told_without_being_read(two: Directory, told: Told) -> None:
    two.damage(CONTENT + b"!")
    await scrubber(two, told).round()
    assert told.of == [(DIGEST, "it has 13 bytes, not 12", (URL,))]
    assert await two.index.held(URL) is None


async def test_it_reads_in_the_background_and_stops_at_once(two: Directory, told: Told) -> None:
    flip(two)
    async with scrubbing(scrubber(two, told), two.database):
        async with asyncio.timeout(30):
            await told.once.wait()
        ending = time.monotonic()
    assert time.monotonic() - ending < 1


async def test_it_stops_at_once_in_the_middle_of_a_large_blob_at_a_slow_pace(directory: Directory, told: Told) -> None:
    await directory.publish(URL, bytes(9 << 20))
    slow = scrubber(directory, told, Pace(1000, timedelta(0)))
    async with scrubbing(slow, directory.database):
        await asyncio.sleep(0.05)
        ending = time.monotonic()
    assert time.monotonic() - ending < 1


async def test_what_was_read_before_it_was_stopped_is_remembered(two: Directory, told: Told) -> None:
    """The first one is small enough for one breath at that pace, the second would take an hour."""
    reached = asyncio.Event()

    class Watched(Scrubber):
        async def _scrub(self, one: object) -> None:
            if self._sound:
                reached.set()
            await super()._scrub(one)  # type: ignore[arg-type]

    begun = datetime.now(UTC)
    watched = Watched(two.shelf, two.inspection, Pace(2 << 20, timedelta(0)), told)
    async with scrubbing(watched, two.database), asyncio.timeout(30):
        await reached.wait()
    now = datetime.now(UTC)
    assert len(await two.inspection.due(now, now - begun, 10)) == 1


async def test_only_one_of_two_processes_scrubs(two: Directory, told: Told) -> None:
    flip(two)
    async with open_database(f"sqlite:///{two.root}/zooproxy.db") as other:
        with other.sole("scrub"):
            async with scrubbing(scrubber(two, told), two.database):
                await asyncio.sleep(0.1)
            assert told.of == []
        async with scrubbing(scrubber(two, told), two.database), asyncio.timeout(30):
            await told.once.wait()


async def test_it_goes_on_after_a_failure(two: Directory, told: Told, caplog: pytest.LogCaptureFixture) -> None:
    failures: list[Exception] = [CacheError("the database is locked"), RuntimeError("a bug")]

    class Failing(Scrubber):
        async def round(self) -> bool:
            if failures:
                raise failures.pop(0)
            return await super().round()

    flip(two)
    failing = Failing(two.shelf, two.inspection, FAST, told)
    async with scrubbing(failing, two.database), asyncio.timeout(30):
        await told.once.wait()
    assert caplog.text.count("scrubbing failed and is tried again") == 2


async def test_pace_that_is_too_slow_for_its_days_is_told(
    two: Directory, told: Told, caplog: pytest.LogCaptureFixture
) -> None:
    async with scrubbing(scrubber(two, told, Pace(1, timedelta(seconds=1))), two.database):
        async with asyncio.timeout(30):
            while "within SCRUB_DAYS" not in caplog.text:  # noqa: ASYNC110  # a log sets no event
                await asyncio.sleep(0.01)
    assert OTHER not in caplog.text
