"""What each source's upstream said of it when it was last asked: one row per source, of what is held and of pins."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from sqlalchemy import Row, delete, select
from sqlalchemy.dialects.sqlite import insert

from zooproxy.cache.database import Database
from zooproxy.cache.tables import microseconds, moment, sightings

#: The states of a source; ``since`` tells when the present one began.
OK: Final = "ok"
CHANGED: Final = "changed"
GONE: Final = "gone"
UNREACHABLE: Final = "unreachable"


@dataclass(frozen=True, slots=True)
class Known:
    """Whose answer it was, and its validators (as ``fetch.sighting.Sighting``)."""

    candidate: str
    length: int | None = None
    etag: str | None = None
    modified: str | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """A source's row; times in UTC.

    Attributes:
        known: what later answers are compared with; None where nobody has answered yet.
        detail: the reason for a state other than ``ok``; may be empty.
        candidates: what is wrong with each one that was asked; None for those that are well.
    """

    url: str
    state: str
    since: datetime
    checked_at: datetime
    known: Known | None = None
    detail: str = ""
    candidates: Mapping[str, str | None] = field(default_factory=dict)


class Sightings:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def of(self, url: str) -> Seen | None:
        async with self._database.read() as connection:
            row = (await connection.execute(select(sightings).where(sightings.c.url == url))).one_or_none()
        return None if row is None else _seen(row)

    async def all(self) -> tuple[Seen, ...]:
        """By URL."""
        async with self._database.read() as connection:
            return tuple(_seen(row) for row in await connection.execute(select(sightings).order_by(sightings.c.url)))

    async def put(self, seen: Seen) -> None:
        """Replaces the source's row."""
        known = seen.known or Known("")
        values: dict[str, Any] = {
            "state": seen.state,
            "since": microseconds(seen.since),
            "checked_at": microseconds(seen.checked_at),
            "candidate": known.candidate or None,
            "length": known.length,
            "etag": known.etag,
            "modified": known.modified,
            "detail": seen.detail,
            "candidates": json.dumps(dict(seen.candidates)),
        }
        putting = insert(sightings).values(url=seen.url, **values)
        async with self._database.write() as connection:
            await connection.execute(putting.on_conflict_do_update(index_elements=[sightings.c.url], set_=values))

    async def fetched(self, url: str, known: Known, state: str, detail: str = "") -> None:
        """A fill has read what ``known`` tells of: ``state`` is ``ok`` if its bytes were believed."""
        now, before = datetime.now(UTC), await self.of(url)
        since = before.since if before is not None and before.state == state else now
        await self.put(Seen(url, state, since, now, known, detail, {known.candidate: None}))

    async def claim(self, url: str, before: Seen | None) -> bool:
        """Whether it is this process that asks now: another one on the same database may want to as well."""
        now = datetime.now(UTC)
        async with self._database.write() as connection:
            if before is None:
                row = {"url": url, "state": OK, "since": microseconds(now), "detail": "", "candidates": "{}"}
                claiming = insert(sightings).values(**row, checked_at=microseconds(now)).on_conflict_do_nothing()
                return (await connection.execute(claiming)).rowcount > 0
            mine = sightings.update().where(
                sightings.c.url == url, sightings.c.checked_at == microseconds(before.checked_at)
            )
            return (await connection.execute(mine.values(checked_at=microseconds(now)))).rowcount > 0

    async def forget(self, url: str) -> None:
        async with self._database.write() as connection:
            await connection.execute(delete(sightings).where(sightings.c.url == url))


def _seen(row: Row[Any]) -> Seen:
    known = None if row.candidate is None else Known(row.candidate, row.length, row.etag, row.modified)
    times = (moment(row.since), moment(row.checked_at))
    return Seen(row.url, row.state, *times, known, row.detail, json.loads(row.candidates))
