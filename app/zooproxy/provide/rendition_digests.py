"""The sha256 of whole renditions, for clients that ask for it: one pass over their bytes, made once and kept."""

from __future__ import annotations

import asyncio
import os
from collections import OrderedDict
from collections.abc import Iterator
from typing import Final

from zooproxy.cache.blobs import BLOCK_BYTES, HeldBlob
from zooproxy.digest import Hasher, Sha256
from zooproxy.errors import BlobCorrupt
from zooproxy.formats.segments import Literal, Rendition
from zooproxy.provide.single_flight import SingleFlight

_MOST: Final = 4096
_Key = tuple[Sha256, Sha256]


class RenditionDigests:
    """One is computed at a time: whoever asks for many takes one core, not all."""

    def __init__(self) -> None:
        self._known: OrderedDict[_Key, Sha256] = OrderedDict()
        self._flight: SingleFlight[_Key, Sha256] = SingleFlight()
        self._turn = asyncio.Lock()

    async def of(self, blob: HeldBlob, rendition: Rendition) -> Sha256:
        """
        Raises:
            BlobAbsent, BlobCorrupt: the blob is gone, or shorter than it was.
        """
        key = (blob.digest, rendition.fingerprint)
        known = self._known.get(key)
        return known or await self._flight.join(key, lambda: self._compute(key, blob, rendition))

    async def _compute(self, key: _Key, blob: HeldBlob, rendition: Rendition) -> Sha256:
        async with self._turn:
            digest = await asyncio.to_thread(_hash, blob, rendition)
        self._known[key] = digest
        if len(self._known) > _MOST:
            self._known.popitem(last=False)
        return digest

    async def close(self) -> None:
        await self._flight.close()


def _hash(blob: HeldBlob, rendition: Rendition) -> Sha256:
    hasher = Hasher()
    with blob.file() as file:
        for segment in rendition.segments:
            if isinstance(segment, Literal):
                hasher.update(segment.data)
                continue
            for block in _blocks(file.fileno(), segment.offset, segment.length):
                hasher.update(block)
    return hasher.digest()


def _blocks(descriptor: int, offset: int, length: int) -> Iterator[bytes]:
    end = offset + length
    while offset < end:
        block = os.pread(descriptor, min(BLOCK_BYTES, end - offset), offset)
        if not block:
            raise BlobCorrupt(f"a blob ends before byte {end}; it has to be fetched again")
        offset += len(block)
        yield block
