"""Names that the site's administrators have put: frozen values out, never rows."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from sqlalchemy import ColumnElement, and_, delete, func, select

from zooproxy.cache.database import Database
from zooproxy.cache.tables import microseconds, site_names
from zooproxy.digest import Sha256


@dataclass(frozen=True, slots=True)
class SiteName:
    """``details`` is a JSON object in UTF-8: what the administrator said about the checkpoint."""

    zoo: str
    name: str
    url: str
    sha256: Sha256 | None = None
    details: bytes = b"{}"


@dataclass(frozen=True, slots=True)
class Revision:
    """Differs whenever the names do: each change is later than all before it, or leaves fewer."""

    count: int
    newest: int


class SiteNames:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def all(self) -> tuple[SiteName, ...]:
        """By zoo and name."""
        query = select(site_names).order_by(site_names.c.zoo, site_names.c.name)
        async with self._database.read() as connection:
            rows = (await connection.execute(query)).all()
        return tuple(
            SiteName(row.zoo, row.name, row.url, Sha256(row.sha256) if row.sha256 else None, row.details)
            for row in rows
        )

    async def revision(self) -> Revision:
        query = select(func.count(), func.coalesce(func.max(site_names.c.put_at), 0)).select_from(site_names)
        async with self._database.read() as connection:
            count, newest = (await connection.execute(query)).one()
        return Revision(count, newest)

    async def put(self, name: SiteName) -> bool:
        """Whether it is new; one that is there is replaced."""
        values = {"zoo": name.zoo, "name": name.name, "url": name.url, "sha256": name.sha256, "details": name.details}
        async with self._database.write() as connection:
            newest = (await connection.execute(select(func.max(site_names.c.put_at)))).scalar_one()
            now = microseconds(datetime.now(UTC))
            replaced = await connection.execute(delete(site_names).where(_is(name.zoo, name.name)))
            await connection.execute(site_names.insert().values(**values, put_at=max(now, (newest or 0) + 1)))
        return replaced.rowcount == 0

    async def remove(self, zoo: str, name: str) -> bool:
        """Whether it was there."""
        async with self._database.write() as connection:
            removed = await connection.execute(delete(site_names).where(_is(zoo, name)))
        return removed.rowcount > 0


def _is(zoo: str, name: str) -> ColumnElement[bool]:
    return and_(site_names.c.zoo == zoo, site_names.c.name == name)
