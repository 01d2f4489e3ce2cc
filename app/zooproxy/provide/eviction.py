"""Eviction: what is least wanted leaves when something else needs its room, or when more is held than may be.

What is pinned, read, published or being derived from stays. Who leaves first: ``cache.eviction_order``.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine, Iterable, Sequence
from typing import Any, Final, TypeVar

from zooproxy.cache.shelf import Shelf
from zooproxy.cache.space import Relief, Relieved, Room
from zooproxy.cache.stock_list import StockList
from zooproxy.digest import Sha256
from zooproxy.provide.events import Events
from zooproxy.provide.removal import Removal

_log = logging.getLogger(__name__)

BATCH: Final = 64  # blobs that leave in one transaction, and descriptors that are open for it
PATIENCE: Final = 30.0  # seconds for an eviction in another process
_PAUSES: Final = (0.1, 0.4)  # seconds for those who are about to be done with reading or publishing

_NOTHING: Final = Room()

_T = TypeVar("_T")


class Eviction(Relief):
    """``cap`` in bytes, 0 for any; one eviction at a time in all processes on the data directory."""

    def __init__(self, shelf: Shelf, stock_list: StockList, removal: Removal, cap: int, events: Events) -> None:
        self.cap = cap
        self._shelf = shelf
        self._list = stock_list
        self._removal = removal
        self._events = events
        self._turn = asyncio.Lock()
        self._running: set[asyncio.Task[Any]] = set()
        self._spared: frozenset[Sha256] = frozenset()

    def spare(self, digests: Iterable[Sha256]) -> None:
        """None of ``digests`` leaves for anything that this process asks room for: it needs them itself."""
        self._spared |= frozenset(digests)

    async def left(self) -> int | None:
        return None if not self.cap else self.cap - await self._list.bytes()

    async def make(self, room: Room) -> Relieved:
        return await self._carried_out(self._make(room))

    async def shrink(self, to: int) -> Relieved:
        """Evicts what can be until at most ``to`` bytes are held."""
        return await self._carried_out(self._shrink(to))

    async def keep_within(self) -> None:
        """Ends removals that were interrupted, and evicts what is too much."""
        await self._removal.finish()
        left = await self.left()
        if left is not None and left < 0:
            await self.shrink(self.cap)

    async def close(self) -> None:
        """Waits until what runs has ended: a removal is not left half done without need."""
        await asyncio.gather(*self._running, return_exceptions=True)

    async def _make(self, room: Room) -> Relieved:
        async with self._turn, self._shelf.store.alone("eviction", PATIENCE):
            totals = await self._list.totals()
            if await self._list.evictable(self._spared) < max(room.disk, room.held):
                return Relieved(pinned=totals.pinned_bytes)
            relieved = await self._evict(room, totals.pinned_bytes)
            for pause in _PAUSES:
                if relieved.room.covers(room) or not relieved.in_use:
                    break
                await asyncio.sleep(pause)
                relieved = await self._evict(room, totals.pinned_bytes, relieved.room)
            return relieved

    async def _shrink(self, to: int) -> Relieved:
        async with self._turn, self._shelf.store.alone("eviction", PATIENCE):
            totals = await self._list.totals()
            return await self._evict(Room(held=max(0, totals.bytes - to)), totals.pinned_bytes)

    async def _evict(self, room: Room, pinned: int, made: Room = _NOTHING) -> Relieved:
        await self._shelf.index.uses.flush()
        in_use, staying = 0, set(self._spared)
        while not made.covers(room):
            lacking = max(room.disk - made.disk, room.held - made.held)
            chosen = _enough(await self._list.first_out(staying, BATCH), lacking)
            if not chosen:
                break
            removed = await self._removal.take(list(chosen))
            gone = {one.sha256 for one in removed.blobs}
            staying |= chosen.keys() - gone
            in_use += sum(chosen[digest] for digest in removed.busy)
            made = Room(made.disk + removed.freed, made.held + sum(one.size for one in removed.blobs))
            for one in removed.blobs:
                _log.info("evicted: %s, %d bytes, of %s", one.sha256, one.size, ", ".join(one.urls) or "nothing")
                self._events.tell("evicted", {"sha256": one.sha256, "size": one.size, "urls": list(one.urls)})
        return Relieved(made, pinned, in_use)

    async def _carried_out(self, work: Coroutine[Any, Any, _T]) -> _T:
        """To its end, also if its caller is cancelled."""
        task = asyncio.create_task(work)
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        return await asyncio.shield(task)


def _enough(candidates: Sequence[tuple[Sha256, int]], size: int) -> dict[Sha256, int]:
    """The first of ``candidates`` that have ``size`` bytes together, or all."""
    chosen: dict[Sha256, int] = {}
    for digest, its_size in candidates:
        if sum(chosen.values()) >= size:
            break
        chosen[digest] = its_size
    return chosen
