"""Leases: one process at a time fetches a source, and the next one can go on where the partial stands.

A lease needs no clock. Its owner counts a beat up; whoever waits takes over when the owner is known to be dead (the
operating system has dropped the lock on what it staged), or when the beat has stood still for a whole term of the
waiter's own. Each taking raises the ``fence``: an owner that was only asleep finds its writes refused.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Row, delete, select, update
from sqlalchemy.dialects.sqlite import insert
from sqlalchemy.ext.asyncio import AsyncConnection

from zooproxy.cache.database import Database
from zooproxy.cache.tables import fills
from zooproxy.errors import LeaseLost

_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")


@dataclass(frozen=True, slots=True)
class Staged:
    """What is there of a source: the partial's name, and whose bytes they are (as ``fetch.upstream.Version``).

    ``resumable``: they can be continued; ``durable`` bytes of it survive a power cut, all of them a mere restart.
    """

    partial: str
    candidate: str
    length: int | None
    etag: str | None
    modified: str | None
    resumable: bool


@dataclass(frozen=True, slots=True)
class Lease:
    """One source's row. ``owner`` is the name of what its process has staged for as long as it lives, or None."""

    url: str
    owner: str | None
    fence: int
    beat: int
    staged: Staged | None
    trusted: int | None
    done: int
    cancelled: bool

    @property
    def sign_of_life(self) -> tuple[int, int]:
        return self.fence, self.beat


class Leases:
    """The leases of one process; ``owner`` is what it is known by."""

    def __init__(self, database: Database, owner: str) -> None:
        self._database = database
        self.owner = owner
        self._boot = boot_id()

    async def all(self) -> list[Lease]:
        async with self._database.read() as connection:
            return [self._lease(row) for row in await connection.execute(select(fills).order_by(fills.c.url))]

    async def find(self, url: str) -> Lease | None:
        async with self._database.read() as connection:
            return await self._find(connection, url)

    async def take(self, url: str, dead: tuple[int, int] | None = None) -> Lease:
        """The lease, taken if it is free or if its ``sign_of_life`` is still ``dead``; another's if it is not ours."""
        async with self._database.write() as connection:
            lease = await self._find(connection, url)
            if lease is None:
                row = {"url": url, "owner": self.owner, "fence": 1, "beat": 0, **_BARE, "boot": self._boot}
                await connection.execute(insert(fills).values(touched_at=_now(), **row))
            elif lease.owner is None or lease.sign_of_life == dead:
                taking = update(fills).where(fills.c.url == url)
                values = {"owner": self.owner, "fence": lease.fence + 1, "beat": 0, "cancelled": False}
                await connection.execute(taking.values(touched_at=_now(), **values))
            taken = await self._find(connection, url)
        if taken is None:
            raise LeaseLost(f"the lease of {url} vanished while it was taken; ask again")
        return taken

    async def record(self, lease: Lease, staged: Staged | None) -> None:
        """What is staged now.

        Raises:
            LeaseLost: another has taken the lease.
        """
        values: dict[str, Any] = dict.fromkeys(("partial", "candidate", "length", "etag", "modified"))
        if staged is not None:
            values = {name: getattr(staged, name) for name in (*values, "resumable")}
        await self._write(lease, {"resumable": False, **values, "durable": 0, "boot": self._boot, "done": 0})

    async def beat(self, lease: Lease, done: int) -> bool:
        """A sign of life; whether the fill is to go on (nobody has cancelled it).

        Raises:
            LeaseLost: another has taken the lease.
        """
        return not await self._write(lease, {"beat": fills.c.beat + 1, "done": done})

    async def free(self, lease: Lease, durable: int) -> None:
        """Ends the lease and leaves what is staged to be continued, ``durable`` bytes of it; with none, forgets it."""
        if durable:
            await self._write(lease, {"owner": None, "durable": durable, "boot": self._boot, "done": durable})
            return
        async with self._database.write() as connection:
            await connection.execute(delete(fills).where(*_mine(lease)))

    async def cancel(self, url: str) -> bool:
        """Asks the owner, wherever it is, to stop; whether there is one. What nobody owns is forgotten."""
        async with self._database.write() as connection:
            asked = await connection.execute(
                update(fills).where(fills.c.url == url, fills.c.owner.is_not(None)).values(cancelled=True)
            )
            await connection.execute(delete(fills).where(fills.c.url == url, fills.c.owner.is_(None)))
        return asked.rowcount > 0

    async def forget(self, lease: Lease) -> None:
        """Removes a row that leads nowhere, unless somebody has taken it meanwhile."""
        async with self._database.write() as connection:
            fresh = (fills.c.fence == lease.fence, fills.c.beat == lease.beat)
            await connection.execute(delete(fills).where(fills.c.url == lease.url, *fresh))

    async def _write(self, lease: Lease, values: dict[str, Any]) -> bool:
        async with self._database.write() as connection:
            await confirm(connection, lease)
            await connection.execute(update(fills).where(*_mine(lease)).values(touched_at=_now(), **values))
            current = await self._find(connection, lease.url)
        return current is not None and current.cancelled

    async def _find(self, connection: AsyncConnection, url: str) -> Lease | None:
        row = (await connection.execute(select(fills).where(fills.c.url == url))).one_or_none()
        return None if row is None else self._lease(row)

    def _lease(self, row: Row[Any]) -> Lease:
        staged = None
        if row.partial is not None:
            version = (row.candidate, row.length, row.etag, row.modified)
            staged = Staged(row.partial, *version, resumable=row.resumable)
        trusted = None if row.boot == self._boot else row.durable
        return Lease(row.url, row.owner, row.fence, row.beat, staged, trusted, row.done, row.cancelled)


_BARE: Final = {"resumable": False, "durable": 0, "done": 0, "cancelled": False}


async def confirm(connection: AsyncConnection, lease: Lease) -> None:
    """Within a writing transaction: the lease is still held.

    Raises:
        LeaseLost: another has taken it.
    """
    if (await connection.execute(select(fills.c.url).where(*_mine(lease)))).one_or_none() is None:
        raise LeaseLost(f"another process has taken over the fill of {lease.url}; its outcome is the one that counts")


def _mine(lease: Lease) -> tuple[Any, ...]:
    return fills.c.url == lease.url, fills.c.owner == lease.owner, fills.c.fence == lease.fence


async def drop(connection: AsyncConnection, lease: Lease) -> None:
    await connection.execute(delete(fills).where(*_mine(lease)))


def boot_id() -> str:
    """What changes when the machine starts anew, and with it what was written and not flushed may be gone."""
    try:
        return _BOOT.read_text().strip()
    except OSError:
        return ""


def _now() -> int:
    return int(datetime.now(UTC).timestamp() * 1_000_000)
