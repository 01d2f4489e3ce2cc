"""The stock as it is told to clients."""

from __future__ import annotations

import base64
import json
from collections.abc import Sequence
from typing import Final

from zooproxy.cache.cache_pins import CachePin
from zooproxy.cache.departures import Leaving
from zooproxy.cache.stock_list import Mark, Page, Stocked
from zooproxy.errors import BadRequest, ZooproxyError
from zooproxy.names.catalog import Catalog
from zooproxy.names.reference import parse
from zooproxy.provide.stock import Stock
from zooproxy.wire.cache import CacheAnswer, CachedBlobAnswer, CachedBlobsAnswer, CachePinAnswer, RemovedAnswer

MAX_FIND: Final = 2048


class StockReports:
    def __init__(self, stock: Stock, catalog: Catalog) -> None:
        self._stock = stock
        self._catalog = catalog

    async def totals(self) -> CacheAnswer:
        totals = await self._stock.totals()
        leaving, leaving_bytes = await self._stock.leaving()
        return CacheAnswer(
            blobs=totals.blobs,
            bytes=totals.bytes,
            cap_bytes=self._stock.eviction.cap,
            free_bytes=await self._stock.space.available(),
            pinned_blobs=totals.pinned_blobs,
            pinned_bytes=totals.pinned_bytes,
            derived_blobs=totals.derived_blobs,
            derived_bytes=totals.derived_bytes,
            leaving_blobs=leaving,
            leaving_bytes=leaving_bytes,
        )

    async def page(self, find: str, limit: int, cursor: str | None) -> CachedBlobsAnswer:
        """``find`` is a reference, part of a URL, or the beginning of a digest; all if it is empty.

        Raises:
            BadRequest: the cursor is none.
        """
        page = await self._stock.page(self._sought(find), limit, _mark(cursor) if cursor else None)
        return CachedBlobsAnswer([self._blob(one) for one in page.blobs], _cursor(page))

    async def shrink(self, to: int | None) -> RemovedAnswer:
        before = await self._stock.totals()
        relieved = await self._stock.shrink(to)
        after = await self._stock.totals()
        blobs = max(0, before.blobs - after.blobs)
        return RemovedAnswer(blobs, relieved.room.held, after.bytes, relieved.pinned, relieved.in_use)

    async def removed(self, gone: Sequence[Leaving]) -> RemovedAnswer:
        totals = await self._stock.totals()
        return RemovedAnswer(len(gone), sum(one.size for one in gone), totals.bytes, totals.pinned_bytes, 0)

    def _sought(self, find: str) -> str:
        """A reference's source, so that whatever it is called is found."""
        try:
            return self._catalog.resolve(parse(find)).source.url
        except ZooproxyError:
            return find

    def _blob(self, stocked: Stocked) -> CachedBlobAnswer:
        return CachedBlobAnswer(
            sha256=stocked.sha256,
            size=stocked.size,
            sources=list(stocked.urls),
            refs=list(dict.fromkeys(ref for url in stocked.urls for ref in self._catalog.naming(url))),
            created_at=stocked.created_at.isoformat(timespec="seconds"),
            last_used_at=stocked.last_used_at.isoformat(timespec="seconds") if stocked.last_used_at else None,
            uses=stocked.uses,
            pinned=stocked.pinned,
            derived=stocked.derived,
        )


def pin_answer(pin: CachePin) -> CachePinAnswer:
    return CachePinAnswer(pin.ref, pin.url, pin.since.isoformat(timespec="seconds"), pin.sha256)


def _cursor(page: Page) -> str | None:
    if page.next is None:
        return None
    return base64.urlsafe_b64encode(json.dumps(page.next).encode()).decode().rstrip("=")


def _mark(cursor: str) -> Mark:
    try:
        original, rank, digest = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        return int(original), float(rank), str(digest)
    except (ValueError, TypeError, OverflowError, RecursionError) as error:
        raise BadRequest("the cursor is none that a page gave; begin without one") from error
