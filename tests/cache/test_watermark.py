"""How much of a staged file others may read: told by the file itself, at any moment of its writing."""

from __future__ import annotations

import os
import random
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fakes.disks import ShortDisk
from zooproxy.cache.disk import Disk
from zooproxy.cache.partial import Partial
from zooproxy.cache.watermark import mark, place, watermark
from zooproxy.digest import Sha256
from zooproxy.errors import CacheError

PAGE = 4096


def there(partial: Partial, folder: Path, length: int) -> int:
    with (folder / partial.name).open("rb") as file:
        return watermark(file.fileno(), length)


@st.composite
def cuts(draw: st.DrawFn) -> tuple[bytes, list[tuple[int, int]]]:
    """A body and its pieces in some order."""
    length = draw(st.sampled_from([1, 2, 100, PAGE - 1, PAGE, PAGE + 1, 3 * PAGE - 8, 3 * PAGE]))
    body = random.Random(length).randbytes(length)
    bounds = sorted({0, length, *draw(st.lists(st.integers(0, length), max_size=12))})
    return body, draw(st.permutations(list(pairwise(bounds))))


@settings(max_examples=150, deadline=None)
@given(cuts(), st.sampled_from([Disk, ShortDisk]))
def test_pieces_in_any_order_become_the_body_and_the_file_tells_at_each_moment_what_is_there(
    tmp_path_factory: pytest.TempPathFactory, cut: tuple[bytes, list[tuple[int, int]]], disk: type[Disk]
) -> None:
    body, pieces = cut
    folder = tmp_path_factory.mktemp("partials")
    partial = Partial.create(folder, disk())
    partial.scatter(len(body))
    written: set[int] = set()
    for start, stop in pieces:
        partial.write(body[start:stop], start)
        written.update(range(start, stop))
        prefix = next((position for position in range(len(body)) if position not in written), len(body))
        assert partial.size == there(partial, folder, len(body)) == prefix
        assert partial.digest() == Sha256.of(body[:prefix])
    assert (folder / partial.name).read_bytes() == body
    partial.discard()


def test_what_a_killed_process_left_is_believed_up_to_the_first_gap(tmp_path: Path) -> None:
    body = os.urandom(50_000)
    left = Partial.create(tmp_path, Disk())
    left.scatter(len(body))
    left.write(body[:10_000], 0)
    left.write(body[20_000:], 20_000)
    os.close(left._descriptor)  # as the kernel does with a process
    assert (tmp_path / left.name).stat().st_size > len(body)
    again = Partial.resume(tmp_path / left.name, len(body), len(body), Disk())
    assert (again.size, again.digest()) == (10_000, Sha256.of(body[:10_000]))
    assert (tmp_path / left.name).stat().st_size == 10_000
    again.write(body[10_000:])
    assert again.digest() == Sha256.of(body)
    again.discard()


def test_a_power_cut_takes_what_was_not_durable_whatever_the_mark_says(tmp_path: Path) -> None:
    left = Partial.create(tmp_path, Disk())
    left.scatter(50_000)
    left.write(bytes(10_000), 0)
    os.close(left._descriptor)
    again = Partial.resume(tmp_path / left.name, 300, 50_000, Disk())
    assert again.size == 300
    again.discard()


@pytest.mark.parametrize("length", [10, PAGE, PAGE + 1])
@pytest.mark.parametrize(
    "record",
    [b"", mark(5)[:8], bytes(16), mark(5)[:8] + mark(6)[8:], mark(0x0102)[:1] + mark(0x0201)[1:]],
    ids=["none", "cut", "a hole", "half of the next", "torn"],
)
def test_a_mark_that_is_not_whole_tells_of_nothing(tmp_path: Path, length: int, record: bytes) -> None:
    path = tmp_path / "x"
    path.write_bytes(bytes(place(length)) + record + (b"" if record else b"\0" * (length == place(length))))
    with path.open("rb") as file:
        assert watermark(file.fileno(), length) == 0


def test_a_file_without_a_mark_or_a_length_is_as_long_as_it_is(tmp_path: Path) -> None:
    path = tmp_path / "x"
    path.write_bytes(bytes(100))
    with path.open("rb") as file:
        assert [watermark(file.fileno(), length) for length in (None, 100, 5000)] == [100] * 3


@pytest.mark.parametrize("at", [41, 50, 59])
def test_bytes_that_are_there_already_are_not_written_again(tmp_path: Path, at: int) -> None:
    partial = Partial.create(tmp_path, Disk())
    partial.scatter(100)
    partial.write(bytes(10), 50)
    with pytest.raises(CacheError, match="twice"):
        partial.write(bytes(10), at)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_lost_bytes_before_they_were_hashed_is_told_and_dropped(tmp_path: Path) -> None:
    partial = Partial.create(tmp_path, Disk())
    partial.scatter(100)
    partial.write(bytes(50), 50)
    os.truncate(tmp_path / partial.name, 10)
    with pytest.raises(CacheError, match="lost bytes"):
        partial.write(bytes(50), 0)
    assert list(tmp_path.iterdir()) == []
