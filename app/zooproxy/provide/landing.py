"""Where the bytes of a fill land: staged, told to those who follow, recorded for whoever has to go on."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import BinaryIO, Final

from zooproxy.cache.blobs import BlobStore, HeldBlob, StagedBlob
from zooproxy.cache.leases import Lease, Staged
from zooproxy.cache.space import Reservation, Space
from zooproxy.digest import Sha256
from zooproxy.errors import BlobAbsent, CacheError
from zooproxy.fetch.upstream import Version
from zooproxy.provide.events import Events
from zooproxy.provide.growing import Growing

#: Bytes that are reserved at a time where nobody has declared a length, if they are free.
STEP: Final = 16 << 20

Record = Callable[[Staged | None], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class Ground:
    """What every landing of this process stands on; ``events`` is where what happens is told."""

    store: BlobStore
    space: Space
    events: Events = field(default_factory=Events)


class Landing:
    """A ``fetch.Destination`` over one staged blob after the other.

    ``record`` is told what is staged; ``promised``: a digest is known that will prove the whole, so that bytes can be
    continued even where the upstream gave them no validator.
    """

    def __init__(self, ground: Ground, growing: Growing, record: Record, *, promised: bool) -> None:
        self._ground = ground
        self._growing = growing
        self._record = record
        self._promised = promised
        self._staged: StagedBlob | None = None
        self._published: StagedBlob | None = None
        self._version: Version | None = None
        self._room: Reservation | None = None

    @property
    def size(self) -> int:
        return self._staged.size if self._staged else 0

    @property
    def version(self) -> Version | None:
        return self._version

    def trying(self, url: str, attempt: int) -> None:
        self._growing.trying(url, attempt)

    async def resume(self, lease: Lease) -> None:
        """Goes on with what the lease's last owner left, if it is there and can be continued."""
        left = lease.staged
        if left is None or not left.resumable or left.length is None:
            return
        trusted = left.length if lease.trusted is None else lease.trusted
        try:
            staged = await self._ground.store.resume(left.partial, trusted, left.length)
        except BlobAbsent:
            return
        try:
            await self._reserve(left.length - staged.size)
        except CacheError:
            await staged.keep()
            raise
        self._staged = staged
        self._version = Version(left.candidate, left.length, left.etag, left.modified)

    async def begin(self, version: Version) -> None:
        await self._drop()
        await self._reserve(version.length or 0)
        staged = await self._ground.store.stage()
        self._staged, self._version = staged, version
        self.go_on()
        whose = (version.url, version.length, version.etag, version.modified)
        await self._record(Staged(staged.name, *whose, resumable=self.is_resumable))

    def go_on(self) -> None:
        """Shows what is there to those who follow: not before the upstream has confirmed what another run left."""
        staged = self._there()
        self._growing.begin(staged.name, staged.file(), self._length, staged.size)

    async def scatter(self) -> None:
        await self._there().scatter(self._length or 0)

    async def trim(self) -> None:
        if self._staged is not None:
            await self._staged.trim()

    async def write(self, data: bytes, at: int) -> None:
        staged = self._there()
        if self._room is not None and self._length is None and self._room.left < len(data):
            await self._room.grow(len(data), wish=STEP)
        await staged.write(data, at)
        gained = staged.size - self._growing.size
        if gained > 0:
            # What lies beyond a gap stays reserved besides: it may have to come again.
            if self._room is not None:
                self._room.used(gained)
            self._growing.advance(staged.size)

    async def reset(self) -> None:
        await self._drop()
        await self._record(None)

    async def digest(self) -> Sha256:
        return await self._there().digest()

    def file(self) -> BinaryIO:
        return self._there().file()

    @property
    def is_resumable(self) -> bool:
        version = self._version
        return bool(version and version.length and (version.validator or self._promised))

    async def commit(self) -> HeldBlob:
        """Makes the bytes a blob of the store; followers are told by the fill, when its row is written.

        Blob and room are held until then: call ``discard``.
        """
        self._published, self._staged = self._there(), None
        self._growing.prove()
        return await self._published.commit()

    async def keep(self) -> int:
        """Leaves the bytes to be continued, if they can be; how many."""
        if not self.is_resumable or not self.size:
            await self._drop()
            return 0
        staged, self._staged = self._there(), None
        self._release()
        await staged.keep()
        return staged.size

    async def discard(self) -> None:
        await self._drop()

    @property
    def _length(self) -> int | None:
        return self._version.length if self._version else None

    def _there(self) -> StagedBlob:
        if self._staged is None:
            raise CacheError("nothing is staged; the transfer has to begin anew")
        return self._staged

    async def _reserve(self, size: int) -> None:
        self._room = await self._ground.space.reserve(max(size, 0))

    def _release(self) -> None:
        if self._room is not None:
            self._room.release()
            self._room = None

    async def _drop(self) -> None:
        self._release()
        self._version = None
        staged, self._staged = self._staged, None
        published, self._published = self._published, None
        if published is not None:
            await published.discard()
        if staged is not None:
            self._growing.forget()
            await staged.discard()
