"""Pins: the full sha256 that a source must have; with a lock file, also what there may be at all."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from zooproxy.digest import Sha256
from zooproxy.errors import NotLocked, SettingsError, ZooproxyError
from zooproxy.fetch.proof import Wanted
from zooproxy.masking import masked
from zooproxy.names.catalog import Catalog, Resolution
from zooproxy.names.lock import Lock
from zooproxy.names.reference import parse


class Pins:
    """The full sha256 that a source must have, by URL: a pin holds for every reference that leads there.

    An entry of the lock file is a pin of its source; and what is not in the lock file is refused.
    """

    def __init__(self, catalog: Catalog, pins: Mapping[str, str], lock: Lock | None = None) -> None:
        """
        Raises:
            SettingsError: an entry's reference leads nowhere, its digest is none, or two pins contradict each other.
        """
        self._lock = lock
        self._by_url: dict[str, Sha256] = {entry.url: entry.sha256 for entry in lock.sources()} if lock else {}
        for text, digest in pins.items():
            try:
                url, pin = catalog.resolve(parse(text)).source.url, Sha256(digest)
            except (ZooproxyError, ValueError) as error:
                raise SettingsError(f"PINS: the entry '{text}' is refused: {error}") from error
            if self._by_url.setdefault(url, pin) != pin:
                raise SettingsError(f"PINS: '{text}' and {self._other(url)} pin {url} to different digests")

    def _other(self, url: str) -> str:
        locked = self._lock.of_url(url) if self._lock else None
        return f"the entry of '{locked.ref}' in LOCK_FILE" if locked else "another entry"

    def of(self, url: str) -> Sha256 | None:
        return self._by_url.get(url)

    def urls(self) -> frozenset[str]:
        """Of every source that has a pin."""
        return frozenset(self._by_url)

    def wanted(self, resolution: Resolution) -> Wanted:
        """What is known of the bytes of a source."""
        source = resolution.source
        locked = self._lock.of_url(source.url) if self._lock else None
        locked_as = locked.ref if locked else None
        known = Wanted(source.url, source.sha256_hint, self.of(source.url), locked_as=locked_as, address=source.address)
        return replace(known, asked_as=masked(resolution.reference))

    def refusal(self, resolution: Resolution) -> NotLocked | None:
        """Why a reference is not served: there is a lock file, and it does not list its source."""
        url, ref = resolution.source.url, resolution.reference
        if self._lock is None or self._lock.of_url(url):
            return None
        locked = self._lock.of(ref)
        if locked is None:
            message = (
                f"'{ref}' is not in this proxy's lock file, and it serves nothing else; whoever keeps that file can "
                "add it: zooproxy lock REFERENCE"
            )
        else:
            message = (
                f"this proxy's lock file has '{locked.ref}' from {locked.url} with the sha256 {locked.sha256}, and it "
                f"leads to {url} now; whoever keeps that file can lock it anew: zooproxy lock --update REFERENCE"
            )
        return NotLocked(message, reference=ref)

    def covers(self, digest: Sha256) -> bool:
        """Whether a blob may be served by its digest alone."""
        return self._lock is None or self._lock.of_digest(digest) is not None
