"""The hosts of what is held: where their names lead, and until when their certificates are good."""

from __future__ import annotations

import logging
from datetime import UTC, datetime, timedelta
from typing import Final

from zooproxy.cache.hosts import HostSeen, HostsSeen
from zooproxy.fetch.hosts import Hosts, HostSighting
from zooproxy.fetch.policy import host_of
from zooproxy.provide.events import Events
from zooproxy.wire.watch import FEW_DAYS

_log = logging.getLogger(__name__)

SOON: Final = timedelta(days=FEW_DAYS)


class HostWatch:
    def __init__(self, hosts: Hosts, rows: HostsSeen, events: Events) -> None:
        self._hosts = hosts
        self._rows = rows
        self._events = events

    async def look(self, url: str, *, unless_since: datetime) -> None:
        """Looks at the host of ``url``, unless that was done later than ``unless_since``; changes become events.

        Raises:
            CacheError: what was seen cannot be written down.
        """
        before = await self._rows.of(host_of(url))
        if before is not None and before.checked_at > unless_since:
            return
        found = await self._hosts.look(url)
        if found is None:
            return
        seen = _seen(before, found)
        await self._rows.put(seen)
        self._tell(before, seen)

    async def all(self) -> tuple[HostSeen, ...]:
        return await self._rows.all()

    def _tell(self, before: HostSeen | None, seen: HostSeen) -> None:
        if before is not None and before.addresses != seen.addresses and seen.addresses:
            told = {"addresses": list(seen.addresses), "were": list(before.addresses)}
            self._events.tell("watch", {"host": seen.host, **told})
        if (before.problem if before else "") != seen.problem:
            _log.warning("the host %s: %s", seen.host, seen.problem or "is well again")
            self._events.tell("watch", {"host": seen.host, "problem": seen.problem})
        if _ends_soon(seen) and not (before is not None and _ends_soon(before)):
            ends = seen.certificate_ends.isoformat(timespec="seconds") if seen.certificate_ends else None
            _log.warning("the certificate of %s ends at %s", seen.host, ends)
            self._events.tell("watch", {"host": seen.host, "certificate_ends": ends})


def _ends_soon(seen: HostSeen) -> bool:
    return seen.certificate_ends is not None and seen.certificate_ends - seen.checked_at < SOON


def _seen(before: HostSeen | None, found: HostSighting) -> HostSeen:
    """The new row: addresses that could not be had and a certificate that was not believed leave the last ones."""
    now = datetime.now(UTC)
    if before is None:
        return HostSeen(found.host, found.addresses, now, found.certificate_ends, found.problem, now, now)
    addresses = found.addresses or before.addresses
    return HostSeen(
        found.host,
        addresses,
        before.addresses_since if addresses == before.addresses else now,
        found.certificate_ends or before.certificate_ends,
        found.problem,
        before.since if found.problem == before.problem else now,
        now,
    )
