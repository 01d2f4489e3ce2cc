"""What the watch asks about: every source that is held, pinned to a digest, or pinned in the cache."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final

from zooproxy.cache.cache_pins import CachePins
from zooproxy.cache.index import Index
from zooproxy.cache.shelf import DERIVED
from zooproxy.errors import ZooproxyError
from zooproxy.fetch.policy import scheme_of
from zooproxy.fetch.proof import Wanted
from zooproxy.names.reference import parse
from zooproxy.provide.names import Names
from zooproxy.provide.pins import Pins

#: The schemes that are watched: sources that somebody else keeps, and that can be asked about without fetching.
KINDS: Final = frozenset({"http", "https", "s3"})


class WatchedSources:
    def __init__(self, names: Names, pins: Pins, index: Index, cache_pins: CachePins) -> None:
        self._names = names
        self._pins = pins
        self._index = index
        self._cache_pins = cache_pins

    async def all(self) -> Sequence[Wanted]:
        """By URL, with what is known of their bytes."""
        held = [source.url for source in await self._index.sources() if not source.url.startswith(DERIVED)]
        kept = [pin.url for pin in await self._cache_pins.all()]
        urls = sorted({*held, *kept, *self._pins.urls()})
        return await asyncio.to_thread(self._wanted, [url for url in urls if scheme_of(url) in KINDS])

    def _wanted(self, urls: Sequence[str]) -> Sequence[Wanted]:
        catalog, found = self._names.catalog, []
        for url in urls:
            try:
                found.append(self._pins.wanted(catalog.resolve(parse(url))))
            except ZooproxyError:  # nothing that could be asked for any more
                continue
        return found
