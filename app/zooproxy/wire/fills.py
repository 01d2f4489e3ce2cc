"""The JSON of fills, as frozen values: field names are the members' names, in this order."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Optional

QUEUED = "queued"
RUNNING = "running"
DONE = "done"
FAILED = "failed"

#: What becomes of one reference of ``POST /v1/fills``, besides a fill's own states.
HELD = "held"
REFUSED = "refused"


@dataclass(frozen=True)
class FillAnswer:
    """One fill: ``bytes_total`` is None where nobody has declared a length, ``error`` a problem (RFC 9457).

    ``here``: this process leads or follows it; another's is known by what it has written down. ``attempt`` counts
    from 1 for each candidate. ``bytes_per_second`` is that of the last seconds.
    """

    id: str
    url: str
    refs: list[str]
    state: str
    here: bool
    bytes_done: int
    bytes_total: Optional[int]
    bytes_per_second: int
    candidate: Optional[str]
    attempt: int
    begun_at: Optional[str]
    sha256: Optional[str] = None
    error: Optional[Mapping[str, Any]] = None


@dataclass(frozen=True)
class FillsAnswer:
    """``GET /v1/fills``: running ones and those that ended lately; ``hosts`` that failed: closed, open, half-open."""

    fills: list[FillAnswer]
    hosts: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class StartedAnswer:
    """What became of one reference: ``held`` already, ``queued`` or ``running``, or ``refused`` with the problem."""

    ref: str
    state: str
    fill: Optional[FillAnswer] = None
    sha256: Optional[str] = None
    error: Optional[Mapping[str, Any]] = None


def fill_id(url: str) -> str:
    """The id of a source's fill: the same in every process, and for every fill of that source."""
    return hashlib.sha256(url.encode()).hexdigest()[:16]
