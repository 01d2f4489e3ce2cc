"""Blobs are removed in two phases, under a claim: nobody finds a row without a file, and no publication is lost.

::

    claim      nobody publishes it meanwhile, in whatever process; one that is read is left alone
    mark       one transaction: every row that leads to it goes, one in ``departures`` comes
    unlink     the file, then its sidecar
    done       the row in ``departures`` goes

After a crash in between, ``finish`` goes on at the next start; a fill that publishes the same bytes before that wins.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass

from zooproxy.cache.departures import Departures, Leaving, Life
from zooproxy.cache.index import HeldSource
from zooproxy.cache.shelf import Shelf
from zooproxy.digest import Sha256
from zooproxy.errors import BlobAbsent, BlobCorrupt

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Removed:
    """``freed`` in bytes of the disk; ``busy`` were being read or published, and stay."""

    blobs: tuple[Leaving, ...]
    freed: int
    busy: frozenset[Sha256]


class Removal:
    def __init__(self, shelf: Shelf, departures: Departures) -> None:
        self._shelf = shelf
        self._departures = departures

    async def take(self, digests: Sequence[Sha256], *, read_too: bool = False, pinned_too: bool = False) -> Removed:
        """Removes those of ``digests`` that are held, not in use and not pinned, in this order.

        Raises:
            CacheError: the database or the disk failed; what was marked is removed by ``finish``.
        """
        async with self._shelf.store.claim(digests, read_too=read_too) as claim:
            claimed = [digest for digest in digests if digest in claim.sizes]
            leaving = await self._departures.mark(claimed, pinned_too=pinned_too)
            await self._unlink([one.sha256 for one in leaving])
        return Removed(leaving, sum(claim.sizes[one.sha256] for one in leaving), claim.busy)

    async def drop_damaged(self, held: HeldSource) -> None:
        """The row's blob seemed to be gone or not whole: if it still is, all that leads to it goes."""
        async with self._shelf.store.claim([held.sha256], read_too=True) as claim:
            if claim.busy or await self._is_whole(held):
                return  # somebody has published it meanwhile
            leaving = await self._departures.mark([held.sha256], pinned_too=True)
            await self._unlink([one.sha256 for one in leaving])

    async def finish(self) -> None:
        """Ends what others began and did not end.

        Raises:
            CacheError: the database or the disk failed; the rest stays for the next time.
        """
        for digest in await self._departures.all():
            async with self._shelf.store.claim([digest], read_too=True) as claim:
                # One that cannot be claimed is being removed by somebody who lives, or published again.
                if not claim.busy and await self._departures.life(digest) is Life.LEAVING:
                    _log.info("a removal that was interrupted is finished: %s", digest)
                    await self._unlink([digest])

    async def _unlink(self, digests: Sequence[Sha256]) -> None:
        gone = []
        try:
            for digest in digests:
                await self._shelf.store.remove(digest)
                gone.append(digest)
        finally:
            if gone:
                await self._departures.done(gone)

    async def _is_whole(self, held: HeldSource) -> bool:
        try:
            return (await self._shelf.store.open(held.sha256)).size == held.size
        except (BlobAbsent, BlobCorrupt):
            return False
