"""Tensor indexes of held blobs: read from a blob once, kept in the database, the small and recent ones in memory.

An index is there as soon as the pickle is read; the digests of its storages follow. They take a pass over all of the
blob, so they are computed behind whoever asked first, one blob at a time, and the kept document is replaced.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
import zlib
from collections.abc import Callable, Iterator
from typing import BinaryIO, Final

from zooproxy.cache.blobs import HeldBlob
from zooproxy.cache.index import Index
from zooproxy.digest import Sha256
from zooproxy.errors import BlobAbsent, MalformedCheckpoint, ZooproxyError
from zooproxy.formats.reader import READER_VERSION, digested, read_tensor_index
from zooproxy.provide.recent import Recent
from zooproxy.provide.single_flight import SingleFlight
from zooproxy.wire.tensors import Storage, TensorIndex, tensor_index_from_json, tensor_index_to_json

_log = logging.getLogger(__name__)

#: Bytes of JSON whose decoded form is kept in memory, all indexes together (decoded, some five times as much).
MEMORY: Final = 8 << 20


#: Reads the index of a file of that size and digest, without digests of its storages.
Read = Callable[[BinaryIO, int, Sha256], TensorIndex]


class TensorIndexes:
    """``read`` is called in worker threads."""

    def __init__(self, index: Index, memory: int = MEMORY, read: Read = read_tensor_index) -> None:
        self._index = index
        self._read = read
        self._recent: Recent[Sha256, TensorIndex] = Recent(memory)
        self._flight: SingleFlight[Sha256, TensorIndex] = SingleFlight()
        self._proving: SingleFlight[Sha256, TensorIndex] = SingleFlight()
        self._turn = asyncio.Lock()

    async def of(self, blob: HeldBlob) -> TensorIndex:
        """The index; the digests of its storages may still be missing.

        Raises:
            FormatError: the blob is no checkpoint that this version can read.
        """
        recent = self._recent.get(blob.digest)
        if recent is not None:
            return recent
        return await self._flight.join(blob.digest, lambda: self._load(blob))

    async def proven(self, blob: HeldBlob) -> TensorIndex:
        """The index with the sha256 and the CRC-32 of every storage, as soon as they are known.

        Raises:
            FormatError: as ``of``.
        """
        read = await self.of(blob)
        return read if read.is_proven else await self._proving.join(blob.digest, lambda: self._prove(blob))

    async def kept(self, blob: HeldBlob) -> TensorIndex:
        """The index that was kept for a blob which no reader reads: a derived one.

        Raises:
            BlobAbsent: none was kept, or an older version's.
        """
        recent = self._recent.get(blob.digest)
        if recent is not None:
            return recent
        document = await self._index.tensor_index(blob.digest, READER_VERSION)
        if document is None:
            raise BlobAbsent(f"no tensor index of the blob {blob.digest} is held")
        return (await asyncio.to_thread(_decode, document))[0]

    async def keep(self, read: TensorIndex) -> None:
        """Keeps an index that is complete: of a blob that was derived, or with its digests."""
        document = await asyncio.to_thread(document_of, read)
        await self._index.keep_tensor_index(read.blob, READER_VERSION, zlib.compress(document, 1))
        self._recent.put(read.blob, read, len(document))

    async def _load(self, blob: HeldBlob) -> TensorIndex:
        kept = await self._index.tensor_index(blob.digest, READER_VERSION)
        if kept is not None:
            read, document = await asyncio.to_thread(_decode, kept)
        else:
            read, document = await asyncio.to_thread(self._read_anew, blob)
            await self._index.keep_tensor_index(blob.digest, READER_VERSION, zlib.compress(document, 1))
        self._recent.put(read.blob, read, len(document))
        if not read.is_proven:
            self._proving.begin(blob.digest, lambda: self._prove(blob))
        return read

    def _read_anew(self, blob: HeldBlob) -> tuple[TensorIndex, bytes]:
        with blob.file() as file:
            read = self._read(file, blob.size, blob.digest)
        return read, document_of(read)

    async def _prove(self, blob: HeldBlob) -> TensorIndex:
        """Adds the digests; a failure is told here too, because nobody may be waiting."""
        async with self._turn:
            read = await self.of(blob)
            if read.is_proven:  # since the caller looked
                return read
            try:
                proven = dataclasses.replace(read, storages=await _proven_storages(read, blob))
            except (ZooproxyError, OSError) as error:
                _log.error("the storages of the blob %s were not proven: %s", blob.digest, error)
                raise
            await self.keep(proven)
            return proven

    async def close(self) -> None:
        await self._flight.close()
        await self._proving.close()


async def _proven_storages(read: TensorIndex, blob: HeldBlob) -> tuple[Storage, ...]:
    storages: list[Storage] = []
    with blob.file() as file:
        steps = digested(read, file)
        while await asyncio.to_thread(_advance, steps, storages):
            pass  # whoever cancels this leaves no thread at work
    return tuple(storages)


def _advance(steps: Iterator[Storage | None], storages: list[Storage]) -> bool:
    """Takes storages up to the next pause; False at the end."""
    for storage in steps:
        if storage is None:
            return True
        storages.append(storage)
    return False


def document_of(read: TensorIndex) -> bytes:
    """Its JSON: as it is kept, and as it travels."""
    return json.dumps(tensor_index_to_json(read), separators=(",", ":")).encode()


def _decode(compressed: bytes) -> tuple[TensorIndex, bytes]:
    document = zlib.decompress(compressed)
    return tensor_index_from_json(json.loads(document)), document


def check_document(compressed: bytes, blob: Sha256, size: int, most: int) -> None:
    """Whether a document that was not written here can be kept as the index of ``blob``, which has ``size`` bytes.

    ``most``: bytes that it may decompress to.

    Raises:
        MalformedCheckpoint: it cannot.
    """
    unpacking = zlib.decompressobj()
    try:
        document = unpacking.decompress(compressed, most)
        read = tensor_index_from_json(json.loads(document))
    except (zlib.error, ValueError, TypeError, RecursionError) as error:
        raise MalformedCheckpoint("this is no tensor index of this version") from error
    if not unpacking.eof or unpacking.unused_data or (read.blob, read.size) != (blob, size):
        raise MalformedCheckpoint("this is another blob's tensor index, or not only one")
    if any(storage.offset + storage.size > size for storage in read.storages):
        raise MalformedCheckpoint("a tensor index leads out of its blob")
