"""What grows, as its readers see it."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from zooproxy.cache.local import LocalBlob
from zooproxy.digest import Sha256
from zooproxy.errors import FetchError, FillCancelled
from zooproxy.provide.growing import HOLD_BACK, Following, Growing

BODY = bytes(range(256)) * 1024


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "grows"
    path.write_bytes(BODY)
    return path


def begun(path: Path, length: int | None, size: int) -> Growing:
    growing = Growing("https://zoo.example/x")
    growing.begin("name", path.open("rb"), length, size)
    return growing


def blob(path: Path) -> LocalBlob:
    return LocalBlob(Sha256.of(BODY), len(BODY), path)


async def follow(growing: Growing) -> Following:
    following = await growing.opened()
    assert isinstance(following, Following)
    return following


async def read(following: Following) -> bytes:
    with following.file() as file:
        return b"".join([following.read(file, *span) async for span in following.spans(0, following.length)])


@pytest.mark.parametrize(
    ("length", "size", "shown"),
    [
        (len(BODY), 1, 1),
        (len(BODY), len(BODY), len(BODY) - HOLD_BACK),
        (None, HOLD_BACK, 0),
        (None, len(BODY), len(BODY) - HOLD_BACK),
        (100, 100, 0),
    ],
)
def test_the_tail_of_the_whole_is_held_back_and_without_a_length_that_of_what_came(
    path: Path, length: int | None, size: int, shown: int
) -> None:
    growing = begun(path, length, size)
    assert growing.shown(growing.generation) == shown
    growing.prove()
    assert growing.shown(growing.generation) == size
    growing.finish(blob(path))


async def test_a_reader_without_a_length_ends_where_the_whole_does(path: Path) -> None:
    growing = begun(path, None, len(BODY))
    reading = asyncio.create_task(read(await follow(growing)))
    await asyncio.sleep(0)
    growing.prove()
    assert await reading == BODY
    growing.finish(blob(path))


async def test_a_reader_that_opens_its_file_after_the_end_reads_the_blob(path: Path) -> None:
    growing = begun(path, len(BODY), len(BODY))
    following = await follow(growing)
    growing.finish(blob(path))
    assert await read(following) == BODY
    assert await growing.opened() == blob(path)


async def test_what_is_proven_before_anybody_opened_it_is_waited_for_as_a_blob(path: Path) -> None:
    growing = begun(path, len(BODY), len(BODY))
    growing.prove()
    opening = asyncio.create_task(growing.opened())
    await asyncio.sleep(0)
    assert not opening.done()
    growing.finish(blob(path))
    assert await opening == blob(path)


@pytest.mark.parametrize("fails", [False, True])
async def test_readers_of_what_is_forgotten_or_fails_are_cut_off(path: Path, fails: bool) -> None:
    growing = begun(path, len(BODY), len(BODY))
    following = await follow(growing)
    if fails:
        growing.fail(FillCancelled("stopped", url=growing.url))
    else:
        growing.forget()
    with pytest.raises(FetchError, match="stopped" if fails else "began anew"):
        following.file()
    if fails:
        with pytest.raises(FillCancelled):
            await growing.done()


async def test_the_same_staged_bytes_begun_again_cut_nobody_off(path: Path) -> None:
    growing = begun(path, len(BODY), 1000)
    following = await follow(growing)
    growing.begin("name", path.open("rb"), len(BODY), len(BODY))
    growing.finish(blob(path))
    assert await read(following) == BODY


async def test_a_file_that_lost_bytes_is_told(path: Path) -> None:
    growing = begun(path, len(BODY), len(BODY))
    following = await follow(growing)
    os.truncate(path, 0)
    with following.file() as file, pytest.raises(FetchError, match="lost bytes"):
        following.read(file, 0, 100)
    growing.finish(blob(path))


def test_the_speed_is_that_of_what_came_since(path: Path) -> None:
    growing = Growing("https://zoo.example/x")
    assert growing.speed() == 0
    growing.begin("name", path.open("rb"), len(BODY), 0)
    growing.advance(len(BODY))
    assert growing.speed() > 0
    growing.finish(blob(path))
