"""Which source is held as which blob, and what has been read out of it: frozen values out, never rows."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import islice
from typing import Final

from sqlalchemy import delete, select
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from zooproxy.cache import leases
from zooproxy.cache.database import Database
from zooproxy.cache.hosts import HostsSeen
from zooproxy.cache.leases import Lease
from zooproxy.cache.recent import Recent
from zooproxy.cache.sightings import Sightings
from zooproxy.cache.tables import OF_A_BLOB, blobs, departures, microseconds, moment, sources, tensor_indexes
from zooproxy.cache.trust import Trust, see
from zooproxy.cache.uses import Uses
from zooproxy.digest import Sha256
from zooproxy.errors import BlobCorrupt

_PARAMETERS: Final = 500  # of one statement
_DOCUMENTS: Final = 32  # tensor indexes that are in memory at once


@dataclass(frozen=True, slots=True)
class HeldSource:
    """A source whose bytes are held: ``size`` in bytes, ``filled_at`` in UTC."""

    url: str
    sha256: Sha256
    size: int
    filled_at: datetime


class Index:
    """The index over one database. A row is written after its blob is durable, and removed before the blob is."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.trust = Trust(database)
        self.uses = Uses(database)
        self.sightings = Sightings(database)
        self.hosts = HostsSeen(database)
        self._held: Recent[str, HeldSource | None] = Recent(database.stamp)
        self._sizes: Recent[Sha256, int | None] = Recent(database.stamp)

    async def held(self, url: str) -> HeldSource | None:
        """What ``url`` was last filled with; None if it never was."""
        return await self._held.get(url, lambda: self._read_held(url))

    async def _read_held(self, url: str) -> HeldSource | None:
        query = (
            select(sources.c.url, sources.c.sha256, blobs.c.size, sources.c.filled_at)
            .join_from(sources, blobs)
            .where(sources.c.url == url)
        )
        async with self._database.read() as connection:
            row = (await connection.execute(query)).one_or_none()
        if row is None:
            return None
        return HeldSource(row.url, Sha256(row.sha256), row.size, moment(row.filled_at))

    async def sources(self) -> tuple[HeldSource, ...]:
        """Every source that is held, by URL."""
        query = select(sources.c.url, sources.c.sha256, blobs.c.size, sources.c.filled_at).join_from(sources, blobs)
        async with self._database.read() as connection:
            rows = (await connection.execute(query.order_by(sources.c.url))).all()
        return tuple(HeldSource(row.url, Sha256(row.sha256), row.size, moment(row.filled_at)) for row in rows)

    async def publish(
        self, url: str, sha256: Sha256, size: int, lease: Lease | None = None, at: datetime | None = None
    ) -> HeldSource:
        """The last step of a fill: blob and source appear and its lease ends in one transaction, or nothing does.

        ``cache.shelf`` is what callers use: it writes the sidecar first. ``at`` is when it was filled, now if None.

        Raises:
            BlobCorrupt: that blob is known with another size, so one of the two is not what it says.
            LeaseLost: another process has taken the lease.
        """
        held = HeldSource(url, sha256, size, at or datetime.now(UTC))
        async with self._database.write() as connection:
            if lease is not None:
                await leases.confirm(connection, lease)
                await leases.drop(connection, lease)
            await self._write(connection, [held])
        return held

    async def publish_all(self, held: Iterable[HeldSource]) -> None:
        """As ``publish`` for each, in one transaction: all of them appear, or none.

        Raises:
            BlobCorrupt: a blob is known with another size.
        """
        async with self._database.write() as connection:
            await self._write(connection, list(held))

    async def _write(self, connection: AsyncConnection, held: Sequence[HeldSource]) -> None:
        if not held:
            return
        rows = [(one, microseconds(one.filled_at)) for one in held]
        stored = [{"sha256": one.sha256, "size": one.size, "created_at": at} for one, at in rows]
        await connection.execute(insert(blobs).on_conflict_do_nothing(), stored)
        sizes = {one.sha256: one.size for one in held}
        for some in _portions(sizes, _PARAMETERS):
            await _check_sizes(connection, {sha256: sizes[sha256] for sha256 in some})
            await connection.execute(delete(departures).where(departures.c.sha256.in_(some)))
        source = insert(sources)
        source = source.on_conflict_do_update(
            index_elements=[sources.c.url],
            set_={"sha256": source.excluded.sha256, "filled_at": source.excluded.filled_at},
        )
        await connection.execute(source, [{"url": one.url, "sha256": one.sha256, "filled_at": at} for one, at in rows])
        await self.uses.admit_all(connection, sizes.items())
        await see(connection, [(one.url, one.sha256, one.filled_at) for one in held])

    async def blob(self, sha256: Sha256) -> int | None:
        """The size in bytes of a published blob; None if it is not published."""
        return await self._sizes.get(sha256, lambda: self._read_size(sha256))

    async def _read_size(self, sha256: Sha256) -> int | None:
        async with self._database.read() as connection:
            found = await connection.execute(select(blobs.c.size).where(blobs.c.sha256 == sha256))
            return found.scalar_one_or_none()

    async def urls_of(self, sha256: Sha256) -> tuple[str, ...]:
        """The sources whose bytes have this digest, those of derived blobs among them."""
        async with self._database.read() as connection:
            found = await connection.execute(select(sources.c.url).where(sources.c.sha256 == sha256))
            return tuple(found.scalars())

    async def forget(self, *sha256s: Sha256, sure: Callable[[Sha256], Awaitable[bool]] | None = None) -> list[Sha256]:
        """The blobs are gone: their rows and all that is known of them go, in one transaction; which ones went.

        ``sure`` is asked of each within the transaction, while nobody can publish; what it denies stays.
        """
        async with self._database.write() as connection:
            gone = [sha256 for sha256 in sha256s if sure is None or await sure(sha256)]
            for table in OF_A_BLOB:
                await connection.execute(delete(table).where(table.c.sha256.in_(gone)))
        return gone

    async def tensor_index(self, sha256: Sha256, reader_version: int) -> bytes | None:
        """The document kept for that blob by that version of the reader; None if there is none."""
        query = select(tensor_indexes.c.document).where(
            tensor_indexes.c.sha256 == sha256, tensor_indexes.c.reader_version == reader_version
        )
        async with self._database.read() as connection:
            return (await connection.execute(query)).scalar_one_or_none()

    async def tensor_indexes(self, of: Iterable[Sha256], reader_version: int) -> AsyncIterator[tuple[Sha256, bytes]]:
        """As ``tensor_index`` for each blob that has one, a few in memory at once."""
        for some in _portions(of, _DOCUMENTS):
            query = select(tensor_indexes.c.sha256, tensor_indexes.c.document).where(
                tensor_indexes.c.sha256.in_(some), tensor_indexes.c.reader_version == reader_version
            )
            async with self._database.read() as connection:
                rows = (await connection.execute(query)).all()
            for row in rows:
                yield Sha256(row.sha256), row.document

    async def keep_tensor_index(self, sha256: Sha256, reader_version: int, document: bytes) -> None:
        """Keeps ``document`` and drops those of older readers.

        Nothing is kept for a blob that is not published: it was forgotten while it was being read.
        """
        await self.keep_tensor_indexes(reader_version, {sha256: document})

    async def keep_tensor_indexes(self, reader_version: int, documents: Mapping[Sha256, bytes]) -> None:
        """As ``keep_tensor_index`` for each blob, in one transaction."""
        async with self._database.write() as connection:
            for sha256, document in documents.items():
                await _keep(connection, sha256, reader_version, document)


def _portions(digests: Iterable[Sha256], most: int) -> Iterator[list[Sha256]]:
    remaining = iter(digests)
    while some := list(islice(remaining, most)):
        yield some


async def _check_sizes(connection: AsyncConnection, sizes: Mapping[Sha256, int]) -> None:
    query = select(blobs.c.sha256, blobs.c.size).where(blobs.c.sha256.in_(list(sizes)))
    for sha256, known in await connection.execute(query):
        if known != sizes[sha256]:
            raise BlobCorrupt(f"the blob {sha256} is held with {known} bytes and was now found to have {sizes[sha256]}")


async def _keep(connection: AsyncConnection, sha256: Sha256, reader_version: int, document: bytes) -> None:
    published = await connection.execute(select(blobs.c.sha256).where(blobs.c.sha256 == sha256))
    if published.one_or_none() is None:
        return
    keep = insert(tensor_indexes).values(sha256=sha256, reader_version=reader_version, document=document)
    keep = keep.on_conflict_do_update(
        index_elements=[tensor_indexes.c.sha256, tensor_indexes.c.reader_version],
        set_={"document": keep.excluded.document},
    )
    older = delete(tensor_indexes).where(
        tensor_indexes.c.sha256 == sha256, tensor_indexes.c.reader_version < reader_version
    )
    await connection.execute(keep)
    await connection.execute(older)
