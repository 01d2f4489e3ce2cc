"""Trust on first sight: which bytes a source had when it was first proven, and what it delivered against that.

The row outlives the blob: a source that was evicted, or lost, and comes back with other bytes is a source that changed.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import Row, delete, select, update
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from zooproxy.cache.database import Database
from zooproxy.cache.recent import Recent
from zooproxy.cache.tables import microseconds, moment, sources, trust
from zooproxy.digest import Sha256


@dataclass(frozen=True, slots=True)
class Trusted:
    """``sha256`` is what the source must have; ``refused`` what it delivered instead, the last time it was asked.

    ``accepted_at``: an operator said so; otherwise it is what was seen first, at ``since``. Times in UTC.
    """

    url: str
    sha256: Sha256
    since: datetime
    accepted_at: datetime | None
    refused: Sha256 | None


class Trust:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: Recent[str, Trusted | None] = Recent(database.stamp)

    async def of(self, url: str) -> Trusted | None:
        return await self._known.get(url, lambda: self._read(url))

    async def _read(self, url: str) -> Trusted | None:
        query = select(trust).where(trust.c.url == url)
        async with self._database.read() as connection:
            row = (await connection.execute(query)).one_or_none()
        return None if row is None else _trusted(row)

    async def all(self) -> dict[str, Trusted]:
        """Every source that was ever seen, by URL."""
        async with self._database.read() as connection:
            return {row.url: _trusted(row) for row in await connection.execute(select(trust))}

    async def refuse(self, url: str, actual: Sha256) -> None:
        """The source delivered ``actual`` and was not believed."""
        async with self._database.write() as connection:
            refusing = update(trust).where(trust.c.url == url)
            await connection.execute(refusing.values(refused_sha256=actual, refused_at=_now()))

    async def accept(self, url: str, sha256: Sha256) -> None:
        """An operator's word: the source must have ``sha256``; what is held of it otherwise is fetched anew."""
        now = _now()
        values: dict[str, Any] = {"sha256": sha256, "since": now, "accepted_at": now}
        cleared = {"refused_sha256": None, "refused_at": None}
        accepting = insert(trust).values(url=url, **values, **cleared)
        accepting = accepting.on_conflict_do_update(index_elements=[trust.c.url], set_={**values, **cleared})
        async with self._database.write() as connection:
            await connection.execute(accepting)
            await connection.execute(delete(sources).where(sources.c.url == url, sources.c.sha256 != sha256))


async def see(connection: AsyncConnection, seen: Iterable[tuple[str, Sha256, datetime]]) -> None:
    """Within the transaction that publishes: the sources have these bytes since then, and are believed."""
    rows = [
        {"url": url, "sha256": sha256, "since": microseconds(since), "refused_sha256": None, "refused_at": None}
        for url, sha256, since in seen
    ]
    seeing = insert(trust)
    values = {name: seeing.excluded[name] for name in ("sha256", "refused_sha256", "refused_at")}
    await connection.execute(seeing.on_conflict_do_update(index_elements=[trust.c.url], set_=values), rows)


def _trusted(row: Row[Any]) -> Trusted:
    refused = None if row.refused_sha256 is None else Sha256(row.refused_sha256)
    accepted_at = None if row.accepted_at is None else moment(row.accepted_at)
    return Trusted(row.url, Sha256(row.sha256), moment(row.since), accepted_at, refused)


def _now() -> int:
    return microseconds(datetime.now(UTC))
