"""The few system calls that make bytes durable, as one value: the place where tests let a disk fail.

The order that survives a power cut (measured on ext4): write, fsync the file, rename, fsync its directory. Without the
first fsync the blob comes back with length zero; without the second its name is lost.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from zooproxy.errors import CacheError, OutOfSpace

_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class Disk:
    """The operating system's own calls; all raise ``OSError``. A test subclasses it to fail one of them."""

    def create(self, path: Path) -> int:
        """A descriptor of a new file, exclusively created and open for writing.

        The mode is read-only for everyone from the start: a published blob is never written again, and the mode of a
        file does not bind the descriptor that created it.
        """
        return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o444)

    def reopen(self, path: Path) -> int:
        """A descriptor, open for reading and writing, of a file that ``create`` made and its owner now continues."""
        path.chmod(0o644)
        try:
            return os.open(path, os.O_RDWR | os.O_NOFOLLOW)
        finally:
            path.chmod(0o444)

    def write(self, descriptor: int, data: memoryview, at: int) -> int:
        return os.pwrite(descriptor, data, at)

    def fsync(self, descriptor: int) -> None:
        os.fsync(descriptor)

    def rename(self, source: Path, target: Path) -> None:
        source.replace(target)

    def unlink(self, path: Path) -> None:
        path.unlink()

    def fsync_directory(self, path: Path) -> None:
        descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)

    def write_file(self, path: Path, data: bytes) -> None:
        """``data`` at ``path``, durable, in place of what is there; whoever reads meanwhile reads one or the other."""
        self.make_directory(path.parent)
        temporary = path.with_suffix(f".{os.getpid()}.part")
        with temporary.open("wb") as file:
            file.write(data)
            file.flush()
            self.fsync(file.fileno())
        self.rename(temporary, path)
        self.fsync_directory(path.parent)

    def make_directory(self, path: Path) -> None:
        """Makes ``path`` and what is missing above it; on return all of it is durable, whoever made it."""
        self.make_directories([path])

    def make_directories(self, paths: Iterable[Path]) -> None:
        """As ``make_directory`` for each; what they share is flushed once."""
        changed: dict[Path, None] = {}
        for path in paths:
            missing = [path, *path.parents]
            missing = missing[: next(depth for depth, level in enumerate(missing) if level.is_dir())]
            path.mkdir(parents=True, exist_ok=True)
            # The immediate parent is always flushed: another process may have made `path` and not have got so far.
            changed |= dict.fromkeys(level.parent for level in missing or [path])
        for parent in changed:
            self.fsync_directory(parent)


@contextmanager
def disk_errors(doing: str) -> Iterator[None]:
    """Translates ``OSError``: no room to ``OutOfSpace``, all else to ``CacheError``.

    Paths stay out of the message, since clients read it; they are in the cause.
    """
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else "unknown error"
        if error.errno in _NO_ROOM:
            raise OutOfSpace(f"no room left while {doing} ({reason}); free space in the data directory") from error
        raise CacheError(f"the cache's disk failed while {doing} ({reason}); see the data directory") from error
