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
