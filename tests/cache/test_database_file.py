"""A database that is damaged is put aside and made anew, by one of however many find it so."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path

import pytest

from cache.together import run_together
from zooproxy.cache.database import open_database
from zooproxy.cache.database_file import DatabaseFile
from zooproxy.cache.index import Index
from zooproxy.digest import Sha256
from zooproxy.errors import CacheError, DatabaseDamaged, SettingsError

URL = "https://zoo.example/x.pth"
BLOB = Sha256.of(b"some weights")
NAME = "zooproxy.sqlite3"

OPEN_TOGETHER = """
import asyncio, sys
from zooproxy.cache.database import open_database
from zooproxy.cache.index import Index
from zooproxy.digest import Sha256

async def main():
    print("ready", flush=True)
    sys.stdin.readline()
    async with open_database(sys.argv[1]) as database:
        await Index(database).publish(f"https://zoo.example/{sys.argv[2]}", Sha256.of(b"some weights"), 12)

asyncio.run(main())
"""


def aside(tmp_path: Path) -> list[Path]:
    return sorted(path for path in tmp_path.glob(f"{NAME}.damaged-*") if not path.name.endswith(("-wal", "-shm")))


async def fill(url: str) -> None:
    async with open_database(url) as database:
        for number in range(200):
            await Index(database).publish(f"https://zoo.example/{number}", Sha256.of(b"%d" % number), 12)


async def is_usable(url: str) -> bool:
    async with open_database(url) as database:
        index = Index(database)
        assert await index.held(URL) is None
        await index.publish(URL, BLOB, 12)
        return await index.held(URL) is not None


async def test_garbage_is_kept_aside_told_and_replaced(
    tmp_path: Path, url: str, caplog: pytest.LogCaptureFixture
) -> None:
    garbage = b"this was a database once " * 1000
    (tmp_path / NAME).write_bytes(garbage)
    with caplog.at_level(logging.ERROR):
        assert await is_usable(url)
    (kept,) = aside(tmp_path)
    assert kept.read_bytes() == garbage
    assert "SQLITE_NOTADB" in caplog.text
    assert kept.name in caplog.text


@pytest.mark.parametrize("size", [100, 4096, 3 * 4096 + 7])
async def test_file_cut_short_is_replaced(tmp_path: Path, url: str, size: int) -> None:
    await fill(url)
    whole = (tmp_path / NAME).read_bytes()
    assert len(whole) > size
    (tmp_path / NAME).write_bytes(whole[:size])
    assert await is_usable(url)
    (kept,) = aside(tmp_path)
    assert kept.read_bytes() == whole[:size]


async def test_page_of_a_table_that_has_rotted_is_found_at_the_start(tmp_path: Path, url: str) -> None:
    await fill(url)
    whole = bytearray((tmp_path / NAME).read_bytes())
    page = whole.index(b"https://zoo.example/77") // 4096 * 4096
    whole[page : page + 64] = b"\xff" * 64
    (tmp_path / NAME).write_bytes(whole)
    assert await is_usable(url)
    assert len(aside(tmp_path)) == 1


async def test_database_deleted_beside_its_write_ahead_log_is_made_anew(tmp_path: Path, url: str) -> None:
    await fill(url)
    (tmp_path / NAME).unlink()
    (tmp_path / f"{NAME}-wal").write_bytes(b"frames of another database" * 100)
    assert await is_usable(url)
    assert aside(tmp_path) == []


async def test_empty_file_is_a_new_database(tmp_path: Path, url: str) -> None:
    (tmp_path / NAME).touch()
    assert await is_usable(url)
    assert aside(tmp_path) == []


async def test_two_that_are_damaged_in_one_second_are_both_kept(tmp_path: Path, url: str) -> None:
    for content in (b"first " * 1000, b"second " * 1000):
        (tmp_path / NAME).write_bytes(content)
        assert await is_usable(url)
    assert {path.read_bytes()[:5] for path in aside(tmp_path)} == {b"first", b"secon"}


async def test_damaged_database_that_another_process_has_open_is_left_alone(tmp_path: Path, url: str) -> None:
    (tmp_path / NAME).write_bytes(b"garbage " * 1000)
    with DatabaseFile(tmp_path / NAME) as other:
        await other.share(1)
        with pytest.raises(DatabaseDamaged, match="end every zooproxy"):
            async with open_database(url, busy_seconds=0.1):
                pass
        assert aside(tmp_path) == []
    assert await is_usable(url)


async def test_database_under_repair_by_another_process_is_waited_for_and_not_for_ever(
    tmp_path: Path, url: str
) -> None:
    with DatabaseFile(tmp_path / NAME) as other:
        assert other.be_alone()
        with pytest.raises(CacheError, match="repairing"):
            async with open_database(url, busy_seconds=0.1):
                pass
        opening = asyncio.create_task(is_usable(url))
        await asyncio.wait({opening}, timeout=0.1)
        await other.share(1)
        assert await opening


async def test_four_openings_of_a_damaged_database_at_once_put_it_aside_once(tmp_path: Path, url: str) -> None:
    (tmp_path / NAME).write_bytes(b"garbage " * 1000)

    async def start(number: int) -> None:
        async with open_database(url) as database:
            await Index(database).publish(f"https://zoo.example/{number}", BLOB, 12)

    await asyncio.gather(*map(start, range(4)))
    async with open_database(url) as database:
        for number in range(4):
            assert await Index(database).held(f"https://zoo.example/{number}") is not None
    assert len(aside(tmp_path)) == 1


async def test_two_processes_that_find_it_damaged_at_once_put_it_aside_once(tmp_path: Path, url: str) -> None:
    (tmp_path / NAME).write_bytes(b"garbage " * 1000)

    await asyncio.to_thread(run_together, OPEN_TOGETHER, [url, "0"], [url, "1"])
    async with open_database(url) as database:
        for number in range(2):
            assert await Index(database).held(f"https://zoo.example/{number}") is not None
    assert len(aside(tmp_path)) == 1


def test_directory_that_cannot_be_made_is_a_fault_of_the_settings(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(SettingsError, match="DATABASE_URL"), DatabaseFile(tmp_path / "file" / "below" / NAME):
        pass


def test_directory_that_cannot_be_written_is_refused_in_words(tmp_path: Path) -> None:
    (tmp_path / f"{NAME}.lock").mkdir()
    with pytest.raises(CacheError, match="cannot be written"), DatabaseFile(tmp_path / NAME):
        pass
