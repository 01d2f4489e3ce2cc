"""What is known of the hosts of what is held: their addresses, and until when their certificates are good."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from sqlalchemy import Row, select
from sqlalchemy.dialects.sqlite import insert

from zooproxy.cache.database import Database
from zooproxy.cache.tables import hosts, microseconds, moment


@dataclass(frozen=True, slots=True)
class HostSeen:
    """A host's row (``host[:port]``); times in UTC.

    Attributes:
        addresses: in order, as they were last resolved, ``addresses_since`` then.
        certificate_ends: of the last certificate that was believed; None for a host without TLS.
        problem: what was wrong the last time; may be empty. ``since`` tells when that began.
    """

    host: str
    addresses: tuple[str, ...]
    addresses_since: datetime
    certificate_ends: datetime | None
    problem: str
    since: datetime
    checked_at: datetime


class HostsSeen:
    def __init__(self, database: Database) -> None:
        self._database = database

    async def all(self) -> tuple[HostSeen, ...]:
        """By name."""
        async with self._database.read() as connection:
            return tuple(_seen(row) for row in await connection.execute(select(hosts).order_by(hosts.c.host)))

    async def of(self, host: str) -> HostSeen | None:
        async with self._database.read() as connection:
            row = (await connection.execute(select(hosts).where(hosts.c.host == host))).one_or_none()
        return None if row is None else _seen(row)

    async def put(self, seen: HostSeen) -> None:
        """Replaces the host's row."""
        ends = seen.certificate_ends
        values: dict[str, Any] = {
            "addresses": json.dumps(seen.addresses),
            "addresses_since": microseconds(seen.addresses_since),
            "certificate_ends": None if ends is None else microseconds(ends),
            "problem": seen.problem,
            "since": microseconds(seen.since),
            "checked_at": microseconds(seen.checked_at),
        }
        putting = insert(hosts).values(host=seen.host, **values)
        async with self._database.write() as connection:
            await connection.execute(putting.on_conflict_do_update(index_elements=[hosts.c.host], set_=values))


def _seen(row: Row[Any]) -> HostSeen:
    ends = None if row.certificate_ends is None else moment(row.certificate_ends)
    since = (moment(row.since), moment(row.checked_at))
    return HostSeen(row.host, tuple(json.loads(row.addresses)), moment(row.addresses_since), ends, row.problem, *since)
