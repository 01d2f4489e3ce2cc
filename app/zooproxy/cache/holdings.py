"""Which sources are held, asked for many at once."""

from __future__ import annotations

from collections.abc import Collection

from sqlalchemy import select

from zooproxy.cache.database import Database
from zooproxy.cache.tables import sources


class Holdings:
    """URLs of sources whose bytes are held; whether those are still the ones wanted, ``Index.held`` tells."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def urls(self) -> frozenset[str]:
        """All of them."""
        async with self._database.read() as connection:
            return frozenset((await connection.execute(select(sources.c.url))).scalars())

    async def among(self, urls: Collection[str]) -> frozenset[str]:
        """Those of ``urls`` (a page's worth: one statement) that are held."""
        if not urls:
            return frozenset()
        query = select(sources.c.url).where(sources.c.url.in_(list(urls)))
        async with self._database.read() as connection:
            return frozenset((await connection.execute(query)).scalars())

    async def of_digest(self, digits: str) -> tuple[str, ...]:
        """The URLs from which a file came whose sha256 begins with ``digits`` (lower case), in order."""
        query = select(sources.c.url).where(sources.c.sha256.startswith(digits)).order_by(sources.c.url)
        async with self._database.read() as connection:
            return tuple((await connection.execute(query)).scalars())
