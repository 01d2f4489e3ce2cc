"""The digest that is taken behind the writer's back: of just the bytes that are there, however far it has come."""

from __future__ import annotations

import os
import random
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from zooproxy.cache import trailing_hash
from zooproxy.cache.disk import Disk
from zooproxy.cache.partial import Partial
from zooproxy.cache.trailing_hash import AHEAD, TrailingHash
from zooproxy.digest import Sha256
from zooproxy.errors import CacheError

BODY = random.Random(7).randbytes(9 << 20)


@pytest.fixture
def descriptor(tmp_path: Path) -> Iterator[int]:
    descriptor = os.open(tmp_path / "file", os.O_RDWR | os.O_CREAT)
    yield descriptor
    os.close(descriptor)


@pytest.fixture
def trailing(descriptor: int) -> Iterator[TrailingHash]:
    trailing = TrailingHash(descriptor)
    yield trailing
    trailing.close()


@pytest.mark.parametrize("step", [1 << 20, (1 << 20) + 1, 5 << 20, len(BODY)])
def test_the_digest_of_what_was_written_in_steps_is_that_of_the_whole(
    descriptor: int, trailing: TrailingHash, step: int
) -> None:
    for start in range(0, len(BODY), step):
        block = BODY[start : start + step]
        os.pwrite(descriptor, block, start)
        trailing.wrote(memoryview(block), start + len(block))
    assert trailing.digest() == Sha256.of(BODY)
    os.pwrite(descriptor, b"more", len(BODY))
    trailing.wrote(memoryview(b"more"), len(BODY) + 4)
    assert trailing.digest() == Sha256.of(BODY + b"more")


def test_bytes_that_were_there_before_are_read_back(descriptor: int, trailing: TrailingHash) -> None:
    os.pwrite(descriptor, BODY, 0)
    trailing.wrote(memoryview(BODY)[:10], 5000)
    assert trailing.digest() == Sha256.of(BODY[:5000])
    trailing.reach(len(BODY))
    assert trailing.digest() == Sha256.of(BODY)


class HeldUp:
    """Reads of the trailing thread stop at a gate."""

    def __init__(self) -> None:
        self.gate, self.entered, self.calls = threading.Event(), threading.Event(), 0
        self._preadv = os.preadv

    def __call__(self, descriptor: int, buffers: list[memoryview], offset: int) -> int:
        self.calls += 1
        self.entered.set()
        assert self.gate.wait(30)
        return self._preadv(descriptor, buffers, offset)


@pytest.fixture
def held_up(monkeypatch: pytest.MonkeyPatch) -> Iterator[HeldUp]:
    held_up = HeldUp()
    monkeypatch.setattr(trailing_hash.os, "preadv", held_up)
    yield held_up
    held_up.gate.set()


def test_nobody_writes_further_ahead_than_the_bound(descriptor: int, trailing: TrailingHash, held_up: HeldUp) -> None:
    whole = AHEAD + (8 << 20)
    os.truncate(descriptor, whole)
    zeros = memoryview(bytes(AHEAD))
    trailing.wrote(zeros, AHEAD)  # as far ahead as may be
    assert held_up.entered.wait(30)
    writer = threading.Thread(target=trailing.wrote, args=(zeros[: 8 << 20], whole))
    writer.start()
    writer.join(0.05)
    assert writer.is_alive()
    held_up.gate.set()
    writer.join(30)
    assert trailing.digest() == Sha256.of(bytes(whole))


def test_a_file_that_lost_bytes_is_told_to_the_writer_and_to_whoever_asks(
    descriptor: int, trailing: TrailingHash
) -> None:
    trailing.reach(5)
    with pytest.raises(CacheError, match="lost bytes"):
        trailing.digest()
    with pytest.raises(CacheError, match="lost bytes"):
        trailing.wrote(memoryview(b""), 5)


def test_a_file_is_read_no_more_when_it_has_been_closed(descriptor: int, held_up: HeldUp) -> None:
    trailing = TrailingHash(descriptor)
    os.truncate(descriptor, AHEAD)
    trailing.reach(AHEAD)
    assert held_up.entered.wait(30)
    closer = threading.Thread(target=trailing.close)
    closer.start()
    closer.join(0.05)
    assert closer.is_alive()
    held_up.gate.set()
    closer.join(30)
    assert held_up.calls == 1


def test_a_partial_whose_bytes_vanish_before_they_are_hashed_is_dropped(tmp_path: Path, held_up: HeldUp) -> None:
    partial = Partial.create(tmp_path, Disk())
    partial.write(BODY)
    assert held_up.entered.wait(30)
    os.truncate(tmp_path / partial.name, 0)
    held_up.gate.set()
    with pytest.raises(CacheError, match="lost bytes"):
        partial.digest()
    assert list(tmp_path.iterdir()) == []
