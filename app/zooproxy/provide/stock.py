"""What the cache holds, and what its keeper may do about it: the one door for pinning and for removing."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from zooproxy.cache.cache_pins import CachePin, CachePins
from zooproxy.cache.index import Index
from zooproxy.errors import CacheError
from zooproxy.provide.periodic import repeated

_log = logging.getLogger(__name__)

FLUSH_SECONDS: Final = 5.0


class Stock:
    def __init__(self, pins: CachePins) -> None:
        self._pins = pins

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


@asynccontextmanager
async def open_stock(index: Index, pins: CachePins) -> AsyncIterator[Stock]:
    """The stock; uses are written down in the background, and for the last time on the way out."""
    async with repeated(index.uses.flush, FLUSH_SECONDS, "writing down what was used"):
        yield Stock(pins)
    try:
        await index.uses.flush()
    except CacheError as error:
        _log.warning("the last uses were not written down: %s", error)
