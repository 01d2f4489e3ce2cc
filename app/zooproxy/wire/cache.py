"""The JSON of the cache itself, as frozen values: field names are the members' names, in this order."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Optional


@dataclass(frozen=True)
class CachePinAnswer:
    """A source that is never evicted: pinned as ``ref``, at ``since``; ``sha256`` is what is held of it, or None."""

    ref: str
    url: str
    since: str
    sha256: Optional[str]


@dataclass(frozen=True)
class CacheAnswer:
    """``GET /v1/cache``: numbers of blobs, and bytes.

    ``cap_bytes`` is how many may be held, 0 for any; ``free_bytes`` how many more fit with nothing evicted.
    Derived blobs were made from others and leave first; those that are leaving are not counted as held any more.
    """

    blobs: int
    bytes: int
    cap_bytes: int
    free_bytes: int
    pinned_blobs: int
    pinned_bytes: int
    derived_blobs: int
    derived_bytes: int
    leaving_blobs: int
    leaving_bytes: int


@dataclass(frozen=True)
class CachedBlobAnswer:
    """One blob: ``sources`` are URLs, ``refs`` names that lead there; ``last_used_at`` is None if it was not used."""

    sha256: str
    size: int
    sources: list[str]
    refs: list[str]
    created_at: str
    last_used_at: Optional[str]
    uses: int
    pinned: bool
    derived: bool


@dataclass(frozen=True)
class CachedBlobsAnswer:
    """A page, the first to leave first; ``next`` is the cursor of the following one, None on the last.

    A blob that is used while pages are asked for may be on a later one, too.
    """

    blobs: list[CachedBlobAnswer]
    next: Optional[str]


@dataclass(frozen=True)
class RemovedAnswer:
    """What left, and how many bytes are held now. ``pinned_bytes`` and ``in_use_bytes`` of that could not leave."""

    removed_blobs: int
    removed_bytes: int
    bytes: int
    pinned_bytes: int
    in_use_bytes: int
