"""Blobs on their way out: deletion has two phases, so that nobody finds a row without a file.

A blob is *marked* in one transaction: all rows that lead to it go, and one here says what is left to do. Then the file
goes, then that row. A crash in between leaves the row, and the next start ends the work.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum

from sqlalchemy import delete, func, not_, select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from zooproxy.cache.cache_pins import is_pinned
from zooproxy.cache.database import Database
from zooproxy.cache.tables import OF_A_BLOB, blobs, departures, microseconds, sources
from zooproxy.digest import Sha256


class Life(Enum):
    """A blob's life: from nothing to ``held`` when it is published, to ``leaving`` when it is marked, to ``gone``.

    From ``leaving`` it is ``held`` again if it is published before its file goes.
    """

    HELD = "held"
    LEAVING = "leaving"
    GONE = "gone"


@dataclass(frozen=True, slots=True)
class Leaving:
    """A blob that was marked: ``size`` in bytes; ``urls`` are the sources that it was held for."""

    sha256: Sha256
    size: int
    urls: tuple[str, ...]


class Departures:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def mark(self, digests: Sequence[Sha256], *, pinned_too: bool = False) -> tuple[Leaving, ...]:
        """From now on nobody finds those of ``digests`` that are held (and not pinned): they are leaving.

        The caller has claimed them (``BlobStore.claim``), so that nobody publishes them meanwhile.
        """
        wanted = select(blobs.c.sha256, blobs.c.size).where(blobs.c.sha256.in_(list(digests)))
        if not pinned_too:
            wanted = wanted.where(not_(is_pinned()))
        now = microseconds(datetime.now(UTC))
        async with self._database.write() as connection:
            sizes = {Sha256(sha256): size for sha256, size in await connection.execute(wanted)}
            found = [digest for digest in digests if digest in sizes]
            leaving = [Leaving(digest, sizes[digest], await _urls(connection, digest)) for digest in found]
            for one in leaving:
                going = insert(departures).values(sha256=one.sha256, size=one.size, since=now)
                await connection.execute(going.on_conflict_do_nothing())
                for table in OF_A_BLOB:
                    await connection.execute(delete(table).where(table.c.sha256 == one.sha256))
        return tuple(leaving)

    async def done(self, digests: Collection[Sha256]) -> None:
        """Their files are gone."""
        async with self._database.write() as connection:
            await connection.execute(delete(departures).where(departures.c.sha256.in_(list(digests))))

    async def all(self) -> tuple[Sha256, ...]:
        """Those that are leaving: being removed now, or left by a process that died."""
        async with self._database.read() as connection:
            rows = await connection.execute(select(departures.c.sha256).order_by(departures.c.since))
            return tuple(Sha256(digest) for digest in rows.scalars())

    async def totals(self) -> tuple[int, int]:
        """How many are leaving, and their bytes."""
        async with self._database.read() as connection:
            query = select(func.count(), func.coalesce(func.sum(departures.c.size), 0)).select_from(departures)
            count, size = (await connection.execute(query)).one()
        return count, size

    async def life(self, sha256: Sha256) -> Life:
        async with self._database.read() as connection:
            for table, life in ((blobs, Life.HELD), (departures, Life.LEAVING)):
                found = await connection.execute(select(table.c.sha256).where(table.c.sha256 == sha256))
                if found.one_or_none() is not None:
                    return life
        return Life.GONE


async def _urls(connection: AsyncConnection, sha256: str) -> tuple[str, ...]:
    query = select(sources.c.url).where(sources.c.sha256 == sha256).order_by(sources.c.url)
    return tuple((await connection.execute(query)).scalars())
