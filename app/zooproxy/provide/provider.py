"""From a reference to what can be served. The one thing that routes, and later the CLI, talk to."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass

from zooproxy.cache.blobs import BlobStore, HeldBlob
from zooproxy.cache.index import HeldSource, Index
from zooproxy.digest import Sha256
from zooproxy.errors import BlobAbsent, BlobCorrupt
from zooproxy.fetch.proof import Wanted
from zooproxy.formats.segments import Rendition
from zooproxy.formats.variants import safetensors_rendition, select_model
from zooproxy.names.catalog import Catalog, Resolution
from zooproxy.names.reference import parse
from zooproxy.provide.fills import Fills
from zooproxy.provide.pins import Pins
from zooproxy.provide.tensor_indexes import TensorIndexes
from zooproxy.wire.answers import ABSENT, FILLING, HELD, ResolveAnswer
from zooproxy.wire.tensors import TensorIndex

_log = logging.getLogger(__name__)

_NO_BLOB = Sha256("0" * 64)


@dataclass(frozen=True, slots=True)
class Held:
    """What the cache has of a source: its blobs, its rows, what is read from them."""

    store: BlobStore
    index: Index
    tensor_indexes: TensorIndexes


class Provider:
    def __init__(self, catalog: Catalog, pins: Pins, held: Held, fills: Fills) -> None:
        self.catalog = catalog
        self._pins = pins
        self._held = held
        self._fills = fills

    def resolution(self, ref: str) -> Resolution:
        """
        Raises:
            BadReference: the text is no reference.
            NotInCatalog: it leads nowhere; nearest references come along.
        """
        return self.catalog.resolve(parse(ref))

    async def explain(self, resolution: Resolution) -> ResolveAnswer:
        """What a reference means and what is held of it; fetches nothing."""
        url = resolution.source.url
        wanted = self._wanted(resolution)
        held = await self._row(wanted)
        state = HELD if held else FILLING if self._fills.is_running(url) else ABSENT
        return ResolveAnswer(
            ref=resolution.reference,
            canonical=resolution.canonical,
            zoo=resolution.zoo,
            name=resolution.name,
            url=url,
            candidates=list(self._fills.candidates(url)),
            sha256_hint=resolution.source.sha256_hint,
            sha256=held.sha256 if held else wanted.pin,
            size=held.size if held else None,
            state=state,
            recipe=resolution.recipe,
            alias_of=resolution.alias_of,
            warnings=list(resolution.warnings),
            metadata=resolution.metadata,
        )

    async def peek(self, resolution: Resolution) -> HeldBlob | None:
        """The source's blob if it is held; fetches nothing."""
        held = await self._row(self._wanted(resolution))
        return await self._opened(held) if held else None

    async def raw(self, resolution: Resolution) -> HeldBlob:
        """The source's blob: held, or filled first.

        Raises:
            SourceError, FetchError, ProofError, CacheError: it cannot be had.
        """
        blob = await self.peek(resolution)
        if blob is None:
            held = await self._fills.fill(self._wanted(resolution))
            blob = await self._held.store.open(held.sha256)
        return blob

    async def blob(self, digest: Sha256) -> HeldBlob:
        """A blob by its digest.

        Raises:
            BlobAbsent: nothing published has this digest.
        """
        if await self._held.index.blob(digest) is None:
            raise BlobAbsent(f"no blob {digest} is held; ask for its reference to bring it in")
        return await self._held.store.open(digest)

    async def tensors(self, resolution: Resolution, prefix: str | None) -> TensorIndex:
        """The ``model`` variant's tensor index: recipe and prefix applied, ranges into the blob.

        Raises:
            FormatError: the blob cannot be read, or nothing is left of it.
        """
        return await self._model(await self.raw(resolution), resolution, prefix)

    async def model(self, resolution: Resolution, prefix: str | None) -> tuple[HeldBlob, Rendition]:
        """The ``model`` variant as safetensors: segments over the blob.

        Raises:
            FormatError: as ``tensors``; or a tensor that no range of the blob describes.
        """
        blob = await self.raw(resolution)
        selected = await self._model(blob, resolution, prefix)
        return blob, await asyncio.to_thread(safetensors_rendition, selected)

    async def ready(self) -> None:
        """Reads from the database and writes to the store: what every request and every fill will need.

        Raises:
            CacheError: one of them cannot be used.
        """
        await self._held.index.blob(_NO_BLOB)
        async with await self._held.store.stage() as staged:
            await staged.write(b"ready?")

    async def _model(self, blob: HeldBlob, resolution: Resolution, prefix: str | None) -> TensorIndex:
        read = await self._held.tensor_indexes.of(blob)
        return await asyncio.to_thread(select_model, read, recipe=resolution.recipe, prefix=prefix)

    def _wanted(self, resolution: Resolution) -> Wanted:
        source = resolution.source
        return Wanted(source.url, source.sha256_hint, self._pins.of(source.url))

    async def _row(self, wanted: Wanted) -> HeldSource | None:
        """The row of what is held, if its digest is still what is wanted: pins may have changed since."""
        held = await self._held.index.held(wanted.url)
        return held if held and wanted.accepts(held.sha256) else None

    async def _opened(self, held: HeldSource) -> HeldBlob | None:
        """The row's blob. One that is gone or has another length is forgotten, so that the next step fills it again."""
        try:
            blob = await self._held.store.open(held.sha256)
            if blob.size == held.size:
                return blob
            _log.error("blob %s has %d bytes, not %d: it is fetched again", held.sha256, blob.size, held.size)
        except (BlobAbsent, BlobCorrupt) as error:
            _log.error("%s: it is fetched again", error)
        await self._held.index.forget(held.sha256)
        await self._held.store.remove(held.sha256)
        return None
