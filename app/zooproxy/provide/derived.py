"""Derived blobs: held like any other, under a URL of their own that says what they are made of."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

from zooproxy.cache.blobs import HeldBlob
from zooproxy.cache.shelf import DERIVED, Shelf
from zooproxy.cache.space import Reservation, Space
from zooproxy.digest import Sha256
from zooproxy.errors import BlobAbsent, BlobCorrupt
from zooproxy.formats.contents import window
from zooproxy.formats.forms import Recast
from zooproxy.formats.reader import READER_VERSION
from zooproxy.provide.derivation import Derivation
from zooproxy.provide.single_flight import SingleFlight
from zooproxy.provide.tensor_indexes import TensorIndexes
from zooproxy.wire.tensors import Storage, TensorIndex, tensor_index_to_json


class Derived:
    """Makes a derived blob once, however many ask, and finds it again."""

    def __init__(self, shelf: Shelf, tensor_indexes: TensorIndexes, space: Space) -> None:
        self._shelf = shelf
        self._space = space
        self._tensor_indexes = tensor_indexes
        self._flight: SingleFlight[str, Sha256] = SingleFlight()

    async def of(self, blob: HeldBlob, part: TensorIndex, recast: Recast) -> tuple[HeldBlob, TensorIndex]:
        """The blob that ``recast`` makes of ``part`` of ``blob``, and its index.

        Raises:
            LimitExceeded: it would grow out of proportion.
            OutOfSpace, CacheError: it cannot be stored.
        """
        name = await asyncio.to_thread(_name, part, recast)
        url = _url(blob, name)
        held = await self._shelf.index.held(url)
        if held is not None:
            try:
                found = await self._shelf.store.open(held.sha256)
                self._shelf.index.uses.note(found.digest)
                return found, await self._tensor_indexes.kept(found)
            except (BlobAbsent, BlobCorrupt):
                pass  # made again below
        digest = await self._flight.join(url, lambda: self._make(blob, part, recast, name))
        made = await self._shelf.store.open(digest)
        self._shelf.index.uses.note(digest)
        return made, await self._tensor_indexes.kept(made)

    async def _make(self, blob: HeldBlob, part: TensorIndex, recast: Recast, name: Sha256) -> Sha256:
        with blob.file() as file:  # open until the end: it is read, and must not be evicted to make room for this
            derivation = Derivation(part, recast, await asyncio.to_thread(window, file, blob.size))
            room = await self._space.reserve(derivation.most)
            try:
                held = await self._write(derivation, _url(blob, name), name, room)
            finally:
                room.release()
        await self._tensor_indexes.keep(derivation.result(held.digest, held.size))
        return held.digest

    async def _write(self, derivation: Derivation, url: str, name: Sha256, room: Reservation) -> HeldBlob:
        blocks = derivation.blocks(name)
        async with await self._shelf.store.stage() as staged:
            while (block := await asyncio.to_thread(next, blocks, None)) is not None:
                await staged.write(block)
                room.used(len(block))
            held = await staged.commit()
            await self._shelf.publish(url, held)
        return held

    async def made_of(self, digest: Sha256) -> tuple[Sha256, ...]:
        """The blobs of which the blob with ``digest`` was made; none for one that was fetched."""
        urls = await self._shelf.index.urls_of(digest)
        return tuple(Sha256(url.removeprefix(DERIVED).partition("/")[0]) for url in urls if url.startswith(DERIVED))

    async def close(self) -> None:
        await self._flight.close()


def _url(blob: HeldBlob, name: Sha256) -> str:
    return f"{DERIVED}{blob.digest}/{name}"


def _name(part: TensorIndex, recast: Recast) -> Sha256:
    """All that a derivation depends on, hashed: not on the digests, which the index gets later."""
    bare = replace(part, storages=tuple(Storage(storage.offset, storage.size) for storage in part.storages))
    done = [READER_VERSION, recast.dtype, recast.contiguous, sorted(recast.kept), tensor_index_to_json(bare)]
    return Sha256.of(json.dumps(done).encode())
