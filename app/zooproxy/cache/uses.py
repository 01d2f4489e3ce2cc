"""When and how often each blob was used: gathered in memory, written down in one transaction every few seconds.

The time is for people to read. The order in which blobs leave goes by ``priority`` alone (``cache.eviction_order``).
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from itertools import islice
from typing import Any, Final

from sqlalchemy import func, select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from zooproxy.cache.database import Database
from zooproxy.cache.eviction_order import EvictionOrder, LeastRecentlyUsed, Marks
from zooproxy.cache.tables import blobs, uses
from zooproxy.digest import Sha256

_PER_STATEMENT: Final = 500


@dataclass(slots=True)
class _Noted:
    """``last_at`` in microseconds since 1970."""

    count: int
    last_at: int


class Uses:
    """The uses of one process; other processes on the same database write down their own."""

    def __init__(self, database: Database, order: EvictionOrder | None = None) -> None:
        self._database = database
        self._order = order or LeastRecentlyUsed()
        self._noted: dict[Sha256, _Noted] = {}

    def note(self, sha256: Sha256) -> None:
        """A use, now; costs no more than a dictionary."""
        noted = self._noted.pop(sha256, None)  # taken out and put in: the dictionary's order is that of last use
        self._noted[sha256] = _Noted(1 + (noted.count if noted else 0), time.time_ns() // 1000)

    async def flush(self) -> None:
        """Writes down what was noted; blobs that are no longer held are passed over.

        Raises:
            CacheError: the database cannot be written; what was noted is kept for the next time.
        """
        noted, self._noted = self._noted, {}
        if not noted:
            return
        try:
            async with self._database.write() as connection:
                await self._write(connection, noted)
        except BaseException:
            self._put_back(noted)
            raise

    async def admit(self, connection: AsyncConnection, sha256: Sha256, size: int) -> None:
        """Within the transaction that publishes: a blob that was not held, or that comes again, is the newest."""
        await self.admit_all(connection, [(sha256, size)])

    async def admit_all(self, connection: AsyncConnection, blobs: Iterable[tuple[Sha256, int]]) -> None:
        """As ``admit``, of many, each with its size; the last of them is the newest."""
        marks = await _marks(connection)
        rows = []
        for sha256, size in blobs:
            priority = self._order.priority(marks, size, 0)
            marks = replace(marks, highest=max(marks.highest, priority))
            rows.append({"sha256": sha256, "count": 0, "priority": priority})
        coming = insert(uses)
        newest = {"priority": coming.excluded.priority}
        if rows:
            await connection.execute(coming.on_conflict_do_update(index_elements=[uses.c.sha256], set_=newest), rows)

    async def _write(self, connection: AsyncConnection, noted: Mapping[Sha256, _Noted]) -> None:
        marks = await _marks(connection)
        held = await _held(connection, noted)
        rows = []
        for sha256, use in noted.items():
            if sha256 not in held:
                continue
            size, count = held[sha256]
            priority = self._order.priority(marks, size, count + use.count)
            marks = replace(marks, highest=max(marks.highest, priority))
            rows.append({"sha256": sha256, "count": count + use.count, "last_at": use.last_at, "priority": priority})
        if rows:
            using = insert(uses)
            changed = {name: using.excluded[name] for name in ("count", "last_at", "priority")}
            await connection.execute(using.on_conflict_do_update(index_elements=[uses.c.sha256], set_=changed), rows)

    def _put_back(self, noted: dict[Sha256, _Noted]) -> None:
        """Before what was noted meanwhile, which is later."""
        later, self._noted = self._noted, noted
        for sha256, use in later.items():
            earlier = noted.pop(sha256, None)
            noted[sha256] = _Noted(use.count + (earlier.count if earlier else 0), use.last_at)


async def _marks(connection: AsyncConnection) -> Marks:
    row = (await connection.execute(select(func.min(uses.c.priority), func.max(uses.c.priority)))).one()
    return Marks() if row[0] is None else Marks(*row)


async def _held(connection: AsyncConnection, noted: Mapping[Sha256, Any]) -> dict[Sha256, tuple[int, int]]:
    """Size and count so far of those that are held."""
    found = {}
    for some in _portions(noted):
        query = (
            select(blobs.c.sha256, blobs.c.size, func.coalesce(uses.c.count, 0).label("count"))
            .join_from(blobs, uses, isouter=True)
            .where(blobs.c.sha256.in_(some))
        )
        for row in await connection.execute(query):
            found[Sha256(row.sha256)] = (row.size, row[2])
    return found


def _portions(noted: Mapping[Sha256, Any]) -> Iterator[list[Sha256]]:
    digests = iter(noted)
    while some := list(islice(digests, _PER_STATEMENT)):
        yield some
