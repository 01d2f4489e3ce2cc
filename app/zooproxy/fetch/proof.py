"""When bytes that arrived are believed: they have a checkpoint's structure, and the digest that was promised."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import BinaryIO

from zooproxy.digest import Sha256
from zooproxy.errors import DigestMismatch, LockedOtherwise, SourceChanged
from zooproxy.formats.sniff import sniff


@dataclass(frozen=True, slots=True)
class Wanted:
    """What to fetch and what is known of it.

    ``pin`` is a full sha256 that an operator set; it outranks ``seen``, the one that the source was trusted with
    before, and that one ``hint``, the first digits as published. ``locked_as`` is the reference whose entry in the
    operator's lock file says what ``pin`` is; ``asked_as`` the one that was asked for.
    """

    url: str
    hint: str | None = None
    pin: Sha256 | None = None
    seen: Sha256 | None = None
    locked_as: str | None = None
    address: str = field(default="", repr=False)
    asked_as: str | None = None

    @property
    def asked(self) -> str:
        """What an upstream is asked for: ``url`` with its credentials."""
        return self.address or self.url

    @property
    def promise(self) -> str:
        """The digest's promised first digits, all 64 of them where it is pinned; may be empty."""
        return self.pin or self.seen or self.hint or ""

    def accepts(self, digest: Sha256) -> bool:
        return digest.matches_hint(self.promise)


def prove_digest(wanted: Wanted, actual: Sha256, url: str) -> None:
    """
    Raises:
        LockedOtherwise: the operator's lock file lists the source with another digest than ``actual``.
        DigestMismatch: ``actual``, the digest of what ``url`` sent, is not what the pin, or else the hint, promised.
        SourceChanged: it fits the hint, if there is one, and is not what the source was trusted with before.
    """
    if not wanted.accepts(actual):
        if wanted.pin is None and wanted.seen is not None and actual.matches_hint(wanted.hint or ""):
            message = (
                f"{url} now delivers bytes with the sha256 {actual}; it was trusted with {wanted.seen}. If the change"
                " is right, an operator can say so: zooproxy cache accept REF SHA256"
            )
            raise SourceChanged(message, expected=wanted.seen, actual=actual)
        if wanted.pin is not None and wanted.locked_as is not None:
            message = (
                f"the bytes of {url} have the sha256 {actual}; this proxy's lock file has '{wanted.locked_as}' with "
                f"{wanted.pin}. If the change is right: zooproxy lock --update REFERENCE"
            )
            raise LockedOtherwise(message, reference=wanted.locked_as, expected=wanted.pin, actual=actual)
        promised = "its pin says" if wanted.pin else "the published file name promises"
        expected = wanted.pin or wanted.hint or ""
        message = f"the bytes of {url} hash to {actual}; {promised} {expected}"
        raise DigestMismatch(message, expected=expected, actual=actual)


def prove_structure(file: BinaryIO, size: int) -> None:
    """
    Raises:
        NotACheckpoint: an error page, a stub, a file cut short, or nothing that holds weights.
    """
    with file:
        sniff(file, size)
