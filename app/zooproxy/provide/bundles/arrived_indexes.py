"""Tensor indexes that come with a bundle: put aside on disk until the blobs that they are of are held.

A tensor index decides which bytes of a blob are served as which tensor, and no digest of the blob proves it. So one
that was not read here is kept only if it comes from a maker who is believed; otherwise the blob is read here when it is
first asked for.
"""

from __future__ import annotations

import asyncio
from types import TracebackType
from typing import BinaryIO, Final, Self

from zooproxy.cache.blobs import BlobStore, StagedBlob
from zooproxy.cache.index import Index
from zooproxy.digest import Sha256
from zooproxy.errors import FormatError, MalformedBundle
from zooproxy.formats.reader import READER_VERSION
from zooproxy.provide.bundles.manifest import LARGEST_DOCUMENT, BundledIndex
from zooproxy.provide.tensor_indexes import check_document

_BATCH_BYTES: Final = 8 << 20  # in one transaction
_BATCH: Final = 64


class ArrivedIndexes:
    """Nothing is kept unless ``believed``, nor what another version of the reader read."""

    def __init__(self, store: BlobStore, *, believed: bool) -> None:
        self._store = store
        self._believed = believed
        self._aside: StagedBlob | None = None
        self._added: list[tuple[Sha256, int]] = []

    async def add(self, index: BundledIndex, size: int | None, document: bytes) -> None:
        """``size`` is that of the blob, in bytes; None if the bundle has no source with it.

        Raises:
            MalformedBundle: it is no tensor index of that blob.
        """
        if not self._believed or size is None or index.reader_version != READER_VERSION:
            return
        try:
            await asyncio.to_thread(check_document, document, index.blob, size, LARGEST_DOCUMENT)
        except FormatError as error:
            raise MalformedBundle(f"what the bundle has as the tensor index of {index.blob} is none") from error
        if self._aside is None:
            self._aside = await self._store.stage()
        await self._aside.write(document)
        self._added.append((index.blob, len(document)))

    async def keep(self, index: Index) -> None:
        """Writes them into the database; what is there already of the same version is the same."""
        if self._aside is None:
            return
        with self._aside.file() as file:
            batch: dict[Sha256, bytes] = {}
            for blob, size in self._added:
                batch[blob] = await asyncio.to_thread(_read, file, size)
                if len(batch) == _BATCH or sum(map(len, batch.values())) >= _BATCH_BYTES:
                    await index.keep_tensor_indexes(READER_VERSION, batch)
                    batch = {}
            await index.keep_tensor_indexes(READER_VERSION, batch)

    async def discard(self) -> None:
        aside, self._aside = self._aside, None
        if aside is not None:
            await aside.discard()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.discard()


def _read(file: BinaryIO, size: int) -> bytes:
    return file.read(size)
