"""Pins: the full sha256 that a source must have."""

from __future__ import annotations

from collections.abc import Mapping

from zooproxy.digest import Sha256
from zooproxy.errors import SettingsError, ZooproxyError
from zooproxy.names.catalog import Catalog
from zooproxy.names.reference import parse


class Pins:
    """The full sha256 that a source must have, by URL: a pin holds for every reference that leads there."""

    def __init__(self, catalog: Catalog, pins: Mapping[str, str]) -> None:
        """
        Raises:
            SettingsError: an entry's reference leads nowhere, its digest is none, or two pins contradict each other.
        """
        self._by_url: dict[str, Sha256] = {}
        for text, digest in pins.items():
            try:
                url, pin = catalog.resolve(parse(text)).source.url, Sha256(digest)
            except (ZooproxyError, ValueError) as error:
                raise SettingsError(f"PINS: the entry '{text}' is refused: {error}") from error
            if self._by_url.setdefault(url, pin) != pin:
                raise SettingsError(f"PINS: '{text}' and another entry pin {url} to different digests")

    def of(self, url: str) -> Sha256 | None:
        return self._by_url.get(url)
