"""The members of a bundle on their way into a store: staged while they are read, durable a few behind."""

from __future__ import annotations

import asyncio
from collections import deque
from types import TracebackType
from typing import Final, Self

from zooproxy.cache.blobs import HeldBlob, StagedBlob
from zooproxy.cache.shelf import Shelf
from zooproxy.digest import Sha256
from zooproxy.fetch.proof import prove_structure
from zooproxy.names.sections import Section
from zooproxy.provide.bundles.arrived_indexes import ArrivedIndexes
from zooproxy.provide.bundles.checking import check_digest
from zooproxy.provide.bundles.manifest import Member
from zooproxy.provide.bundles.reading import BundleReader
from zooproxy.provide.bundles.site_layers import section_of

_BLOCK: Final = 1 << 20
_BLOCKS_AHEAD: Final = 4  # of one blob, read and not yet written
_AT_ONCE: Final = 8  # blobs that are staged and not yet durable: the disk flushes them together


class Arrival:
    """``here`` are the blobs that need not be brought; those that are brought join them.

    Leaving the context without ``settle`` removes what was brought, unless it is left because the task was cancelled:
    then whoever comes again goes on from there.
    """

    def __init__(self, shelf: Shelf, reader: BundleReader, here: dict[Sha256, HeldBlob]) -> None:
        self._shelf = shelf
        self._reader = reader
        self._here = here
        self._brought: list[Sha256] = []
        self._room = asyncio.Semaphore(_AT_ONCE)
        self._committing: deque[asyncio.Task[None]] = deque()
        self._settled = False

    async def read(self, *, signed: bool) -> tuple[list[Section], ArrivedIndexes]:
        """All members, to the bundle's end. The indexes are empty where nobody vouches for them (``signed``).

        Raises:
            MalformedBundle, DigestMismatch, NotACheckpoint: the bundle is not what it says.
            OutOfSpace, CacheError: the store failed.
        """
        contents = self._reader.manifest.contents
        layers = {layer.document: layer for layer in contents.layers}
        sizes = {source.sha256: source.size for source in contents.sources}
        by_document = {index.document: index for index in contents.indexes}
        sections = []
        indexes = ArrivedIndexes(self._shelf.store, believed=signed)
        try:
            for member in contents.members:
                if member.sha256 in layers:
                    sections.append(section_of(layers[member.sha256], await self._document(member)))
                elif member.sha256 in by_document:
                    index = by_document[member.sha256]
                    await indexes.add(index, sizes.get(index.blob), await self._document(member))
                else:
                    await self._blob(member)
            await asyncio.to_thread(self._reader.end)
            while self._committing:
                await self._committing.popleft()
        except BaseException:
            await indexes.discard()
            raise
        return sections, indexes

    def settle(self) -> None:
        """What was brought stays: its rows are written."""
        self._settled = True

    async def _document(self, member: Member) -> bytes:
        return await asyncio.to_thread(_whole, self._reader, member)

    async def _blob(self, member: Member) -> None:
        if member.sha256 in self._here:
            await asyncio.to_thread(self._reader.skip, member)
            return
        while self._committing and self._committing[0].done():
            await self._committing.popleft()  # raises what it failed with
        await self._room.acquire()
        try:
            staged = await self._shelf.store.stage()
            try:
                await self._copy(member, staged)
            except BaseException:
                await staged.discard()
                raise
        except BaseException:
            self._room.release()
            raise
        self._committing.append(asyncio.create_task(self._commit(member, staged)))

    async def _copy(self, member: Member, staged: StagedBlob) -> None:
        """Reading goes on while a few blocks are hashed and written."""
        writing: deque[asyncio.Task[None]] = deque()
        try:
            block = await asyncio.to_thread(_first, self._reader, member)
            while block:
                writing.append(asyncio.create_task(staged.write(block)))
                if len(writing) > _BLOCKS_AHEAD:
                    await writing.popleft()
                block = await asyncio.to_thread(self._reader.read, _BLOCK)
            while writing:
                await writing.popleft()
        finally:
            await asyncio.gather(*writing, return_exceptions=True)

    async def _commit(self, member: Member, staged: StagedBlob) -> None:
        try:
            async with staged:
                check_digest(await staged.digest(), member.sha256)
                await asyncio.to_thread(prove_structure, staged.file(), staged.size)
                self._brought.append(member.sha256)
                self._here[member.sha256] = await staged.commit(member.sha256)
        finally:
            self._room.release()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await asyncio.gather(*self._committing, return_exceptions=True)
        if self._settled or isinstance(error, asyncio.CancelledError):
            return
        for digest in self._brought:
            # A proxy that runs on the same data directory may have come by it meanwhile.
            if await self._shelf.index.blob(digest) is None:
                await self._shelf.store.remove(digest)


def _first(reader: BundleReader, member: Member) -> bytes:
    reader.begin(member)
    return reader.read(_BLOCK)


def _whole(reader: BundleReader, member: Member) -> bytes:
    block = _first(reader, member)
    pieces = [block]
    while block:
        block = reader.read(_BLOCK)
        pieces.append(block)
    document = b"".join(pieces)
    check_digest(Sha256.of(document), member.sha256)
    return document
