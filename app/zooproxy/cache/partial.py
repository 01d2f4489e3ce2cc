"""One partial file: hashed while written, published last. Synchronous; its owner calls it from one thread.

Its ``size`` is what is there from its start without a gap: only that is hashed, and only that is kept.
"""

from __future__ import annotations

import fcntl
import os
import re
import secrets
from collections.abc import Callable, Collection
from pathlib import Path
from typing import BinaryIO

from zooproxy.cache.disk import Disk, disk_errors
from zooproxy.cache.trailing_hash import TrailingHash
from zooproxy.cache.watermark import Islands, mark, place, watermark
from zooproxy.digest import Sha256
from zooproxy.errors import BlobAbsent, CacheError, DigestMismatch

_NAME = re.compile(r"[0-9a-f]{32}\Z")


class Partial:
    """A file in the partial directory, locked (``flock``) for as long as its process writes it.

    The lock is how a sweep knows the living from the dead. The kernel drops it with the process, however that ends,
    and unlike a process id it is never reused and means the same in two containers that share a volume. It needs a
    local file system, as SQLite's write-ahead log does; where ``flock`` does nothing, a sweep in another process can
    take a live partial, whose commit then fails and publishes nothing.
    """

    def __init__(self, path: Path, descriptor: int, disk: Disk) -> None:
        """Over a descriptor that is open for writing, locked, and at the file's start."""
        self._path = path
        self._descriptor = descriptor
        self._disk = disk
        self._size = 0
        self._hash = TrailingHash(descriptor)
        self._islands = Islands()
        self._length: int | None = None
        self._closed = False

    @classmethod
    def create(cls, directory: Path, disk: Disk) -> Partial:
        """A new, empty one."""
        with disk_errors("starting a partial file"):
            if not directory.is_dir():
                disk.make_directory(directory)
            return cls(*_create_locked(directory, disk), disk)

    @classmethod
    def resume(cls, path: Path, trusted: int, length: int, disk: Disk) -> Partial:
        """What was kept, or left, at ``path`` of ``length`` bytes, hashed again: up to its first gap, and at most

        ``trusted`` bytes. Whatever else it has is cut off.

        Raises:
            BlobAbsent: it is not there, or another process is writing it.
        """
        with disk_errors("continuing a partial file"):
            try:
                descriptor = disk.reopen(path)
            except FileNotFoundError as error:
                raise BlobAbsent("nothing was kept of this transfer") from error
            try:
                if not _lock(descriptor) or not os.fstat(descriptor).st_nlink:
                    raise BlobAbsent("another process writes this partial file")
                os.ftruncate(descriptor, min(watermark(descriptor, length), trusted))
                partial = cls(path, descriptor, disk)
                partial._size = os.fstat(descriptor).st_size
                partial._hash.reach(partial._size)
            except BaseException:
                os.close(descriptor)
                raise
        return partial

    @property
    def name(self) -> str:
        return self._path.name

    @property
    def size(self) -> int:
        return self._size

    def scatter(self, length: int) -> None:
        """From now on, bytes of a whole of ``length`` may be written beyond a gap, and the file carries a mark."""
        self._refuse_if_closed()
        self._length = length
        self._with_the_disk("writing a partial file", self._write_mark)

    def trim(self) -> None:
        """Drops what lies beyond a gap, and the mark."""
        self._refuse_if_closed()
        self._with_the_disk("cutting a partial file", self._cut)

    def keep(self) -> None:
        """Makes the bytes durable, up to the first gap, and leaves them where ``resume`` finds them."""
        self._refuse_if_closed()
        self._closed = True
        try:
            with disk_errors("keeping a partial file"):
                self._cut()
                self._disk.fsync(self._descriptor)
                self._disk.fsync_directory(self._path.parent)
        finally:
            self._close()

    def digest(self) -> Sha256:
        """Of what is there; waits until it is hashed."""
        self._refuse_if_closed()
        try:
            return self._hash.digest()
        except CacheError:
            self.discard()
            raise

    def file(self) -> BinaryIO:
        self._refuse_if_closed()
        with disk_errors("reading back a partial file"):
            return self._path.open("rb")

    def write(self, data: bytes | memoryview, at: int | None = None) -> None:
        """At ``at``; by default, after what is there."""
        self._refuse_if_closed()
        view = memoryview(data).cast("B")
        self._with_the_disk("writing a partial file", lambda: self._write(view, self.size if at is None else at))

    def publish(self, blobs: Path, expected: Sha256 | None) -> tuple[Sha256, Path]:
        """Flushes, renames to ``blobs/ab/cdef…``, flushes the directory; the digest and the final path.

        However it ends, the partial is gone afterwards.
        """
        self._refuse_if_closed()
        try:
            digest = self.digest()
            if expected is not None and digest != expected:
                raise DigestMismatch(
                    f"the bytes have the sha256 {digest}, not {expected}", expected=expected, actual=digest
                )
            final = blob_path(blobs, digest)
            with disk_errors("publishing a blob"):
                self._make_durable(final)
            return digest, final
        finally:
            self.discard()

    def flush(self) -> None:
        """Makes the bytes durable, not their name.

        Raises:
            OSError: they are not to be believed.
        """
        self._disk.fsync(self._descriptor)

    def move(self, final: Path) -> None:
        """To ``final``, in place of what has that name; ``discard`` lets go of it.

        Raises:
            OSError: it is where it was.
        """
        self._disk.rename(self._path, final)

    def discard(self) -> None:
        if self._closed:
            return
        self._closed = True
        with disk_errors("discarding a partial file"):
            try:
                self._disk.unlink(self._path)
            except FileNotFoundError:
                pass  # published, or swept where flock does nothing
            finally:
                self._close()

    def _close(self) -> None:
        self._hash.close()
        os.close(self._descriptor)

    def _with_the_disk(self, doing: str, call: Callable[[], None]) -> None:
        try:
            with disk_errors(doing):
                call()
        except CacheError:
            self.discard()
            raise

    def _write(self, view: memoryview, at: int) -> None:
        if at != self.size and (self._length is None or not self.size < at <= self._length - len(view)):
            raise CacheError("bytes of a transfer came where none were awaited; it has to begin anew")
        stop = at + len(view)
        if self._islands.overlap(at, stop):
            raise CacheError("bytes of a transfer were written twice; it has to begin anew")
        self._write_all(view, at)
        if at != self.size:
            self._islands.add(at, stop)
            return
        self._size = self._islands.leave(stop)
        if self._length is not None:
            self._write_mark()
        self._hash.wrote(view, self._size)

    def _write_all(self, view: memoryview, at: int) -> None:
        written = 0
        while written < len(view):
            written += self._disk.write(self._descriptor, view[written:], at + written)

    def _write_mark(self) -> None:
        if self._length is None or self.size == self._length:
            self._cut()
        else:
            self._write_all(memoryview(mark(self.size)), place(self._length))

    def _cut(self) -> None:
        self._islands.clear()
        if self._length is not None:
            self._length = None
            if os.fstat(self._descriptor).st_size < self.size:
                raise CacheError("a transfer's file lost bytes that it had; it has to begin anew")
            os.ftruncate(self._descriptor, self.size)

    def _make_durable(self, final: Path) -> None:
        # What is there is replaced: its bytes may have rotted since they were hashed, these have not had the time.
        self.flush()
        self._disk.make_directory(final.parent)
        self.move(final)
        try:
            self._disk.fsync_directory(final.parent)
        except OSError:
            # The kernel reports a failed flush once; a name that stayed would be believed by the next commit.
            self._disk.unlink(final)
            raise

    def _refuse_if_closed(self) -> None:
        if self._closed:
            raise CacheError("the staged blob was committed or discarded already; stage it again")


def blob_path(blobs: Path, digest: Sha256) -> Path:
    """``blobs/ab/cdef…``: two levels, so that no directory grows with the whole cache."""
    return blobs / digest[:2] / digest[2:]


def is_partial_name(name: str) -> bool:
    return _NAME.match(name) is not None


def is_written(path: Path) -> bool:
    """Whether a live process writes the partial at ``path``."""
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    except FileNotFoundError:
        return False
    try:
        return not _lock(descriptor)
    finally:
        os.close(descriptor)


def sweep_partials(directory: Path, disk: Disk, keep: Collection[str] = ()) -> int:
    """Removes every partial that no live process holds locked, but for those named in ``keep``; the number removed."""
    with disk_errors("sweeping partial files"):
        try:
            paths = list(directory.iterdir())
        except FileNotFoundError:
            return 0
        return sum(_remove_if_dead(path, disk) for path in paths if path.name not in keep)


def _create_locked(directory: Path, disk: Disk) -> tuple[Path, int]:
    while True:
        path = directory / secrets.token_hex(16)
        descriptor = disk.create(path)
        # Between creation and lock a sweep may have taken it for dead: then begin again.
        if _lock(descriptor) and os.fstat(descriptor).st_nlink:
            return path, descriptor
        os.close(descriptor)


def _remove_if_dead(path: Path, disk: Disk) -> bool:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
        try:
            if not _lock(descriptor):
                return False
            disk.unlink(path)
            return True
        finally:
            os.close(descriptor)
    except FileNotFoundError:
        return False  # published or discarded meanwhile


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
