"""A blob store in memory, for tests of what lies above it. It passes the contract suite."""

from __future__ import annotations

import asyncio
import secrets
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Collection, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from io import BufferedReader, BytesIO
from typing import BinaryIO

from zooproxy.cache.blobs import Batch, BlobStore, Change, Claim, HeldBlob, Proof, StagedBlob, Stored
from zooproxy.digest import Sha256
from zooproxy.errors import AlreadyAtWork, BlobAbsent, CacheError, DigestMismatch


class MemoryBlobStore(BlobStore):
    """Blobs in ``held``; a test may change them there to play bit rot."""

    def __init__(self) -> None:
        self.held: dict[Sha256, bytes] = {}
        self.committed: dict[Sha256, int] = {}
        self.sidecars: dict[Sha256, bytes] = {}
        self.quarantined: dict[Sha256, tuple[bytes, bytes]] = {}
        self.kept: dict[str, bytes] = {}
        self.live: dict[str, bytearray] = {}
        self.read: Counter[Sha256] = Counter()
        self.publishing_now: Counter[Sha256] = Counter()
        self.claimed: set[Sha256] = set()
        self.changed = asyncio.Condition()
        self.alones: dict[str, asyncio.Lock] = {}

    async def stage(self) -> StagedBlob:
        return MemoryStagedBlob(self)

    def batch(self) -> Batch:
        return MemoryBatch(self)

    async def open(self, digest: Sha256) -> HeldBlob:
        return self.blob(digest)

    def blob(self, digest: Sha256) -> MemoryBlob:
        return MemoryBlob(digest, len(self.content(digest)), None, self)

    async def remove(self, digest: Sha256) -> bool:
        self.sidecars.pop(digest, None)
        return self.held.pop(digest, None) is not None

    @asynccontextmanager
    async def claim(self, digests: Collection[Sha256], *, read_too: bool = False) -> AsyncIterator[Claim]:
        wanted = frozenset(digests)
        busy = {
            one
            for one in wanted
            if one in self.claimed or self.publishing_now[one] or (self.read[one] and not read_too)
        }
        mine = wanted - busy
        self.claimed |= mine
        try:
            yield Claim({digest: len(self.held.get(digest, b"")) for digest in mine}, frozenset(busy))
        finally:
            self.claimed -= mine
            async with self.changed:
                self.changed.notify_all()

    @asynccontextmanager
    async def publishing(self, digests: Collection[Sha256]) -> AsyncIterator[None]:
        wanted = frozenset(digests)
        async with self.changed:
            await self.changed.wait_for(lambda: self.claimed.isdisjoint(wanted))
        self.publishing_now.update(wanted)
        try:
            yield
        finally:
            self.publishing_now.subtract(wanted)

    @asynccontextmanager
    async def alone(self, name: str, patience: float) -> AsyncIterator[None]:
        lock = self.alones.setdefault(name, asyncio.Lock())
        try:
            async with asyncio.timeout(patience):
                await lock.acquire()
        except TimeoutError as error:
            raise AlreadyAtWork("somebody else is busy with the same") from error
        try:
            yield
        finally:
            lock.release()

    async def sidecar(self, digest: Sha256) -> bytes | None:
        return self.sidecars.get(digest)

    async def annotate(self, digest: Sha256, change: Change) -> None:
        self.content(digest)
        after = change(self.sidecars.get(digest))
        if after is not None:
            self.sidecars[digest] = after

    async def annotate_all(self, changes: Mapping[Sha256, Change]) -> None:
        for digest, change in changes.items():
            await self.annotate(digest, change)

    async def look(self, digest: Sha256) -> Stored | None:
        size = len(self.held[digest]) if digest in self.held else None
        if size is None and digest not in self.sidecars:
            return None
        return Stored(digest, digest, size, self.committed.get(digest, 0), digest in self.sidecars)

    async def listing(self) -> AsyncGenerator[Sequence[Stored]]:
        there = [await self.look(digest) for digest in sorted({*self.held, *self.sidecars})]
        yield [one for one in there if one is not None]

    async def quarantine(self, digest: Sha256, note: bytes) -> bool:
        if digest not in self.held:
            return False
        self.quarantined[digest] = (self.held[digest], note)
        return await self.remove(digest)

    async def resume(self, name: str, trusted: int, length: int) -> StagedBlob:
        if name not in self.kept:
            raise BlobAbsent("nothing is kept under that name")
        return MemoryStagedBlob(self, name, self.kept.pop(name)[:trusted])

    async def peek(self, name: str) -> BinaryIO:
        if name not in self.live and name not in self.kept:
            raise BlobAbsent("nothing is staged under that name")
        return _read_only(bytes(self.live[name]) if name in self.live else self.kept[name])

    async def is_written(self, name: str) -> bool:
        return name in self.live

    async def sweep(self, keep: Collection[str] = ()) -> int:
        dead = [name for name in self.kept if name not in keep]
        for name in dead:
            del self.kept[name]
        return len(dead)

    def free_bytes(self) -> int:
        return 1 << 40

    def content(self, digest: Sha256) -> bytes:
        if digest not in self.held:
            raise BlobAbsent(f"the blob {digest} is not held")
        return self.held[digest]


@dataclass(frozen=True, slots=True)
class MemoryBlob(HeldBlob):
    store: MemoryBlobStore

    def file(self) -> BinaryIO:
        content = self.store.content(self.digest)
        return _MarkedReader(_ReadOnlyBytes(content), self.store.read, self.digest)


class MemoryBatch(Batch):
    def __init__(self, store: MemoryBlobStore) -> None:
        self._store = store
        self._taken: dict[Sha256, bytes] = {}
        self._ended = False

    def take(self, blocks: Iterable[bytes], proof: Proof) -> None:
        if self._ended:
            raise CacheError("the batch was committed or discarded already")
        content = b"".join(blocks)
        digest = Sha256.of(content)
        proof(digest, _read_only(content), len(content))
        self._taken[digest] = content

    def commit(self) -> Mapping[Sha256, HeldBlob]:
        self._store.held |= self._taken
        self._store.committed |= {digest: self._store.committed.get(digest, 0) + 1 for digest in self._taken}
        taken = list(self._taken)
        self.discard()
        return {digest: self._store.blob(digest) for digest in taken}

    def discard(self) -> None:
        self._ended = True
        self._taken.clear()


class MemoryStagedBlob(StagedBlob):
    def __init__(self, store: MemoryBlobStore, name: str | None = None, content: bytes = b"") -> None:
        self._store = store
        self._name = name or secrets.token_hex(16)
        self._content = bytearray(content)
        self._ended = False
        self._beyond: dict[int, bytes] = {}
        self._length: int | None = None
        self._published: Sha256 | None = None
        store.live[self._name] = self._content

    @property
    def name(self) -> str:
        return self._name

    @property
    def size(self) -> int:
        return len(self._content)

    async def write(self, data: bytes | memoryview, at: int | None = None) -> None:
        self._refuse_if_ended()
        at = self.size if at is None else at
        if at != self.size and (self._length is None or not self.size < at <= self._length - len(data)):
            self._end()
            raise CacheError("bytes came where none were awaited")
        self._beyond[at] = bytes(data)
        while self.size in self._beyond:
            self._content += self._beyond.pop(self.size)

    async def scatter(self, length: int) -> None:
        self._refuse_if_ended()
        self._length = length

    async def trim(self) -> None:
        self._refuse_if_ended()
        self._length = None
        self._beyond.clear()

    async def digest(self) -> Sha256:
        return Sha256.of(self._content)

    def file(self) -> BinaryIO:
        self._refuse_if_ended()
        return _read_only(bytes(self._content))

    async def commit(self, expected: Sha256 | None = None) -> HeldBlob:
        self._refuse_if_ended()
        self._end()
        digest = await self.digest()
        if expected is not None and digest != expected:
            raise DigestMismatch("not the bytes that were expected", expected=expected, actual=digest)
        async with self._store.changed:
            await self._store.changed.wait_for(lambda: digest not in self._store.claimed)
        self._published = digest
        self._store.publishing_now[digest] += 1
        self._store.held[digest] = bytes(self._content)
        self._store.committed[digest] = self._store.committed.get(digest, 0) + 1
        return await self._store.open(digest)

    async def keep(self) -> None:
        self._refuse_if_ended()
        self._end()
        self._store.kept[self._name] = bytes(self._content)

    async def discard(self) -> None:
        self._end()
        if self._published is not None:
            self._store.publishing_now[self._published] -= 1
            self._published = None

    def _end(self) -> None:
        self._ended = True
        self._store.live.pop(self._name, None)

    def _refuse_if_ended(self) -> None:
        if self._ended:
            raise CacheError("the staged blob was committed or discarded already")


def _read_only(content: bytes) -> BinaryIO:
    return BufferedReader(_ReadOnlyBytes(content))


class _MarkedReader(BufferedReader):
    """Counts among those who read a blob until it is closed."""

    def __init__(self, raw: BytesIO, read: Counter[Sha256], digest: Sha256) -> None:
        super().__init__(raw)
        self._read, self._digest = read, digest
        read[digest] += 1

    def close(self) -> None:
        if not self.closed:
            self._read[self._digest] -= 1
        super().close()


class _ReadOnlyBytes(BytesIO):
    def writable(self) -> bool:
        return False
