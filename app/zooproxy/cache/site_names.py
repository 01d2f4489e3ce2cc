"""Names that the site's administrators have put: frozen values out, never rows."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from sqlalchemy import ColumnElement, and_, delete, func, or_, select
from sqlalchemy.ext.asyncio import AsyncConnection

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


@dataclass(frozen=True, slots=True)
class Together:
    """What names that were put together ``replaced``; or, where none of them was put, what was ``in_the_way``."""

    replaced: tuple[SiteName, ...] = ()
    in_the_way: SiteName | None = None


class SiteNames:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def all(self) -> tuple[SiteName, ...]:
        """By zoo and name."""
        query = select(site_names).order_by(site_names.c.zoo, site_names.c.name)
        async with self._database.read() as connection:
            rows = (await connection.execute(query)).all()
        return tuple(map(_site_name, rows))

    async def revision(self) -> Revision:
        query = select(func.count(), func.coalesce(func.max(site_names.c.put_at), 0)).select_from(site_names)
        async with self._database.read() as connection:
            count, newest = (await connection.execute(query)).one()
        return Revision(count, newest)

    async def put(self, name: SiteName) -> bool:
        """Whether it is new; one that is there is replaced."""
        async with self._database.write() as connection:
            return await _put(connection, name)

    async def put_together(self, names: Sequence[SiteName], fixed: SiteName | None = None) -> Together:
        """Puts all ``names``, or none where ``fixed`` is there with another digest."""
        async with self._database.write() as connection:
            there = None if fixed is None else await _at(connection, fixed.zoo, fixed.name)
            if there is not None and fixed is not None and there.sha256 != fixed.sha256:
                return Together(in_the_way=there)
            before = [await _at(connection, name.zoo, name.name) for name in names]
            for name in names:
                await _put(connection, name)
        return Together(tuple(one for one in before if one is not None))

    async def at(self, zoo: str, name: str) -> SiteName | None:
        async with self._database.read() as connection:
            return await _at(connection, zoo, name)

    async def remove_with_tags(self, zoo: str, name: str, urls: str) -> tuple[SiteName, ...]:
        """Removes ``name`` and every ``name@…`` whose URL begins with ``urls``; answers what they were."""
        tagged = site_names.c.name.startswith(f"{name}@", autoescape=True)
        those = and_(
            site_names.c.zoo == zoo,
            or_(site_names.c.name == name, tagged),
            site_names.c.url.startswith(urls, autoescape=True),
        )
        async with self._database.write() as connection:
            rows = (await connection.execute(select(site_names).where(those))).all()
            await connection.execute(delete(site_names).where(those))
        return tuple(map(_site_name, rows))

    async def is_named(self, url: str) -> bool:
        """Whether a name leads to ``url``."""
        async with self._database.read() as connection:
            found = await connection.execute(select(site_names.c.name).where(site_names.c.url == url).limit(1))
            return found.one_or_none() is not None

    async def remove(self, zoo: str, name: str) -> bool:
        """Whether it was there."""
        async with self._database.write() as connection:
            removed = await connection.execute(delete(site_names).where(_is(zoo, name)))
        return removed.rowcount > 0


async def _at(connection: AsyncConnection, zoo: str, name: str) -> SiteName | None:
    row = (await connection.execute(select(site_names).where(_is(zoo, name)))).one_or_none()
    return None if row is None else _site_name(row)


async def _put(connection: AsyncConnection, name: SiteName) -> bool:
    values = {"zoo": name.zoo, "name": name.name, "url": name.url, "sha256": name.sha256, "details": name.details}
    newest = (await connection.execute(select(func.max(site_names.c.put_at)))).scalar_one()
    now = microseconds(datetime.now(UTC))
    replaced = await connection.execute(delete(site_names).where(_is(name.zoo, name.name)))
    await connection.execute(site_names.insert().values(**values, put_at=max(now, (newest or 0) + 1)))
    return replaced.rowcount == 0


def _site_name(row: Any) -> SiteName:
    return SiteName(row.zoo, row.name, row.url, Sha256(row.sha256) if row.sha256 else None, row.details)


def _is(zoo: str, name: str) -> ColumnElement[bool]:
    return and_(site_names.c.zoo == zoo, site_names.c.name == name)
