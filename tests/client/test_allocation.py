"""Room on the disk before the bytes come, where the file system can be asked for it."""

from __future__ import annotations

import ctypes
import errno
from pathlib import Path
from typing import Any

import pytest

from zooproxy.client import allocation
from zooproxy.client.allocation import allocate


def test_a_file_has_its_length_and_its_room_before_it_is_written(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w+b") as file:
        allocate(file.fileno(), 1_000_000)
        assert file.read() == bytes(1_000_000)
    assert (tmp_path / "file").stat().st_blocks * 512 >= 1_000_000


def test_what_has_no_bytes_needs_no_room(tmp_path: Path) -> None:
    with (tmp_path / "file").open("w+b") as file:
        allocate(file.fileno(), 0)
    assert (tmp_path / "file").stat().st_size == 0


def answering(*numbers: int) -> Any:
    """A system call that fails with each of ``numbers`` and then succeeds."""
    left = list(numbers)

    def call(*_: int) -> int:
        if not left:
            return 0
        ctypes.set_errno(left.pop(0))
        return -1

    return lambda: call


@pytest.mark.parametrize("number", [errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL])
def test_a_file_system_that_knows_no_such_call_is_written_to_all_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    monkeypatch.setattr(allocation, "_fallocate", answering(number))
    with (tmp_path / "file").open("w+b") as file:
        allocate(file.fileno(), 10)
    assert (tmp_path / "file").stat().st_size == 0


def test_a_signal_in_between_means_asking_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(allocation, "_fallocate", answering(errno.EINTR, errno.EINTR))
    allocate(-1, 10)
    monkeypatch.setattr(allocation, "_fallocate", answering(errno.EINTR, errno.ENOSPC))
    with pytest.raises(OSError, match="No space left") as raised:
        allocate(-1, 10)
    assert raised.value.errno == errno.ENOSPC


@pytest.mark.parametrize("library", [None, object()])
def test_a_system_without_the_call_goes_without(monkeypatch: pytest.MonkeyPatch, library: Any) -> None:
    allocation._fallocate.cache_clear()
    if library is None:
        monkeypatch.setattr("sys.platform", "darwin")
    else:
        monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: library)
    try:
        assert allocation._fallocate() is None
        allocate(-1, 10)
    finally:
        allocation._fallocate.cache_clear()
