"""What the cache holds, and what its keeper may do about it: the one door for pinning and for removing.

Whoever must not lose a blob calls ``pin`` with its source's URL; whoever wants one gone for good calls ``remove``.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from zooproxy.cache.cache_pins import CachePin, CachePins
from zooproxy.cache.database import Database
from zooproxy.cache.departures import Departures, Leaving, Life
from zooproxy.cache.index import HeldSource
from zooproxy.cache.shelf import Shelf
from zooproxy.cache.space import Relieved, Space
from zooproxy.cache.stock_list import Mark, Page, StockList, Totals
from zooproxy.digest import Sha256
from zooproxy.errors import BlobAbsent, BlobInUse, BlobPinned, CacheError
from zooproxy.provide.events import Events
from zooproxy.provide.eviction import Eviction
from zooproxy.provide.periodic import repeated
from zooproxy.provide.removal import Removal

_log = logging.getLogger(__name__)

FLUSH_SECONDS: Final = 5.0
EVICTION_SECONDS: Final = 5.0


class Stock:
    """``open_stock`` makes one. ``space`` is what fills and derivations ask for room."""

    def __init__(self, shelf: Shelf, database: Database, events: Events, cap: int, spare: int) -> None:
        self._departures = Departures(database)
        self._pins = CachePins(database)
        self._list = StockList(database)
        self._events = events
        self.removal = Removal(shelf, self._departures)
        self.eviction = Eviction(shelf, self._list, self.removal, cap, events)
        self.space = Space(shelf.store.free_bytes, spare, self.eviction)

    async def pin(self, url: str, ref: str) -> tuple[CachePin, bool]:
        """The source is never evicted from now on, also if it is held only later; ``ref`` is what it is called.

        Answers with the pin, and whether it is new.
        """
        is_new = await self._pins.pin(url, ref)
        pin = await self._pins.of(url)
        if pin is None:
            raise CacheError("the source was unpinned while it was pinned; ask again")
        if is_new:
            _log.warning("pinned in the cache: %s", url)
        return pin, is_new

    async def unpin(self, url: str) -> bool:
        """It may be evicted again; whether it was pinned."""
        was_pinned = await self._pins.unpin(url)
        if was_pinned:
            _log.warning("no longer pinned in the cache: %s", url)
        return was_pinned

    async def pins(self) -> tuple[CachePin, ...]:
        """By name."""
        return await self._pins.all()

    async def remove(self, digest: Sha256, *, force: bool = False) -> tuple[Leaving, ...]:
        """Removes a blob for good, and what was derived from it; what went. ``force``: pinned or being read, too.

        Raises:
            BlobAbsent: it is not held.
            BlobPinned, BlobInUse: without ``force``; a blob that is just being published is in use even with it.
        """
        life = await self._departures.life(digest)
        if life is Life.GONE:
            raise BlobAbsent(f"no blob {digest} is held")
        if life is Life.LEAVING:
            await self.removal.finish()
            return ()
        derived = await self._list.derived_from([digest])
        removed = await self.removal.take([digest], read_too=force, pinned_too=force)
        if digest in removed.busy:
            raise BlobInUse(f"the blob {digest} is being read or published; try again, or force it")
        if not removed.blobs and await self._departures.life(digest) is Life.HELD:
            raise BlobPinned(f"a source of the blob {digest} is pinned in the cache; unpin it, or force it")
        removed_too = await self.removal.take(derived, read_too=force) if derived else None
        gone = removed.blobs + (removed_too.blobs if removed_too else ())
        for one in gone:
            _log.warning("removed from the cache: %s, of %s", one.sha256, ", ".join(one.urls) or "nothing")
            self._events.tell("removed", {"sha256": one.sha256, "size": one.size, "urls": list(one.urls)})
        return gone

    async def drop_damaged(self, held: HeldSource) -> None:
        """What seemed not to be whole is removed, if it still is not: it is fetched again when it is wanted."""
        await self.removal.drop_damaged(held)

    async def shrink(self, to: int | None = None) -> Relieved:
        """Evicts down to ``to`` bytes, or the cap: what of that could be done, and what was in its way."""
        target = to if to is not None else self.eviction.cap
        return Relieved() if to is None and not target else await self.eviction.shrink(target)

    async def totals(self) -> Totals:
        return await self._list.totals()

    async def leaving(self) -> tuple[int, int]:
        """How many blobs are being removed, and their bytes."""
        return await self._departures.totals()

    async def page(self, find: str, limit: int, after: Mark | None = None) -> Page:
        """Blobs, the first to leave first; see ``StockList.page``."""
        return await self._list.page(find, limit, after)


@asynccontextmanager
async def open_stock(
    shelf: Shelf, database: Database, events: Events, cap: int = 0, spare: int = 0
) -> AsyncIterator[Stock]:
    """The stock; removals that a crash interrupted are ended first.

    What was used is written down in the background, and for the last time on the way out; what is too much is evicted.
    ``cap`` in bytes, 0 for any; ``spare`` bytes of the disk stay free.
    """
    stock, uses = Stock(shelf, database, events, cap, spare), shelf.index.uses
    try:
        await stock.removal.finish()
    except CacheError as error:  # what is held can be served all the same; the background tries again
        _log.warning("removals that were interrupted are not ended yet: %s", error)
    async with (
        repeated(uses.flush, FLUSH_SECONDS, "writing down what was used"),
        repeated(stock.eviction.keep_within, EVICTION_SECONDS, "keeping the cache within its size"),
    ):
        yield stock
    await stock.eviction.close()
    try:
        await uses.flush()
    except CacheError as error:
        _log.warning("the last uses were not written down: %s", error)
