"""Sources that are never evicted: pinned by an operator, or by whatever must not lose its only copy."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import ColumnElement, Row, delete, exists, select
from sqlalchemy.dialects.sqlite import insert

from zooproxy.cache.database import Database
from zooproxy.cache.tables import blobs, cache_pins, microseconds, moment, sources
from zooproxy.digest import Sha256


@dataclass(frozen=True, slots=True)
class CachePin:
    """``ref`` is what the source of ``url`` was called when it was pinned, in UTC ``since``.

    ``sha256`` is what is held of it; a source may be pinned before it is held.
    """

    url: str
    ref: str
    since: datetime
    sha256: Sha256 | None


class CachePins:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def pin(self, url: str, ref: str) -> bool:
        """Whether it is new; of one that is there, name and time stay."""
        row = insert(cache_pins).values(url=url, ref=ref, since=microseconds(datetime.now(UTC)))
        async with self._database.write() as connection:
            pinned = await connection.execute(row.on_conflict_do_nothing())
        return pinned.rowcount > 0

    async def unpin(self, url: str) -> bool:
        """Whether it was pinned."""
        async with self._database.write() as connection:
            unpinned = await connection.execute(delete(cache_pins).where(cache_pins.c.url == url))
        return unpinned.rowcount > 0

    async def of(self, url: str) -> CachePin | None:
        return next(iter(await self._read(cache_pins.c.url == url)), None)

    async def all(self) -> tuple[CachePin, ...]:
        """By name."""
        return await self._read()

    async def _read(self, *conditions: ColumnElement[bool]) -> tuple[CachePin, ...]:
        query = select(cache_pins, sources.c.sha256).outerjoin(sources, sources.c.url == cache_pins.c.url)
        query = query.where(*conditions).order_by(cache_pins.c.ref, cache_pins.c.url)
        async with self._database.read() as connection:
            return tuple(_cache_pin(row) for row in await connection.execute(query))


def is_pinned() -> ColumnElement[bool]:
    """Of a row of ``blobs``: one of its sources is pinned."""
    pinned = select(sources.c.url).join(cache_pins, cache_pins.c.url == sources.c.url)
    return exists(pinned.where(sources.c.sha256 == blobs.c.sha256).correlate(blobs))


def _cache_pin(row: Row[tuple[str, str, int, str | None]]) -> CachePin:
    return CachePin(row.url, row.ref, moment(row.since), None if row.sha256 is None else Sha256(row.sha256))
