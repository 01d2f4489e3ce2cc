"""The members of a bundle on their way into a store and its index."""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import Self

from zooproxy.cache.blobs import HeldBlob
from zooproxy.cache.shelf import Shelf
from zooproxy.digest import Sha256
from zooproxy.names.sections import Section
from zooproxy.provide.bundles.arrived_indexes import ArrivedIndexes
from zooproxy.provide.bundles.checking import check_digest
from zooproxy.provide.bundles.intake import Intake
from zooproxy.provide.bundles.manifest import Member
from zooproxy.provide.bundles.reading import BundleReader
from zooproxy.provide.bundles.site_layers import section_of


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
        self._settled = False

    async def read(self, *, signed: bool) -> tuple[list[Section], ArrivedIndexes]:
        """All members, to the bundle's end. The indexes are empty where nobody vouches for them (``signed``).

        Raises:
            MalformedBundle, DigestMismatch, NotACheckpoint: the bundle is not what it says.
            OutOfSpace, CacheError: the store failed.
        """
        indexes = ArrivedIndexes(self._shelf.store, believed=signed)
        intake = Intake(self._shelf.store, self._reader)
        try:
            async with intake:
                sections = await self._members(intake, indexes)
                await intake.finish()  # first: what is wrong with a member says more than how the bundle ends
                await asyncio.to_thread(self._reader.end)
        except BaseException:
            await indexes.discard()
            raise
        finally:
            self._brought += intake.brought
        self._here.update(intake.brought)
        return sections, indexes

    def settle(self) -> None:
        """What was brought stays: its rows are written."""
        self._settled = True

    async def _members(self, intake: Intake, indexes: ArrivedIndexes) -> list[Section]:
        contents = self._reader.manifest.contents
        layers = {layer.document: layer for layer in contents.layers}
        sizes = {source.sha256: source.size for source in contents.sources}
        by_document = {index.document: index for index in contents.indexes}
        sections = []
        for member in contents.members:
            if member.sha256 in layers:
                sections.append(section_of(layers[member.sha256], await self._document(member)))
            elif member.sha256 in by_document:
                index = by_document[member.sha256]
                await indexes.add(index, sizes.get(index.blob), await self._document(member))
            elif member.sha256 in self._here:
                await asyncio.to_thread(self._reader.skip, member)
            else:
                await intake.take(member)
        return sections

    async def _document(self, member: Member) -> bytes:
        return await asyncio.to_thread(_whole, self._reader, member)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._settled or isinstance(error, asyncio.CancelledError):
            return
        for digest in self._brought:
            async with self._shelf.store.claim([digest], read_too=True) as claim:
                # A proxy that runs on the same data directory may have come by it meanwhile, or be about to.
                if not claim.busy and await self._shelf.index.blob(digest) is None:
                    await self._shelf.store.remove(digest)


def _whole(reader: BundleReader, member: Member) -> bytes:
    document = b"".join(reader.blocks(member))
    check_digest(Sha256.of(document), member.sha256)
    return document
