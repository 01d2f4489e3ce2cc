"""Publishing: a file of the site's own becomes a blob, and names lead to it.

The order, as in a fill: room -> staged, hashed while written -> length, digest, structure -> fsync, rename -> the
source's row -> pinned in the cache, where it is the only copy -> the names, all in one transaction. Before the last
step nobody can ask for it; what ends earlier leaves nothing, but for a crash after the rename: then a blob that no name
leads to, and that may be evicted. Until it is pinned it is still staged, which nothing evicts.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass

from zooproxy.cache.blobs import StagedBlob
from zooproxy.cache.shelf import Shelf
from zooproxy.cache.site_names import SiteName, SiteNames
from zooproxy.digest import Sha256
from zooproxy.errors import AlreadyPublished, NotACheckpoint, UnknownName, UploadError, UploadMismatch, UploadTooLarge
from zooproxy.fetch.proof import prove_structure
from zooproxy.names.published import SCHEME, PublishedFile, PublishedName
from zooproxy.names.zoos import ZOO_OF_SCHEME
from zooproxy.provide.names import Names
from zooproxy.provide.stock import Stock
from zooproxy.wire.answers import PublishedAnswer

_log = logging.getLogger(__name__)

_GATHERED = 1 << 20  # bytes that are written at once


@dataclass(frozen=True, slots=True)
class Publication:
    """A file that is to be published: its digest, its ``size`` in bytes, and what it is called where it is downloaded.

    ``force`` moves a tag that has other bytes.
    """

    name: PublishedName
    file: PublishedFile
    size: int
    force: bool = False

    @property
    def names(self) -> tuple[PublishedName, ...]:
        """The tag, where there is one, and the name alone: the latest."""
        latest = PublishedName(self.name.zoo, self.name.name)
        return (latest,) if self.name.tag is None else (self.name, latest)

    @property
    def rows(self) -> tuple[SiteName, ...]:
        return tuple(SiteName(name.zoo, name.full, self.file.canonical, self.file.sha256) for name in self.names)

    @property
    def fixed(self) -> SiteName | None:
        """The row that has to be as it is, if it is there."""
        return None if self.name.tag is None or self.force else self.rows[0]

    def answer(self) -> PublishedAnswer:
        refs = [name.ref for name in self.names]
        return PublishedAnswer(refs, self.file.canonical, self.file.sha256, self.size)


@dataclass(frozen=True, slots=True)
class Keeping:
    """Where published files are kept; ``largest`` is the size of one in bytes, 0 for any."""

    shelf: Shelf
    stock: Stock
    largest: int = 0


class Publishing:
    def __init__(self, keeping: Keeping, names: Names, site_names: SiteNames) -> None:
        self._keeping = keeping
        self._names = names
        self._site_names = site_names

    async def check(self, wanted: Publication) -> None:
        """Whether it would be taken, before any byte of it moves; there is room for it then, for now.

        Raises:
            UnknownZoo: there is no such zoo.
            AlreadyPublished: it is a tag that has other bytes.
            UploadTooLarge, OutOfSpace.
        """
        await self._check(wanted)
        (await self._keeping.stock.space.reserve(wanted.size)).release()

    async def _check(self, wanted: Publication) -> None:
        zoo = wanted.name.zoo
        if ZOO_OF_SCHEME.get(zoo) != zoo:
            raise self._names.catalog.unknown_zoo(zoo)
        largest = self._keeping.largest
        if largest and wanted.size > largest:
            raise UploadTooLarge(f"the file has {wanted.size:,} bytes; MAX_FILE_BYTES allows {largest:,}")
        there = await self._site_names.at(zoo, wanted.fixed.name) if wanted.fixed else None
        if there is not None and there.sha256 != wanted.file.sha256:
            raise _taken(there)

    async def publish(self, wanted: Publication, blocks: AsyncIterator[bytes]) -> None:
        """Takes the bytes, and lets the names lead to them.

        Raises:
            UploadMismatch: they are not what was announced.
            UploadError: they are no checkpoint.
            UnknownZoo, AlreadyPublished, UploadTooLarge, OutOfSpace, CacheError: as ``check``; nothing has changed.
        """
        await self._check(wanted)
        await self._keep(wanted, blocks)
        keeping, url = self._keeping, wanted.file.canonical
        try:
            put = await self._site_names.put_together(wanted.rows, wanted.fixed)
        except BaseException:
            await self._release([url])  # no name leads there: it would stay for ever
            raise
        if put.in_the_way is not None:
            await self._release([url])
            raise _taken(put.in_the_way)
        await keeping.stock.pin(url, wanted.name.ref)  # whoever withdrew the same file meanwhile has unpinned it
        await self._names.refresh()
        await self._release(row.url for row in put.replaced)
        _log.info("published: %s: %s, %d bytes", wanted.name.ref, wanted.file.sha256, wanted.size)

    async def tidy(self) -> None:
        """Lets go of what no name leads to: a crash left it so, or an administrator who gave the name another URL."""
        await self._release(pin.url for pin in await self._keeping.stock.pins())

    async def withdraw(self, name: PublishedName) -> None:
        """Removes a tag, or the name with all its tags; the file may be evicted when no name leads to it.

        Raises:
            UnknownName: nothing is published under it.
        """
        removed = await self._removed(name)
        if not removed:
            raise UnknownName("nothing is published under this name")
        await self._names.refresh()
        await self._release(row.url for row in removed)
        _log.info("withdrawn: %s", name.ref)

    async def _removed(self, name: PublishedName) -> tuple[SiteName, ...]:
        if name.tag is None:
            return await self._site_names.remove_with_tags(name.zoo, name.name, f"{SCHEME}:")
        there = await self._site_names.at(name.zoo, name.full)
        was_there = there is not None and await self._site_names.remove(name.zoo, name.full)
        return (there,) if there is not None and was_there else ()

    async def _keep(self, wanted: Publication, blocks: AsyncIterator[bytes]) -> None:
        """The bytes as a blob that is held and pinned; no name leads to it yet."""
        shelf, stock, url = self._keeping.shelf, self._keeping.stock, wanted.file.canonical
        room = await stock.space.reserve(wanted.size)
        try:
            async with await shelf.store.stage() as staged:
                async for block in _gathered(blocks):
                    _check_size(wanted.size, staged.size + len(block))
                    await staged.write(block)
                    room.used(len(block))
                await _prove(wanted, staged)
                await shelf.publish(url, await staged.commit(wanted.file.sha256))
                await stock.pin(url, wanted.name.ref)
        finally:
            room.release()

    async def _release(self, urls: Iterable[str]) -> None:
        """Published files to which no name leads any more may be evicted."""
        for url in set(urls):
            if url.startswith(f"{SCHEME}:") and not await self._site_names.is_named(url):
                await self._keeping.stock.unpin(url)


async def _prove(wanted: Publication, staged: StagedBlob) -> None:
    if staged.size != wanted.size:
        raise UploadError(f"the upload ended after {staged.size:,} of {wanted.size:,} bytes; publish it again")
    digest: Sha256 = await staged.digest()
    if digest != wanted.file.sha256:
        message = f"what arrived has the sha256 {digest}; {wanted.file.sha256} was announced. Publish it again"
        raise UploadMismatch(message, expected=wanted.file.sha256, actual=digest)
    try:
        await asyncio.to_thread(prove_structure, staged.file(), staged.size)
    except NotACheckpoint as error:
        raise UploadError(f"this is no checkpoint: {error}") from error


def _check_size(announced: int, size: int) -> None:
    if size > announced:
        raise UploadError(f"more than the announced {announced:,} bytes arrived")


def _taken(there: SiteName) -> AlreadyPublished:
    ref = f"{there.zoo}://{there.name}"
    message = f"{ref} is published with the sha256 {there.sha256}, and tags do not move; take another one, or --force"
    return AlreadyPublished(message, reference=ref, sha256=there.sha256 or "")


async def _gathered(blocks: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """In pieces that are worth a write: what arrives are the reads of a socket."""
    held = bytearray()
    async for block in blocks:
        held += block
        if len(held) >= _GATHERED:
            yield bytes(held)
            held.clear()
    if held:
        yield bytes(held)
