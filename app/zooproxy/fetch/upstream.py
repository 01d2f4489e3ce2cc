"""What every kind of upstream offers: a body from its start, or from where an earlier one stopped."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

Allows = Callable[[str], bool]


@dataclass(frozen=True, slots=True)
class Version:
    """Which bytes an answer carries, as far as its head tells.

    Attributes:
        url: the candidate that was asked, before redirects.
        length: of the whole, in bytes; None where it was not declared.
        etag: a strong entity tag, quotes included; a weak one proves nothing here.
        modified: Last-Modified, where it is old enough to be a strong validator (RFC 9110, section 8.8.2.2).
    """

    url: str
    length: int | None = None
    etag: str | None = None
    modified: str | None = None

    @property
    def validator(self) -> str | None:
        """What If-Range may carry."""
        return self.etag or self.modified


@dataclass(frozen=True, slots=True)
class Continuation:
    """The rest of ``length`` bytes from ``start`` on, if ``validator`` still holds.

    Without a validator the upstream is asked for the range as it is, and the digest of the whole has to tell.
    """

    start: int
    length: int
    validator: str | None


@dataclass(frozen=True, slots=True)
class Body:
    """An answer that is being read: its version, the position of its first byte, the blocks."""

    version: Version
    start: int
    blocks: AsyncIterator[bytes]


class Upstream(Protocol):
    def get(self, url: str, allows: Allows, rest: Continuation | None = None) -> AbstractAsyncContextManager[Body]:
        """The body of ``url``; the answer to ``rest`` may begin at 0 all the same, where the upstream would not do it.

        Raises:
            FetchError: it cannot be had, or what came is not what was asked for.
        """
        ...
