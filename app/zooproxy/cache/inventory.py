"""The whole index at once: what it says is held, and what it takes over from sidecars."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from itertools import islice
from typing import Any, Final

from sqlalchemy import select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from zooproxy.cache.database import Database
from zooproxy.cache.shelf import DERIVED
from zooproxy.cache.sidecars import Origin, Sidecar
from zooproxy.cache.tables import blobs, departures, microseconds, moment, sources, trust
from zooproxy.cache.uses import Uses
from zooproxy.digest import Sha256

PORTION: Final = 500
"""How many blobs one transaction deals with: the write lock is held for moments only."""


class Inventory:
    """``uses`` are those of the index over the same database."""

    def __init__(self, database: Database, uses: Uses) -> None:
        self._database = database
        self._uses = uses

    async def blobs(self) -> dict[Sha256, int]:
        """The size in bytes of every blob that is held."""
        async with self._database.read() as connection:
            rows = await connection.execute(select(blobs.c.sha256, blobs.c.size))
            return {Sha256(row.sha256): row.size for row in rows}

    async def is_empty(self) -> bool:
        async with self._database.read() as connection:
            return (await connection.execute(select(blobs.c.sha256).limit(1))).one_or_none() is None

    async def origins(self, digest: Sha256 | None = None) -> dict[Sha256, list[Origin]]:
        """What the sidecar of each blob, or of that one, has to say; derived blobs are not among them."""
        query = (
            select(sources.c.url, sources.c.sha256, sources.c.filled_at, trust)
            .join_from(sources, trust, sources.c.url == trust.c.url)
            .where(~sources.c.url.startswith(DERIVED))
            .order_by(sources.c.url)
        )
        if digest is not None:
            query = query.where(sources.c.sha256 == digest)
        found = defaultdict(list)
        async with self._database.read() as connection:
            for url, sha256, filled_at, _, trusted, since, accepted_at, *_ in await connection.execute(query):
                accepted = None if accepted_at is None else moment(accepted_at)
                origin = Origin(url, moment(filled_at), Sha256(trusted), moment(since), accepted)
                found[Sha256(sha256)].append(origin)
        return dict(found)

    async def adopt(self, sidecars: Iterable[Sidecar], *, together: bool = False) -> int:
        """Takes over what sidecars say of blobs that are there, as far as the index does not know better; how many.

        ``together``: in one transaction, for an index of which nobody is to see a half; else the lock is held for
        moments only.

        Where two of them claim one source, the one that was filled later has it. A blob that is on its way out is left
        to whoever removes it.
        """
        adopted, claims = 0, _Claims()
        coming = sorted(sidecars, key=_filled_last)
        for sidecar in coming:
            claims.add(sidecar)
        portions = [coming[start : start + PORTION] for start in range(0, len(coming), PORTION)]
        for transaction in [portions] if together else [[some] for some in portions]:
            async with self._database.write() as connection:
                for some in transaction:
                    adopted += await self._adopt(connection, claims, some)
        return adopted

    async def _adopt(self, connection: AsyncConnection, claims: _Claims, some: Iterable[Sidecar]) -> int:
        leaving = await _leaving(connection)
        staying = [(one.sha256, one.size) for one in some if one.sha256 not in leaving]
        if staying:
            await connection.execute(insert(blobs).on_conflict_do_nothing(), _blob_rows(staying))
            await self._uses.admit_all(connection, staying)
            await _take_over(connection, claims, {digest for digest, _ in staying})
        return len(staying)

    async def leaving(self) -> frozenset[Sha256]:
        """Blobs that are being removed: no other table knows them, and their files may still be there."""
        async with self._database.read() as connection:
            return await _leaving(connection)


class _Claims:
    """What sidecars say of each source: the latest word counts."""

    def __init__(self) -> None:
        self._trusted: dict[str, Origin] = {}
        self._filled: dict[Sha256, dict[str, Origin]] = defaultdict(dict)

    def add(self, sidecar: Sidecar) -> None:
        for origin in sidecar.origins:
            said = self._trusted.setdefault(origin.url, origin)
            if _said_at(origin) > _said_at(said):
                self._trusted[origin.url] = origin
            self._filled[sidecar.sha256][origin.url] = origin

    def of(self, digests: Iterable[Sha256]) -> Iterator[tuple[Sha256, Origin, Origin]]:
        """Each blob's origins, with the latest word on that source."""
        for digest in digests:
            for url, origin in self._filled[digest].items():
                yield digest, origin, self._trusted[url]


async def _leaving(connection: AsyncConnection) -> frozenset[Sha256]:
    return frozenset(map(Sha256, (await connection.execute(select(departures.c.sha256))).scalars()))


def _filled_last(sidecar: Sidecar) -> tuple[datetime, Sha256]:
    times = [origin.filled_at for origin in sidecar.origins if origin.filled_at is not None]
    return max(times, default=moment(0)), sidecar.sha256


def _said_at(origin: Origin) -> datetime:
    return max(filter(None, (origin.since, origin.filled_at, origin.accepted_at)))


async def _take_over(connection: AsyncConnection, claims: _Claims, digests: set[Sha256]) -> None:
    said = list(claims.of(digests))
    if not said:
        return
    await connection.execute(insert(trust).on_conflict_do_nothing(), [_trust_row(latest) for _, _, latest in said])
    trusted = await _trusted(connection, [origin.url for _, origin, _ in said])
    filled = [
        {"url": origin.url, "sha256": digest, "filled_at": microseconds(origin.filled_at)}
        for digest, origin, _ in said
        if origin.filled_at is not None and trusted[origin.url] == digest
    ]
    if filled:
        source = insert(sources)
        newer = {"sha256": source.excluded.sha256, "filled_at": source.excluded.filled_at}
        is_newer = sources.c.filled_at < source.excluded.filled_at
        taking = source.on_conflict_do_update(index_elements=[sources.c.url], set_=newer, where=is_newer)
        await connection.execute(taking, filled)


async def _trusted(connection: AsyncConnection, urls: Sequence[str]) -> Mapping[str, str]:
    found: dict[str, str] = {}
    remaining = iter(urls)
    while some := list(islice(remaining, PORTION)):
        rows = await connection.execute(select(trust.c.url, trust.c.sha256).where(trust.c.url.in_(some)))
        found |= {row.url: row.sha256 for row in rows}
    return found


def _blob_rows(some: Iterable[tuple[Sha256, int]]) -> list[dict[str, Any]]:
    now = microseconds(datetime.now(UTC))
    return [{"sha256": digest, "size": size, "created_at": now} for digest, size in some]


def _trust_row(origin: Origin) -> dict[str, Any]:
    return {
        "url": origin.url,
        "sha256": origin.trusted,
        "since": microseconds(origin.since),
        "accepted_at": None if origin.accepted_at is None else microseconds(origin.accepted_at),
    }
