"""Disks that fail when told to."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from pathlib import Path

from zooproxy.cache.disk import Disk


class FailingDisk(Disk):
    """A disk whose call named ``broken`` fails with ``errno``; it works while ``broken`` is None."""

    def __init__(self) -> None:
        self.broken: str | None = None
        self.errno = 0

    def _before(self, call: str) -> None:
        if call == self.broken:
            raise OSError(self.errno, os.strerror(self.errno))

    def create(self, path: Path) -> int:
        self._before("create")
        return super().create(path)

    def write(self, descriptor: int, data: memoryview, at: int) -> int:
        self._before("write")
        return super().write(descriptor, data, at)

    def fsync(self, descriptor: int) -> None:
        self._before("fsync")
        super().fsync(descriptor)

    def rename(self, source: Path, target: Path) -> None:
        self._before("rename")
        super().rename(source, target)

    def unlink(self, path: Path) -> None:
        self._before("unlink")
        super().unlink(path)

    def fsync_directory(self, path: Path) -> None:
        self._before("fsync_directory")
        super().fsync_directory(path)


class CrashingDisk(FailingDisk):
    """A disk under a process that is killed (as by ``kill -9``) just before its ``count``-th call."""

    def __init__(self, count: int) -> None:
        super().__init__()
        self._left = count

    def _before(self, call: str) -> None:
        self._left -= 1
        if self._left == 0:
            os.kill(os.getpid(), signal.SIGKILL)


class WatchedDisk(FailingDisk):
    """A disk that tells what is about to be called."""

    def __init__(self, watch: Callable[[str], None]) -> None:
        super().__init__()
        self._watch = watch

    def _before(self, call: str) -> None:
        self._watch(call)


class ShortDisk(Disk):
    """A disk that takes at most three bytes with each write, as a disk may."""

    def write(self, descriptor: int, data: memoryview, at: int) -> int:
        return super().write(descriptor, data[:3], at)
