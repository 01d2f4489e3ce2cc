"""The JSON of the watch over upstreams, as frozen values: field names are the members' names, in this order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Optional

#: A certificate that ends sooner than this is something to see to.
FEW_DAYS: Final = 14


@dataclass(frozen=True)
class WatchedSource:
    """A source that is held or pinned; times as RFC 3339 in UTC, None before it was first asked about.

    ``state`` is ``ok``, ``changed``, ``gone``, ``unreachable`` or ``unknown`` (not asked about yet), ``since`` when it
    began; ``detail`` the reason. ``candidates`` are the URLs that were asked and what was wrong with each, None where
    nothing was.
    """

    url: str
    state: str
    since: Optional[str]
    checked_at: Optional[str]
    detail: str
    candidates: Mapping[str, Optional[str]]

    @property
    def is_well(self) -> bool:
        """A mirror that has failed counts, whoever else has the file."""
        return self.state in ("ok", "unknown") and not any(self.candidates.values())


@dataclass(frozen=True)
class WatchedHost:
    """A host that sources come from: ``certificate_days`` are left of its certificate, None without TLS.

    ``problem`` is what was wrong the last time, ``since`` when that began.
    """

    host: str
    addresses: list[str]
    addresses_since: str
    certificate_ends: Optional[str]
    certificate_days: Optional[int]
    problem: str
    since: str
    checked_at: str

    @property
    def is_well(self) -> bool:
        return not self.problem and (self.certificate_days is None or self.certificate_days >= FEW_DAYS)


@dataclass(frozen=True)
class WatchAnswer:
    """``GET /v1/watch``: ``hours`` is how often each is asked about, 0 for never; ``left`` are those of a round that
    somebody asked for and that is not over yet."""

    hours: float
    left: int
    sources: list[WatchedSource]
    hosts: list[WatchedHost]
