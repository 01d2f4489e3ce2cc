"""Blobs on a local disk.

::

    blobs/ab/cdef…          what is published
    blobs/ab/cdef….json     its sidecar
    locks/ab                who publishes or removes there (``cache.claims``)
    partial/                what is on its way in
    quarantine/abcdef…      what was taken out, each with a note: abcdef….json
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Collection, Coroutine, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, BinaryIO, TypeVar, TypeVarTuple

from zooproxy.cache.blobs import Batch, BlobStore, Change, Claim, HeldBlob, StagedBlob, Stored
from zooproxy.cache.claims import Lock, Locks
from zooproxy.cache.disk import Disk, disk_errors
from zooproxy.cache.local_batch import LocalBatch
from zooproxy.cache.local_blob import LocalBlob, opened
from zooproxy.cache.local_listing import fan_out, listed, looked_at
from zooproxy.cache.local_sidecars import SidecarFiles, sidecar_path
from zooproxy.cache.partial import Partial, blob_path, is_partial_name, is_written, sweep_partials
from zooproxy.digest import Sha256
from zooproxy.errors import BlobAbsent, CacheError

_T = TypeVar("_T")
_Arguments = TypeVarTuple("_Arguments")


class LocalBlobStore(BlobStore):
    """A store below ``root``, made when first needed. Paths come from a checked ``Sha256`` and nothing else."""

    def __init__(self, root: Path, disk: Disk | None = None) -> None:
        self._blobs = root / "blobs"
        self._partials = root / "partial"
        self._disk = disk or Disk()
        self._locks = Locks(root / "locks", self._blobs)
        self._sidecars = SidecarFiles(self._blobs, self._partials, root / "quarantine", self._disk)

    async def stage(self) -> StagedBlob:
        return await self._staged(partial(Partial.create, self._partials, self._disk))

    def batch(self) -> Batch:
        return LocalBatch(self._blobs, self._partials, self._locks, self._disk)

    async def resume(self, name: str, trusted: int, length: int) -> StagedBlob:
        return await self._staged(partial(Partial.resume, self._kept(name), trusted, length, self._disk))

    async def peek(self, name: str) -> BinaryIO:
        with disk_errors("reading a partial file"):
            try:
                return self._kept(name).open("rb")
            except FileNotFoundError as error:
                raise BlobAbsent("that partial file is gone") from error

    async def is_written(self, name: str) -> bool:
        with disk_errors("looking at a partial file"):
            return await asyncio.to_thread(is_written, self._kept(name))

    async def open(self, digest: Sha256) -> HeldBlob:
        return await asyncio.to_thread(opened, digest, blob_path(self._blobs, digest))

    async def remove(self, digest: Sha256) -> bool:
        return await asyncio.to_thread(_remove, blob_path(self._blobs, digest), self._disk)

    @asynccontextmanager
    async def claim(self, digests: Collection[Sha256], *, read_too: bool = False) -> AsyncIterator[Claim]:
        claiming = asyncio.to_thread(self._locks.claim, digests, read_too=read_too)
        claim, lock = await _certain(claiming, lambda claimed: claimed[1].release())
        try:
            yield claim
        finally:
            lock.release()

    @asynccontextmanager
    async def publishing(self, digests: Collection[Sha256]) -> AsyncIterator[None]:
        lock = await _certain(asyncio.to_thread(self._locks.publishing, digests), Lock.release)
        try:
            yield
        finally:
            lock.release()

    @asynccontextmanager
    async def alone(self, name: str, patience: float) -> AsyncIterator[None]:
        lock = await _certain(asyncio.to_thread(self._locks.alone, name, patience), Lock.release)
        try:
            yield
        finally:
            lock.release()

    async def sidecar(self, digest: Sha256) -> bytes | None:
        return await asyncio.to_thread(self._sidecars.read, digest)

    async def annotate(self, digest: Sha256, change: Change) -> None:
        # Shielded: what has begun is carried out even if its caller is cancelled.
        await asyncio.shield(asyncio.to_thread(self._sidecars.change, digest, change))

    async def annotate_all(self, changes: Mapping[Sha256, Change]) -> None:
        await asyncio.shield(asyncio.to_thread(self._sidecars.change_all, changes))

    async def look(self, digest: Sha256) -> Stored | None:
        return await asyncio.to_thread(looked_at, self._blobs, digest)

    async def listing(self) -> AsyncGenerator[Sequence[Stored]]:
        for directory in await asyncio.to_thread(fan_out, self._blobs):
            yield await asyncio.to_thread(listed, directory)

    async def quarantine(self, digest: Sha256, note: bytes) -> bool:
        return await asyncio.shield(asyncio.to_thread(self._sidecars.quarantine, digest, note))

    async def sweep(self, keep: Collection[str] = ()) -> int:
        return await asyncio.to_thread(sweep_partials, self._partials, self._disk, keep)

    def free_bytes(self) -> int:
        with disk_errors("asking for free space"):
            self._disk.make_directory(self._partials)
            status = os.statvfs(self._partials)
        return status.f_bavail * status.f_frsize

    async def _staged(self, start: Callable[[], Partial]) -> StagedBlob:
        return await LocalStagedBlob.create(self._blobs, self._locks, start)

    def _kept(self, name: str) -> Path:
        if not is_partial_name(name):
            raise BlobAbsent("that is no name of a partial file")
        return self._partials / name


class LocalStagedBlob(StagedBlob):
    """A partial file and the one thread that touches it, so that calls keep their order even when cancelled."""

    def __init__(self, staged: Partial, thread: ThreadPoolExecutor, blobs: Path, locks: Locks) -> None:
        self._partial = staged
        self._thread = thread
        self._blobs = blobs
        self._locks = locks
        self._ended = False
        self._published: Future[tuple[Sha256, Path, Lock]] | None = None

    @classmethod
    async def create(cls, blobs: Path, locks: Locks, start: Callable[[], Partial]) -> LocalStagedBlob:
        """``start`` is called in the thread that does all the rest."""
        thread = ThreadPoolExecutor(1, "staged-blob")
        opening = thread.submit(start)
        try:
            staged = await asyncio.shield(asyncio.wrap_future(opening))
        except BaseException:
            thread.submit(lambda: opening.result().discard())
            thread.shutdown(wait=False)
            raise
        return cls(staged, thread, blobs, locks)

    @property
    def name(self) -> str:
        return self._partial.name

    @property
    def size(self) -> int:
        return self._partial.size

    async def write(self, data: bytes | memoryview, at: int | None = None) -> None:
        await self._queue(self._partial.write, data, at)

    async def scatter(self, length: int) -> None:
        await self._queue(self._partial.scatter, length)

    async def trim(self) -> None:
        await self._queue(self._partial.trim)

    async def digest(self) -> Sha256:
        return await self._queue(self._partial.digest)

    def file(self) -> BinaryIO:
        return self._partial.file()

    async def commit(self, expected: Sha256 | None = None) -> HeldBlob:
        self._refuse_if_ended()
        self._published = self._thread.submit(self._publish, expected)
        self._end()
        digest, path, _ = await asyncio.shield(asyncio.wrap_future(self._published))
        return LocalBlob(digest, self._partial.size, path)

    def _publish(self, expected: Sha256 | None) -> tuple[Sha256, Path, Lock]:
        try:
            lock = self._locks.publishing([self._partial.digest()])
        except CacheError:
            self._partial.discard()
            raise
        try:
            return *self._partial.publish(self._blobs, expected), lock
        except BaseException:
            lock.release()
            raise

    async def keep(self) -> None:
        await self._queue(self._partial.keep, last=True)

    async def discard(self) -> None:
        if self._published is not None:
            # At once, or when the thread has published: its caller may have been cancelled meanwhile.
            self._published.add_done_callback(_let_go)
        elif not self._ended:
            await self._queue(self._partial.discard, last=True)

    async def _queue(self, call: Callable[[*_Arguments], _T], *arguments: *_Arguments, last: bool = False) -> _T:
        self._refuse_if_ended()
        queued = asyncio.wrap_future(self._thread.submit(call, *arguments))
        if last:
            self._end()
        # Shielded: what was queued is carried out even if its caller is cancelled, so order and outcome are certain.
        return await asyncio.shield(queued)

    def _refuse_if_ended(self) -> None:
        if self._ended:
            raise CacheError("the staged blob was committed or discarded already; stage it again")

    def _end(self) -> None:
        self._ended = True
        self._thread.shutdown(wait=False)


def _let_go(published: Future[tuple[Sha256, Path, Lock]]) -> None:
    if published.exception() is None:
        published.result()[2].release()


async def _certain(working: Coroutine[Any, Any, _T], undo: Callable[[_T], None]) -> _T:
    """The result; where the caller is cancelled before it is there, it is undone when it is."""
    task = asyncio.ensure_future(working)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        task.add_done_callback(lambda done: None if done.cancelled() or done.exception() else undo(done.result()))
        raise


def _remove(path: Path, disk: Disk) -> bool:
    """The blob before its sidecar: what a crash leaves in between is small."""
    with disk_errors("removing a blob"):
        removed = [_unlink(one, disk) for one in (path, sidecar_path(path))]
        if any(removed):
            disk.fsync_directory(path.parent)
    return removed[0]


def _unlink(path: Path, disk: Disk) -> bool:
    try:
        disk.unlink(path)
    except FileNotFoundError:
        return False
    return True
