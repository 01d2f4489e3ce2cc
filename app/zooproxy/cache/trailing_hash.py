"""The sha256 of a file while it is written, taken by a thread that reads behind whoever writes.

Hashing is what takes longest of all that happens to a byte on its way in (0.4 to 1.8 GB/s of a core); beside the
writing it costs no time as long as there is a core for it. What is read back is in the page cache as a rule: nobody
writes further ahead than ``AHEAD`` bytes.
"""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from threading import Condition
from typing import Final

from zooproxy.digest import Hasher, Sha256
from zooproxy.errors import CacheError

AHEAD: Final = 32 << 20

_BLOCK: Final = 1 << 20
_HEAD: Final = 4 << 20  # bytes that are hashed by the writer: a small file is not worth a thread


class TrailingHash:
    """Of the file behind ``descriptor``, from its start; its owner calls it from one thread, and closes it."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._hasher = Hasher()
        self._thread = ThreadPoolExecutor(1, "trailing-hash")
        self._moved = Condition()
        self._goal = 0
        self._runs = False
        self._failure: BaseException | None = None

    def wrote(self, block: memoryview, size: int) -> None:
        """``size`` bytes are there now without a gap, ``block`` the first of those that are new.

        Returns at once, or when no more than ``AHEAD`` of them are left to be hashed.

        Raises:
            CacheError: the file lost bytes that it had, or cannot be read.
        """
        if not self._runs and self._hasher.size + len(block) <= _HEAD:
            self._hasher.update(block)
        self.reach(size)
        with self._moved:
            self._wait(AHEAD)

    def reach(self, size: int) -> None:
        """``size`` bytes are there now."""
        with self._moved:
            self._goal = size
            if not self._runs and self._hasher.size < size:
                self._runs = True
                self._thread.submit(self._run)

    def digest(self) -> Sha256:
        """Of all that is there; waits for it.

        Raises:
            CacheError: as ``wrote``.
        """
        with self._moved:
            self._wait(0)
        return self._hasher.digest()

    def close(self) -> None:
        """The descriptor is not read any more when this returns."""
        with self._moved:
            self._goal = 0
        self._thread.shutdown()

    def _wait(self, behind: int) -> None:
        while self._runs and self._goal - self._hasher.size > behind:
            self._moved.wait()
        if self._failure is not None:
            raise CacheError("a transfer's file lost bytes that it had; it has to begin anew") from self._failure

    def _run(self) -> None:
        block = memoryview(bytearray(_BLOCK))
        try:
            while count := self._left():
                self._take(block[:count])
        except Exception as error:  # noqa: BLE001  # the owner's to raise
            with self._moved:
                self._failure, self._runs = error, False
                self._moved.notify_all()

    def _left(self) -> int:
        """How many bytes to take next."""
        with self._moved:
            left = min(self._goal - self._hasher.size, _BLOCK)
            self._runs = left > 0
            self._moved.notify_all()
            return max(left, 0)

    def _take(self, block: memoryview) -> None:
        count = os.preadv(self._descriptor, [block], self._hasher.size)
        if not count:
            raise EOFError(f"no byte at {self._hasher.size}")
        self._hasher.update(block[:count])
