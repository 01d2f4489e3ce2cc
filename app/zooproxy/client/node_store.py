"""The node's store: received checkpoints as files that every process of the node maps.

A file is named by the digest of what it holds (blob and layout) and never changes. It is received under a name of its
own, proven, and renamed: whoever opens it by its name has all of it. A lock lets one process download while the others
wait; nothing depends on it. Where locks do nothing (NFS, Lustre), two may download, and the later rename wins.

After the bytes comes the mark, one block of JSON: whether they were proven, and the boot of the kernel that wrote them.
Files are not synced, for speed; after a power cut a file may hold zeros, so one of another boot is proven again once.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Callable, Final

from zooproxy.client.allocation import allocate
from zooproxy.client.storages import Buffer
from zooproxy.digest import Sha256
from zooproxy.errors import TransferCorrupt

try:
    import fcntl
except ImportError:  # not a POSIX system: two processes may download at once
    fcntl = None  # type: ignore[assignment]

_MARK: Final = 512
_SUFFIX: Final = ".tensors"
_PARTIAL: Final = ".partial"
_LOCK: Final = ".lock"

#: Seconds; longer than the longest silence that a transfer survives.
_ABANDONED: Final = 3600.0


@dataclass(frozen=True)
class Wanted:
    """A file of the store: ``key`` names it; ``prove`` raises TransferCorrupt where a memory is not what it should be.

    ``fill`` receives ``size`` bytes into an open file, and proves them if ``verify``.
    """

    key: Sha256
    size: int
    verify: bool
    fill: Callable[[int], None]
    prove: Callable[[memoryview], None]


@dataclass(frozen=True)
class Stored:
    """One file: ``used`` is when it was last mapped, in seconds since the epoch."""

    path: Path
    size: int
    used: float


class NodeStore:
    """The files under ``folder``, together at most ``capacity`` bytes (0 for any)."""

    def __init__(self, folder: Path, capacity: int) -> None:
        """
        Raises:
            OSError: the folder cannot be made or written.
        """
        self._folder = folder
        self._capacity = capacity
        folder.mkdir(parents=True, exist_ok=True)
        if not os.access(folder, os.W_OK | os.X_OK):
            raise PermissionError(f"{folder} cannot be written")

    def obtain(self, wanted: Wanted) -> Buffer:
        """The bytes, mapped: from the store, or received now.

        Raises:
            OSError: the store cannot be written.
            TransferCorrupt, …: what ``fill`` raises.
        """
        path = self.path_of(wanted.key)
        held = self._held(path, wanted)
        if held is None:
            with held_alone(path):
                held = self._held(path, wanted) or self._received(path, wanted)
        return held

    def _held(self, path: Path, wanted: Wanted) -> Buffer | None:
        try:
            with path.open("r+b") as file:
                if os.fstat(file.fileno()).st_size != wanted.size + _MARK:
                    return None
                buffer = _mapped(file, wanted.size)
                if not _is_good(_mark_of(file, wanted.size), wanted.verify):
                    wanted.prove(buffer.view)
                    os.fsync(file.fileno())
                    _write_mark(file, wanted.size, proven=True, boot="")
                with contextlib.suppress(OSError):
                    os.utime(file.fileno())
                return buffer
        except FileNotFoundError:
            return None
        except TransferCorrupt:
            path.unlink(missing_ok=True)
            return None

    def _received(self, path: Path, wanted: Wanted) -> Buffer:
        self._make_room(wanted.size)
        with partial_file(path) as file:
            allocate(file.fileno(), wanted.size + _MARK)
            wanted.fill(file.fileno())
            buffer = _mapped(file, wanted.size)
            _write_mark(file, wanted.size, proven=wanted.verify, boot=_boot())
            Path(file.name).replace(path)
        return buffer

    def adopt(self, file: IO[bytes], key: Sha256, size: int) -> None:
        """Takes in a ``partial_file`` of this store: ``size`` bytes, proven to be those that ``key`` names.

        Raises:
            OSError: the store cannot be written.
        """
        self._make_room(size)
        file.flush()
        _write_mark(file, size, proven=True, boot=_boot())
        Path(file.name).replace(self.path_of(key))

    def holds(self, key: Sha256, size: int) -> bool:
        """Whether there is a file of ``key``, as it seems; ``obtain`` looks closer."""
        try:
            return self.path_of(key).stat().st_size == size + _MARK
        except OSError:
            return False

    def path_of(self, key: Sha256) -> Path:
        return self._folder / f"{key}{_SUFFIX}"

    def _make_room(self, size: int) -> None:
        self._sweep()
        if self._capacity:
            self.prune(max(1, self._capacity - size))

    def files(self) -> list[Stored]:
        """What the store holds, the least recently used first."""
        found = []
        for path in self._folder.glob(f"*{_SUFFIX}"):
            with contextlib.suppress(FileNotFoundError):
                status = path.stat()
                found.append(Stored(path, status.st_size, status.st_mtime))
        return sorted(found, key=lambda stored: stored.used)

    def prune(self, capacity: int) -> int:
        """Removes the least recently used files until the rest take at most ``capacity`` bytes; 0 for any.

        A process that has mapped a removed file keeps it. Answers how many bytes were removed.
        """
        files = self.files()
        excess = sum(stored.size for stored in files) - capacity if capacity else 0
        removed = 0
        for stored in files:
            if removed >= excess:
                break
            self._remove(stored)
            removed += stored.size
        return removed

    def _sweep(self) -> None:
        """Removes what killed processes left, and locks of what is not there.

        A process that lives writes on, so its file's time is never long past. Should a lock still be waited for, two
        may download, as where there are no locks.
        """
        unused = (path for path in self._folder.glob(f"*{_LOCK}") if not path.with_suffix(_SUFFIX).exists())
        for path in (*self._folder.glob(f"*{_PARTIAL}"), *unused):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime > _ABANDONED:
                    path.unlink()

    def clear(self) -> int:
        """Removes every file; answers how many bytes."""
        files = self.files()
        for stored in files:
            self._remove(stored)
        return sum(stored.size for stored in files)

    def _remove(self, stored: Stored) -> None:
        for path in (stored.path, stored.path.with_suffix(_LOCK)):
            path.unlink(missing_ok=True)


@contextlib.contextmanager
def held_alone(path: Path) -> Iterator[None]:
    """Held by one process of the node at a time; the kernel lets go when its holder dies."""
    with path.with_suffix(_LOCK).open("wb") as file:
        if fcntl is not None:
            with contextlib.suppress(OSError):  # no locks on this file system
                fcntl.flock(file, fcntl.LOCK_EX)
        yield


@contextlib.contextmanager
def partial_file(path: Path) -> Iterator[IO[bytes]]:
    """A file beside ``path`` under a name of its own; gone afterwards, unless it was renamed."""
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=path.stem, suffix=_PARTIAL, delete=False) as file:
        try:
            yield file
        finally:
            Path(file.name).unlink(missing_ok=True)


def _mapped(file: IO[bytes], size: int) -> Buffer:
    """Mapped privately: a tensor may be written to, and the file stays as it is."""
    if not size:
        return Buffer(0)
    return Buffer(size, mmap.mmap(file.fileno(), size, access=mmap.ACCESS_COPY))


def _is_good(mark: dict[str, object], verify: bool) -> bool:
    here = mark.get("boot") in ("", _boot())
    return here and (mark.get("proven") is True or not verify)


def _mark_of(file: IO[bytes], size: int) -> dict[str, object]:
    try:
        mark = json.loads(os.pread(file.fileno(), _MARK, size))
    except ValueError:
        return {}
    return mark if isinstance(mark, dict) else {}


def _write_mark(file: IO[bytes], size: int, *, proven: bool, boot: str) -> None:
    """``boot`` is empty where the bytes are on the disk for certain."""
    os.pwrite(file.fileno(), json.dumps({"proven": proven, "boot": boot}).encode().ljust(_MARK), size)


def _boot() -> str:
    """Which start of this kernel this is; where it cannot be told, no two calls agree."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return os.urandom(8).hex()
