"""What every kind of upstream offers: a body from its start, or from where an earlier one stopped, or a part of it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from zooproxy.fetch.sighting import Sighting

Allows = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Patience:
    """How long a connection may take to come about, and how long an upstream may send nothing."""

    connect_seconds: float = 10.0
    stall_seconds: float = 60.0


@dataclass(frozen=True, slots=True)
class Version:
    """Which bytes an answer carries, as far as its head tells.

    Attributes:
        url: the candidate that was asked, before redirects.
        length: of the whole, in bytes; None where it was not declared.
        etag: a strong entity tag, quotes included; a weak one proves nothing here.
        modified: Last-Modified, where it is old enough to be a strong validator (RFC 9110, section 8.8.2.2).
        is_delimited: a body that is cut short will be known for it; one that ends with its connection will not.
        sent_etag, sent_modified: the headers as they came, good for seeing a change and for nothing else.
    """

    url: str
    length: int | None = None
    etag: str | None = None
    modified: str | None = None
    is_delimited: bool = True
    sent_etag: str | None = None
    sent_modified: str | None = None

    @property
    def validator(self) -> str | None:
        """What If-Range may carry."""
        return self.etag or self.modified

    @property
    def sighting(self) -> Sighting:
        """What to compare a later look with."""
        return Sighting(self.url, self.length, self.sent_etag or self.etag, self.sent_modified or self.modified)


@dataclass(frozen=True, slots=True)
class Continuation:
    """The bytes from ``start`` on of a whole of ``length`` bytes, up to ``stop``, if ``validator`` still holds.

    Without a validator the upstream is asked for the range as it is, and the digest of the whole has to tell.
    ``length`` is None where no answer has told it yet; ``stop``, the position after the last byte, where all the rest
    is meant; one that lies beyond the end means the end.
    """

    start: int
    length: int | None
    validator: str | None
    stop: int | None = None

    def field(self) -> str:
        """The value of a Range field (RFC 9110, section 14.1.2)."""
        return f"bytes={self.start}-{'' if self.stop is None else self.stop - 1}"

    def is_met(self, first: int, last: int, total: int) -> bool:
        """Whether a Content-Range names just these bytes."""
        stop = total if self.stop is None else min(self.stop, total)
        return (first, last) == (self.start, stop - 1) and self.length in (None, total)


@dataclass(frozen=True, slots=True)
class Body:
    """An answer that is being read: its version, the position of its first byte, the blocks.

    ``stop`` is the position after its last byte, None where that is the end of the whole. ``is_filling``: the upstream
    is itself still receiving the file, so that what lies ahead of this answer cannot be had any sooner.
    """

    version: Version
    start: int
    blocks: AsyncIterator[bytes]
    stop: int | None = None
    is_filling: bool = False


class Upstream(Protocol):
    def get(self, url: str, allows: Allows, rest: Continuation | None = None) -> AbstractAsyncContextManager[Body]:
        """The body of ``url``; the answer to ``rest`` may be the whole from 0 on, where the upstream would not do it.

        Raises:
            FetchError: it cannot be had, or what came is not what was asked for.
        """
        ...

    async def look(self, url: str, allows: Allows, known: Sighting | None = None) -> Sighting:
        """What there is at ``url``, without its body; ``known`` itself where nothing has changed since.

        Raises:
            FetchError: it cannot be had.
            UnsupportedSource: this kind of upstream tells nothing but the bytes.
        """
        ...
