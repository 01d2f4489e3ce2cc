"""The blob store contract: immutable bytes named by their sha256, verified while written, visible only when whole.

Beside a blob lies its *sidecar*: a small document that says what the index says of it (``cache.sidecars``), so that an
index which is lost can be written again.

Every backend and every fake passes ``tests/contracts/test_blob_store.py``. All errors are ``errors.CacheError`` or one
of its kinds, and ``errors.DigestMismatch`` where the caller said what the bytes must be.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Callable, Collection, Iterable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import BinaryIO, Final, Self

from zooproxy.digest import Sha256
from zooproxy.errors import BlobCorrupt

BLOCK_BYTES = 1 << 20
"""What ``HeldBlob.chunks`` holds in memory at once: large enough to hide a thread's hop, small for many readers."""

SIDECAR_BYTES: Final = 4 << 20
"""What a sidecar may have; a longer one is read up to here, and is no sidecar then."""

#: From a sidecar's bytes (None: there is none) to what they are to be, or None to leave it as it is.
Change = Callable[[bytes | None], bytes | None]


@dataclass(frozen=True, slots=True)
class Stored:
    """What a listing finds. ``name`` is the store's own; ``digest`` is None where nothing of the store has such a name.

    ``size`` in bytes, None where only a sidecar is there. ``changed_at``: when the bytes were written, in seconds since
    1970 by the store's clock.
    """

    name: str
    digest: Sha256 | None
    size: int | None
    changed_at: float
    has_sidecar: bool


@dataclass(frozen=True, slots=True)
class Claim:
    """Blobs that nobody publishes or reads, by their size on the disk in bytes, 0 where nothing is there any more.

    ``busy`` could not be claimed: they are being published, read, or claimed by somebody else.
    """

    sizes: Mapping[Sha256, int]
    busy: frozenset[Sha256]


@dataclass(frozen=True, slots=True)
class HeldBlob(ABC):
    """A whole, published blob. ``size`` in bytes; ``path`` where it is a local file (for sendfile), else None."""

    digest: Sha256
    size: int
    path: Path | None

    @abstractmethod
    def file(self) -> BinaryIO:
        """A new, independent read handle at position 0; the caller closes it. Until then nobody claims the blob.

        Raises:
            BlobAbsent: the blob was removed since it was opened.
        """

    async def chunks(self, start: int, length: int) -> AsyncGenerator[bytes]:
        """The bytes ``[start, start + length)`` in blocks of at most ``BLOCK_BYTES``, read in worker threads.

        Raises:
            BlobCorrupt: the file ends before ``start + length``; what came before it has been yielded.
            ValueError: the range does not lie within the blob.
        """
        if start < 0 or length < 0 or start + length > self.size:
            raise ValueError(f"bytes {start} to {start + length} do not lie within a blob of {self.size} bytes")
        # Opened here and not in a thread: a reader cancelled in between would leave the handle to nobody.
        with self.file() as file:
            await asyncio.to_thread(file.seek, start)
            while length:
                block = await asyncio.to_thread(file.read, min(length, BLOCK_BYTES))
                if not block:
                    raise BlobCorrupt(f"the blob {self.digest} ends {length} bytes early; it has to be fetched again")
                length -= len(block)
                yield block


class StagedBlob(ABC):
    """Bytes on their way in; nobody else can see them. Leaving the context without a commit discards them.

    Calls take effect in the order they were made, also when the task that made them is cancelled. Any call that
    fails discards the bytes: what a failed write or fsync left behind is never believed.
    """

    @property
    @abstractmethod
    def name(self) -> str:
        """What the store knows these bytes by: 32 hexadecimal digits, never used twice."""

    @property
    @abstractmethod
    def size(self) -> int:
        """Bytes written so far, from the start up to the first gap."""

    @abstractmethod
    async def write(self, data: bytes | memoryview, at: int | None = None) -> None:
        """Writes ``data`` at ``at``, by default after what is there; in a worker thread, as all that follows.

        Bytes beyond a gap are taken after ``scatter`` only.

        Raises:
            OutOfSpace: there is no room for it.
        """

    @abstractmethod
    async def scatter(self, length: int) -> None:
        """From now on, the bytes of a whole of ``length`` may come in any order, each of them once."""

    @abstractmethod
    async def trim(self) -> None:
        """Drops what lies beyond a gap; ends ``scatter``. The size is final when this returns."""

    @abstractmethod
    async def digest(self) -> Sha256:
        """The sha256 of the bytes that ``size`` counts; waits until all of them are hashed."""

    @abstractmethod
    def file(self) -> BinaryIO:
        """A read-only handle at position 0 over the bytes so far, to check their structure; the caller closes it."""

    @abstractmethod
    async def commit(self, expected: Sha256 | None = None) -> HeldBlob:
        """Makes the bytes durable, then visible under their sha256, in place of what may be there.

        Nobody claims the blob, to remove it, before ``discard`` is called or the context left: its row can be written.

        Raises:
            DigestMismatch: the bytes are not ``expected``; nothing was published.
            OutOfSpace, CacheError: they could not be made durable; nothing was published.
        """

    @abstractmethod
    async def keep(self) -> None:
        """Ends the writing and leaves the bytes, durable, for ``BlobStore.resume``; for a sweep, too.

        Raises:
            CacheError: they could not be made durable.
        """

    @abstractmethod
    async def discard(self) -> None:
        """Drops the bytes, or after a commit lets go of the blob; nothing after a keep or another discard."""

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.discard()


#: Looks at bytes that were written, by their digest, their file and its size, and raises where they are not believed.
Proof = Callable[[Sha256, BinaryIO, int], None]


class Batch(ABC):
    """Many blobs on their way in, written and hashed side by side and made durable together; unseen until then.

    Synchronous, for worker threads; ``take`` may be called by several at once, and has to be over before the others.
    """

    @abstractmethod
    def take(self, blocks: Iterable[bytes], proof: Proof) -> None:
        """One blob of ``blocks``, if ``proof`` lets it pass; what either of them raises, the bytes are dropped then.

        Raises:
            OutOfSpace, CacheError: it could not be written.
        """

    @abstractmethod
    def commit(self) -> Mapping[Sha256, HeldBlob]:
        """Makes all of them durable, then visible under their sha256, in place of what may be there. Ends the batch.

        Raises:
            OutOfSpace, CacheError: they could not be made durable; none of them was published.
        """

    @abstractmethod
    def discard(self) -> None:
        """Drops all of them; nothing after a commit or another discard."""


class BlobStore(ABC):
    """Where blobs are. Several processes may share one store."""

    @abstractmethod
    async def stage(self) -> StagedBlob:
        """A new, empty, exclusively owned staging place."""

    @abstractmethod
    def batch(self) -> Batch:
        """A new, empty batch."""

    @abstractmethod
    async def open(self, digest: Sha256) -> HeldBlob:
        """The blob of that digest.

        Raises:
            BlobAbsent: there is none. Only absent is absent: a store that cannot be read is a ``CacheError``.
            BlobCorrupt: what is there cannot be that blob (it is empty, or no file).
        """

    @abstractmethod
    async def remove(self, digest: Sha256) -> bool:
        """Removes the blob and its sidecar for good; whether there was such a blob.

        Whoever reads it reads on. The caller has claimed it: ``provide.removal`` is what everybody else uses.
        """

    @abstractmethod
    def claim(self, digests: Collection[Sha256], *, read_too: bool = False) -> AbstractAsyncContextManager[Claim]:
        """Those of ``digests`` that can be claimed at once, for all processes; ``read_too``: even if they are read."""

    @abstractmethod
    def publishing(self, digests: Collection[Sha256]) -> AbstractAsyncContextManager[None]:
        """Nobody claims any of ``digests`` while it lasts: their rows can be written. Waits for who removes there."""

    @abstractmethod
    def alone(self, name: str, patience: float) -> AbstractAsyncContextManager[None]:
        """Work of that name (letters), done by one at a time in all processes; waits up to ``patience`` seconds.

        Raises:
            AlreadyAtWork: that was not enough.
        """

    @abstractmethod
    async def sidecar(self, digest: Sha256) -> bytes | None:
        """The document beside the blob; None if there is none. At most ``SIDECAR_BYTES`` and one are returned."""

    @abstractmethod
    async def annotate(self, digest: Sha256, change: Change) -> None:
        """Makes the sidecar what ``change`` makes of it, durable; called in a worker thread, perhaps more than once.

        However many do so at once, in however many processes, each sees what the one before it left.

        Raises:
            BlobAbsent: there is no such blob.
            OutOfSpace, CacheError: it could not be made durable; the sidecar is what it was, or is not there.
        """

    @abstractmethod
    async def annotate_all(self, changes: Mapping[Sha256, Change]) -> None:
        """As ``annotate`` for each, in fewer turns of the disk.

        Raises:
            BlobAbsent, OutOfSpace, CacheError: as ``annotate``, of one of them; of the others some may be done.
        """

    @abstractmethod
    async def look(self, digest: Sha256) -> Stored | None:
        """What a listing would say of it; None where there is neither a blob nor a sidecar."""

    @abstractmethod
    def listing(self) -> AsyncGenerator[Sequence[Stored]]:
        """All that is there, a portion at a time, by digest; what is staged or quarantined is not among it."""

    @abstractmethod
    async def quarantine(self, digest: Sha256, note: bytes) -> bool:
        """Takes the blob out of the store, as ``remove``, but keeps its bytes aside with ``note``: never served again.

        What was quarantined under the digest before is replaced. Returns whether there was such a blob.
        """

    @abstractmethod
    async def resume(self, name: str, trusted: int, length: int) -> StagedBlob:
        """What was kept, or left by a dead process, of a whole of ``length`` bytes under ``name``, hashed again.

        No more than its first ``trusted`` bytes, and those up to the first gap.

        Raises:
            BlobAbsent: there is nothing, or somebody writes it.
        """

    @abstractmethod
    async def peek(self, name: str) -> BinaryIO:
        """A read handle over what is staged under ``name``, by whatever process, and grows; the caller closes it.

        ``cache.watermark`` tells how much of it may be read.

        Raises:
            BlobAbsent: there is nothing.
        """

    @abstractmethod
    async def is_written(self, name: str) -> bool:
        """Whether a live process holds what is staged under ``name``."""

    @abstractmethod
    async def sweep(self, keep: Collection[str] = ()) -> int:
        """Discards what dead processes left staged, never what a live one is writing; the number discarded.

        What is named in ``keep`` stays.
        """

    @abstractmethod
    def free_bytes(self) -> int:
        """How many more bytes may be staged."""
