"""Tokens that operators have made: frozen values out, never rows. Times are microseconds since 1970-01-01 UTC."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from sqlalchemy import func, select, update

from zooproxy.cache.database import Database
from zooproxy.cache.recent import Recent
from zooproxy.cache.tables import tokens
from zooproxy.digest import Sha256


@dataclass(frozen=True, slots=True)
class Token:
    """``scope`` is one of ``wire.access.SCOPES``; ``zoos`` are all it is for, None sets no limit."""

    id: str
    secret_sha256: Sha256
    scope: str
    zoos: frozenset[str] | None
    note: str
    created_at: int
    expires_at: int | None = None
    revoked_at: int | None = None
    used_at: int | None = None

    def is_valid(self, now: int) -> bool:
        return self.revoked_at is None and (self.expires_at is None or now < self.expires_at)


class Tokens:
    def __init__(self, database: Database) -> None:
        self._database = database
        self._known: Recent[None, Mapping[str, Token]] = Recent(database.stamp)

    async def known(self) -> Mapping[str, Token]:
        """All of them by id, in the order of their making; asked anew only when somebody has written."""
        return await self._known.get(None, self._read)

    async def _read(self) -> Mapping[str, Token]:
        query = select(tokens).order_by(tokens.c.created_at, tokens.c.id)
        async with self._database.read() as connection:
            rows = (await connection.execute(query)).mappings().all()
        return {row["id"]: _token(row) for row in rows}

    async def add(self, token: Token) -> None:
        zoos = None if token.zoos is None else " ".join(sorted(token.zoos))
        async with self._database.write() as connection:
            await connection.execute(tokens.insert().values({**asdict(token), "zoos": zoos}))

    async def revoke(self, id: str, now: int) -> bool:  # noqa: A002  # the wire's word
        """Whether there is one with this id; one that is revoked already stays so."""
        revoking = update(tokens).where(tokens.c.id == id)
        revoking = revoking.values(revoked_at=func.coalesce(tokens.c.revoked_at, now))
        async with self._database.write() as connection:
            return (await connection.execute(revoking)).rowcount > 0

    async def used(self, times: Mapping[str, int]) -> None:
        """When each was last used, by id; a time that is known already and later stays."""
        async with self._database.write() as connection:
            for id, at in times.items():  # noqa: A001  # the wire's word
                using = update(tokens).where(tokens.c.id == id, func.coalesce(tokens.c.used_at, 0) < at)
                await connection.execute(using.values(used_at=at))


def _token(row: Mapping[Any, Any]) -> Token:
    zoos = None if row["zoos"] is None else frozenset(row["zoos"].split())
    return Token(**{**row, "zoos": zoos, "secret_sha256": Sha256(row["secret_sha256"])})
