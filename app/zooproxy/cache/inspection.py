"""What the index knows for those who verify: which blobs are due, what was read out of them, whether it is sound."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import islice
from typing import Final

from sqlalchemy import case, delete, func, select, update

from zooproxy.cache.database import Database
from zooproxy.cache.inventory import PORTION
from zooproxy.cache.tables import blobs, microseconds, tensor_indexes
from zooproxy.digest import Sha256

_DOCUMENTS: Final = 16  # tensor indexes that are read at once: each may have megabytes


@dataclass(frozen=True, slots=True)
class HeldDigest:
    """``size`` in bytes."""

    sha256: Sha256
    size: int


class Inspection:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def size(self) -> int:
        """Bytes of all blobs that are held."""
        async with self._database.read() as connection:
            total: int | None = (await connection.execute(select(func.sum(blobs.c.size)))).scalar_one()
        return total or 0

    async def due(self, now: datetime, age: timedelta, limit: int) -> list[HeldDigest]:
        """Blobs that were last verified (or have come) at least ``age`` ago, the longest ago first.

        A time that is later than ``now`` was told by a clock that has been set back since: such blobs come first.
        """
        told = func.coalesce(blobs.c.verified_at, blobs.c.created_at)
        last = case((told > microseconds(now), 0), else_=told)
        query = select(blobs.c.sha256, blobs.c.size).where(last <= microseconds(now - age)).order_by(last).limit(limit)
        async with self._database.read() as connection:
            return [HeldDigest(Sha256(row.sha256), row.size) for row in await connection.execute(query)]

    async def mark_verified(self, digests: Iterable[Sha256], now: datetime) -> None:
        """They were read and are what they should be."""
        remaining = iter(digests)
        while some := list(islice(remaining, PORTION)):
            marking = update(blobs).where(blobs.c.sha256.in_(some)).values(verified_at=microseconds(now))
            async with self._database.write() as connection:
                await connection.execute(marking)

    async def tensor_indexes(self, reader_version: int) -> AsyncIterator[tuple[Sha256, int, bytes]]:
        """What is kept for that version of the reader: digest and size of the blob, and the document."""
        query = (
            select(blobs.c.sha256, blobs.c.size, tensor_indexes.c.document)
            .join_from(tensor_indexes, blobs)
            .where(tensor_indexes.c.reader_version == reader_version)
            .order_by(blobs.c.sha256)
            .limit(_DOCUMENTS)
        )
        after = ""
        while True:
            async with self._database.read() as connection:
                rows = (await connection.execute(query.where(blobs.c.sha256 > after))).all()
            for row in rows:
                yield Sha256(row.sha256), row.size, row.document
            if len(rows) < _DOCUMENTS:
                return
            after = rows[-1].sha256

    async def drop_tensor_index(self, sha256: Sha256) -> None:
        """It is read from the blob again when it is asked for."""
        async with self._database.write() as connection:
            await connection.execute(delete(tensor_indexes).where(tensor_indexes.c.sha256 == sha256))

    async def faults(self) -> list[str]:
        """What SQLite finds wrong with its file."""
        async with self._database.read() as connection:
            found = (await connection.exec_driver_sql("PRAGMA quick_check(20)")).scalars().all()
        return [] if found == ["ok"] else [str(fault) for fault in found]
