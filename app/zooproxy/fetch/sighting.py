"""What an upstream tells of a source without its body: enough to see that it changed, not to prove that it did not."""

from __future__ import annotations

from dataclasses import dataclass

from zooproxy.errors import FetchError


@dataclass(frozen=True, slots=True)
class Sighting:
    """``candidate`` is the URL that was asked, ``length`` in bytes; ``etag`` and ``modified`` as they were sent.

    Weak entity tags and fresh dates are good here: they join no bytes.
    """

    candidate: str
    length: int | None = None
    etag: str | None = None
    modified: str | None = None

    def difference(self, known: Sighting) -> str | None:
        """What has changed since ``known``, in words; None where nothing tells that anything has.

        Entity tags and dates are compared for one and the same candidate: each host has its own.
        """
        if None not in (self.length, known.length) and self.length != known.length:
            return f"it has {self.length} bytes and had {known.length}"
        if self.candidate != known.candidate:
            return None
        if self.etag and known.etag:
            return "its entity tag is another one" if _opaque(self.etag) != _opaque(known.etag) else None
        if self.modified and known.modified and self.modified != known.modified:
            return "it was modified"
        return None


@dataclass(frozen=True, slots=True)
class Glance:
    """What became of asking one candidate: ``found``, or the ``error``."""

    candidate: str
    found: Sighting | None = None
    error: FetchError | None = None


def _opaque(etag: str) -> str:
    """Weak comparison (RFC 9110, section 8.8.3.2)."""
    return etag.removeprefix("W/")
