"""What memory may answer in place of the database, and when it may not."""

from __future__ import annotations

import os
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from zooproxy.cache.database import Database, open_database
from zooproxy.cache.index import Index
from zooproxy.cache.recent import Recent
from zooproxy.digest import Sha256

URL = "https://zoo.example/net.pth"
A, B = Sha256("a" * 64), Sha256("b" * 64)


class Asked:
    """Counts how often the answer was asked for; ``stamp`` is the database's state."""

    def __init__(self) -> None:
        self.stamp: Any = 1
        self.times = 0
        self.meanwhile: Any = None

    async def __call__(self) -> int:
        self.times += 1
        if self.meanwhile is not None:
            self.stamp = self.meanwhile
        return self.times


@pytest.fixture
def asked() -> Asked:
    return Asked()


@pytest.fixture
def recent(asked: Asked) -> Recent[str, int]:
    return Recent(lambda: asked.stamp)


async def test_the_same_state_is_asked_once_per_key(recent: Recent[str, int], asked: Asked) -> None:
    assert [await recent.get(key, asked) for key in "aabba"] == [1, 1, 2, 2, 1]


async def test_another_state_is_asked_anew(recent: Recent[str, int], asked: Asked) -> None:
    await recent.get("a", asked)
    asked.stamp = 2
    assert [await recent.get("a", asked) for _ in range(2)] == [2, 2]


async def test_a_state_that_cannot_be_told_is_always_asked(recent: Recent[str, int], asked: Asked) -> None:
    asked.stamp = None
    assert [await recent.get("a", asked) for _ in range(2)] == [1, 2]


async def test_an_answer_during_which_somebody_wrote_is_not_kept(recent: Recent[str, int], asked: Asked) -> None:
    asked.meanwhile = 2
    assert [await recent.get("a", asked) for _ in range(3)] == [1, 2, 2]


async def test_it_does_not_grow_for_ever(recent: Recent[str, int], asked: Asked) -> None:
    for number in range(5000):
        await recent.get(str(number), asked)
    assert asked.times == 5000
    await recent.get("0", asked)
    assert asked.times == 5001


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with open_database(f"sqlite:///{tmp_path}/zooproxy.db") as database:
        yield database


def grow_old(tmp_path: Path) -> None:
    """As if nobody had written for an hour."""
    then = time.time() - 3600
    for file in tmp_path.glob("zooproxy.db*"):
        os.utime(file, (then, then))


async def test_a_state_that_is_only_just_written_cannot_be_told(tmp_path: Path, database: Database) -> None:
    await Index(database).publish(URL, A, 1)
    assert database.stamp() is None
    grow_old(tmp_path)
    assert database.stamp() == database.stamp() is not None


async def test_a_write_in_another_process_is_seen_at_once(tmp_path: Path, database: Database) -> None:
    index = Index(database)
    assert await index.held(URL) is None
    grow_old(tmp_path)
    assert await index.held(URL) is None
    assert await index.blob(A) is None
    async with open_database(f"sqlite:///{tmp_path}/zooproxy.db") as other:
        await Index(other).publish(URL, A, 1)
    held = await index.held(URL)
    assert held is not None
    assert held.sha256 == A
    assert await index.blob(A) == 1


async def test_a_hot_row_costs_no_query(tmp_path: Path, database: Database) -> None:
    index = Index(database)
    await index.publish(URL, A, 1)
    grow_old(tmp_path)
    first = await index.held(URL)
    async with database.write() as connection:
        await connection.execute(text("UPDATE sources SET filled_at = 0"))
        # Not committed yet, so nobody may see it; and memory answers while the lock is held.
        assert await index.held(URL) is first
    grow_old(tmp_path)
