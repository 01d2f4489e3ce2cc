"""Writes a part of a bundle: blobs go from file to file within the kernel, and are hashed beside that.

Hashing is what takes the time where a processor has no instructions for it, and it is not what makes a bundle safe: an
import believes no byte that it has not hashed. It is there so that what has rotted on this disk is told on this side of
the gap, and not on the other, after the journey. ``proven=False`` does without, where a scrubber has just passed, say.

What is written is at ``FILE.partial`` until it is whole and durable. Since a bundle has one spelling, what an
interrupted export left there is the beginning of what has to be there: it is compared and hashed, then continued.
"""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections import deque
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, Self

from zooproxy.cache.blobs import HeldBlob
from zooproxy.cache.disk import Disk
from zooproxy.cache.shelf import Shelf
from zooproxy.digest import Hasher, Sha256
from zooproxy.errors import BadRequest, BlobCorrupt, CacheError, OutOfSpace
from zooproxy.provide.bundles import layout
from zooproxy.provide.bundles.checking import WORKERS
from zooproxy.provide.bundles.files import file_errors
from zooproxy.provide.bundles.manifest import BundledIndex, Manifest, Member

_BLOCK: Final = 1 << 20
_SENT: Final = 64 << 20  # bytes in one call of the kernel
_HASHED_BEHIND: Final = 64  # blobs that may be copied and not yet hashed
_PORTION: Final = 64  # members whose documents are in memory at once
_PARTIAL: Final = ".partial"


@dataclass(frozen=True, slots=True)
class Sealed:
    """A manifest as it goes into the file, and the signature of it, if any."""

    manifest: Manifest
    signature: bytes | None = None

    @property
    def head(self) -> bytes:
        """All that comes before the first member."""
        files = {layout.MANIFEST: self.manifest.to_bytes(), layout.SIGNATURE: self.signature}
        return b"".join(_filed(name, data) for name, data in files.items() if data is not None)

    @property
    def members(self) -> tuple[Member, ...]:
        return self.manifest.contents.members

    @property
    def size(self) -> int:
        """Of the whole file, in bytes."""
        return len(self.head) + sum(layout.footprint(member.size) for member in self.members) + len(layout.END)


@dataclass(frozen=True, slots=True)
class Written:
    """A part that is whole at ``path``: ``size`` bytes of which ``kept`` were there already."""

    path: Path
    size: int
    kept: int


class Exporter:
    """``layers``: the documents that the index does not have, by their digest. ``proven``: blobs are hashed again."""

    def __init__(self, shelf: Shelf, layers: Mapping[Sha256, bytes], *, proven: bool = True) -> None:
        self._store = shelf.store
        self._index = shelf.index
        self._layers = layers
        self._proven = proven

    async def write(self, sealed: Sealed, path: Path) -> Written:
        """Writes the part to ``path``, or goes on where an earlier export of the same contents stopped.

        Raises:
            BadRequest: something else is at ``path``, or another process writes there.
            OutOfSpace: there is no room for it, with the figures.
            BlobAbsent, BlobCorrupt: a blob is not there any more, or has rotted on disk.
            CacheError: the file cannot be written.
        """
        there = await asyncio.to_thread(_found, sealed, path)
        if there is not None:
            return there
        partial = path.with_name(path.name + _PARTIAL)
        with file_errors(path), _opened(partial) as file:
            kept, whole = await asyncio.to_thread(_kept, file, sealed)
            _check_room(file, sealed.size, kept, path)
            os.ftruncate(file.fileno(), kept)
            await self._append(file, sealed, whole)
            await asyncio.to_thread(_finish, file, partial, path)
        return Written(path, sealed.size, kept)

    async def _append(self, file: BinaryIO, sealed: Sealed, whole: int) -> None:
        """All that comes after the first ``whole`` members."""
        contents = sealed.manifest.contents
        indexes = {index.document: index for index in contents.indexes}
        with _Copy(file, proven=self._proven) as copy:
            if not file.tell():
                await asyncio.to_thread(_write, file, sealed.head)
            for start in range(whole, len(sealed.members), _PORTION):
                members = sealed.members[start : start + _PORTION]
                documents = await self._documents(members, indexes)
                blobs = await self._blobs(member for member in members if member.sha256 not in contents.documents)
                await asyncio.to_thread(copy.append, members, documents, blobs)
            await asyncio.to_thread(copy.end)

    async def _documents(
        self, members: Iterable[Member], indexes: Mapping[Sha256, BundledIndex]
    ) -> Mapping[Sha256, bytes]:
        """Those of the documents among ``members`` that are still what they were when the manifest was made."""
        documents = {member.sha256: self._layers[member.sha256] for member in members if member.sha256 in self._layers}
        wanted = [indexes[member.sha256] for member in members if member.sha256 in indexes]
        for version in {index.reader_version for index in wanted}:
            blobs = [index.blob for index in wanted if index.reader_version == version]
            async for _, document in self._index.tensor_indexes(blobs, version):
                documents[Sha256.of(document)] = document
        if any(index.document not in documents for index in wanted):
            raise CacheError("the cache changed during the export; run the same command again")
        return documents

    async def _blobs(self, members: Iterable[Member]) -> Mapping[Sha256, HeldBlob]:
        blobs = await asyncio.gather(*(self._store.open(member.sha256) for member in members))
        return {blob.digest: blob for blob in blobs}


class _Copy:
    """Members copied into ``file``; ``proven`` blobs are hashed a few behind: their pages are still in memory."""

    def __init__(self, file: BinaryIO, *, proven: bool) -> None:
        self._file = file
        self._proven = proven
        self._threads = ThreadPoolExecutor(WORKERS, "export-proof")
        self._hashing: deque[tuple[Sha256, Future[Sha256]]] = deque()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._threads.shutdown(cancel_futures=True)

    def append(
        self, members: Iterable[Member], documents: Mapping[Sha256, bytes], blobs: Mapping[Sha256, HeldBlob]
    ) -> None:
        for member in members:
            if member.sha256 in documents:
                _write(self._file, _filed(layout.blob_name(member.sha256), documents[member.sha256]))
                continue
            blob = blobs[member.sha256]
            _send(self._file, blob, member)
            if self._proven:
                self._hashing.append((blob.digest, self._threads.submit(_hash_blob, blob)))
                self._settle_all_but(_HASHED_BEHIND)

    def end(self) -> None:
        self._settle_all_but(0)
        _write(self._file, layout.END)

    def _settle_all_but(self, count: int) -> None:
        while len(self._hashing) > count:
            digest, hashing = self._hashing.popleft()
            if hashing.result() != digest:
                raise BlobCorrupt(f"the blob {digest} has rotted on disk; it has to be fetched again before an export")


def _filed(name: str, data: bytes) -> bytes:
    return b"".join((layout.header(name, len(data)), data, bytes(layout.padding(len(data)))))


def _opened(partial: Path) -> BinaryIO:
    # A descriptor that follows no link, and a lock: two exports to one place would write into each other.
    descriptor = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
    file = os.fdopen(descriptor, "r+b", buffering=0)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        file.close()
        raise BadRequest(f"another export is writing {partial}") from error
    return file


def _found(sealed: Sealed, path: Path) -> Written | None:
    """What is at ``path`` already; None if nothing is."""
    if not path.exists():
        return None
    with file_errors(path), path.open("rb") as file:
        _, whole = _kept(file, sealed)
        if whole == len(sealed.members) and file.read() == layout.END:
            return Written(path, sealed.size, sealed.size)
    raise BadRequest(f"{path} is there already and is not this bundle; name another file, or remove it")


def _finish(file: BinaryIO, partial: Path, path: Path) -> None:
    os.fsync(file.fileno())
    partial.replace(path)
    Disk().fsync_directory(path.absolute().parent)


def _kept(file: BinaryIO, sealed: Sealed) -> tuple[int, int]:
    """How many bytes of the file are right as they are, and how many members are whole in them; it is left there."""
    kept, whole = 0, 0
    if _read(file, len(sealed.head)) == sealed.head:
        kept = len(sealed.head)
        for member in sealed.members:
            if not _is_whole(file, member):
                break
            kept += layout.footprint(member.size)
            whole += 1
    file.seek(kept)
    return kept, whole


def _is_whole(file: BinaryIO, member: Member) -> bool:
    if _read(file, layout.BLOCK) != layout.header(layout.blob_name(member.sha256), member.size):
        return False
    hasher = _hashed(file, member.size)
    fill = bytes(layout.padding(member.size))
    return hasher.size == member.size and hasher.digest() == member.sha256 and _read(file, len(fill)) == fill


def _hash_blob(blob: HeldBlob) -> Sha256:
    with blob.file() as file:
        return _hashed(file, blob.size).digest()


def _hashed(file: BinaryIO, size: int) -> Hasher:
    hasher = Hasher()
    while hasher.size < size and (block := file.read(min(_BLOCK, size - hasher.size))):
        hasher.update(block)
    return hasher


def _read(file: BinaryIO, size: int) -> bytes:
    """``size`` bytes, fewer at the end of the file; what is read without a buffer may come in pieces."""
    pieces: list[bytes] = []
    while size and (piece := file.read(size)):
        pieces.append(piece)
        size -= len(piece)
    return b"".join(pieces)


def _write(file: BinaryIO, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[file.write(view) :]


def _send(file: BinaryIO, blob: HeldBlob, member: Member) -> None:
    _write(file, layout.header(layout.blob_name(member.sha256), member.size))
    if blob.size != member.size:
        raise BlobCorrupt(
            f"the blob {member.sha256} has {blob.size} bytes, not {member.size}; it has to be fetched again"
        )
    with blob.file() as source:
        left = member.size
        while left:
            sent = os.sendfile(file.fileno(), source.fileno(), None, min(left, _SENT))
            if not sent:
                raise BlobCorrupt(f"the blob {member.sha256} ends {left} bytes early; it has to be fetched again")
            left -= sent
    _write(file, bytes(layout.padding(member.size)))


def _check_room(file: BinaryIO, size: int, kept: int, path: Path) -> None:
    status = os.fstatvfs(file.fileno())
    given_back = os.fstat(file.fileno()).st_size - kept
    free = status.f_bavail * status.f_frsize + given_back
    if size - kept > free:
        raise OutOfSpace(
            f"the bundle needs {size - kept} more bytes and {free} are free where {path} lies; use --split, or another"
            " disk",
            needed=size - kept,
            free=free,
        )
