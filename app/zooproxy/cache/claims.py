"""Who may publish, read or remove a blob of a local store at the moment: kernel locks (``flock``), in every process.

::

    locks/ab            shared by whoever publishes a blob ``ab…``, from its rename until its row is written;
                        alone for whoever removes one, from before its row goes until its file is gone
    blobs/ab/cdef…      shared by whoever reads it, as long as a descriptor is open
    locks/NAME          for work that one process does at a time

The kernel drops a lock with the process that holds it, however that ends. As partial files, they need a local file
system.
"""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterable
from contextlib import ExitStack, suppress
from itertools import groupby
from pathlib import Path
from typing import BinaryIO, Final

from zooproxy.cache.blobs import Claim
from zooproxy.cache.disk import disk_errors
from zooproxy.cache.partial import blob_path
from zooproxy.digest import Sha256
from zooproxy.errors import AlreadyAtWork

_LOOK_SECONDS: Final = 0.02


class Lock:
    """Locked until ``release``; descriptors that hold kernel locks."""

    def __init__(self, descriptors: Iterable[int]) -> None:
        self._descriptors = list(descriptors)

    def add(self, descriptor: int) -> None:
        self._descriptors.append(descriptor)

    def release(self) -> None:
        while self._descriptors:
            os.close(self._descriptors.pop())


class Locks:
    """Synchronous, for worker threads."""

    def __init__(self, root: Path, blobs: Path) -> None:
        self._root = root
        self._blobs = blobs

    def publishing(self, digests: Iterable[Sha256]) -> Lock:
        """Waits until nobody removes a blob of their shelves, and keeps it so."""
        shelves = sorted({digest[:2] for digest in digests})
        with disk_errors("locking a shelf"), ExitStack() as stack:
            lock = Lock([])
            stack.callback(lock.release)
            for shelf in shelves:
                lock.add(self._locked(shelf, fcntl.LOCK_SH))
            stack.pop_all()
        return lock

    def claim(self, digests: Iterable[Sha256], *, read_too: bool) -> tuple[Claim, Lock]:
        """Those of ``digests`` that can be claimed without waiting; ``read_too``: even while they are read."""
        sizes: dict[Sha256, int] = {}
        descriptors: list[int] = []
        wanted = sorted(set(digests))
        with disk_errors("claiming blobs"):
            for shelf, those in groupby(wanted, key=lambda digest: digest[:2]):
                with suppress(BlockingIOError):
                    descriptors.append(self._locked(shelf, fcntl.LOCK_EX | fcntl.LOCK_NB))
                    sizes |= self._unread(those, descriptors, read_too)
        return Claim(sizes, frozenset(wanted) - sizes.keys()), Lock(descriptors)

    def alone(self, name: str, patience: float) -> Lock:
        """Waits up to ``patience`` seconds for whoever does the same.

        Raises:
            AlreadyAtWork: that was not enough.
        """
        deadline = time.monotonic() + patience
        with disk_errors("waiting for a lock"):
            while True:
                try:
                    return Lock([self._locked(name, fcntl.LOCK_EX | fcntl.LOCK_NB)])
                except BlockingIOError as error:
                    if time.monotonic() > deadline:
                        raise AlreadyAtWork("another process is busy with the same; try again") from error
                time.sleep(_LOOK_SECONDS)

    def _unread(self, digests: Iterable[Sha256], descriptors: list[int], read_too: bool) -> dict[Sha256, int]:
        sizes = {}
        for digest in digests:
            try:
                descriptor = os.open(blob_path(self._blobs, digest), os.O_RDONLY | os.O_NOFOLLOW)
            except FileNotFoundError:
                sizes[digest] = 0
                continue
            descriptors.append(descriptor)
            if read_too or _lock(descriptor, fcntl.LOCK_EX):
                sizes[digest] = os.fstat(descriptor).st_blocks * 512
        return sizes

    def _locked(self, name: str, how: int) -> int:
        """
        Raises:
            BlockingIOError: ``how`` says not to wait, and somebody holds it.
        """
        path = self._root / name
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CREAT, 0o644)
        except FileNotFoundError:
            self._root.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDONLY | os.O_CREAT, 0o644)
        try:
            fcntl.flock(descriptor, how)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor


def mark_read(file: BinaryIO) -> bool:
    """Says to every process that the blob behind ``file`` is being read, until it and its duplicates are closed.

    A blob that is just being removed cannot be marked; its bytes stay readable through ``file`` all the same. Whether
    it could be.
    """
    try:
        return _lock(file.fileno(), fcntl.LOCK_SH)
    except OSError:  # no descriptor
        return False


def _lock(descriptor: int, how: int) -> bool:
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
