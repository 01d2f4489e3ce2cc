"""The sidecar of a blob: what the index says of it, as a small JSON document that lies beside it.

::

    {
      "format": 1,
      "sha256": "0676ba61…",
      "size": 102530333,
      "sources": [
        {
          "url": "https://…/resnet50-0676ba61.pth",
          "filled_at": "2026-01-31T12:00:00.000001+00:00",   or null: another blob is held of it now
          "trusted": "0676ba61…",                            what the source must have
          "since": "2026-01-31T12:00:00.000001+00:00",
          "accepted_at": null                                when an operator said so
        }
      ]
    }

Whoever reads one believes nothing of it that is not checked here: it may have rotted, or have been written by anybody.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, Final

from zooproxy.cache.blobs import SIDECAR_BYTES
from zooproxy.digest import Sha256
from zooproxy.errors import SidecarMalformed

FORMAT: Final = 1

_LONGEST_URL: Final = 16 << 10
_LARGEST_BLOB: Final = 1 << 62
_CONTROL: Final = frozenset(map(chr, (*range(32), 127)))


@dataclass(frozen=True, slots=True)
class Origin:
    """A source of the blob. ``filled_at``: when it was filled with it; None if another blob is held of it now.

    ``trusted``, ``since``, ``accepted_at``: what it must have, and why (``cache.trust``). Times in UTC.
    """

    url: str
    filled_at: datetime | None
    trusted: Sha256
    since: datetime
    accepted_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Sidecar:
    """``size`` in bytes; at most one origin of each URL, in the order of the URLs."""

    sha256: Sha256
    size: int
    origins: tuple[Origin, ...] = ()

    def with_origin(self, origin: Origin) -> Sidecar:
        """With ``origin`` in place of the one of the same URL, if any."""
        others = [one for one in self.origins if one.url != origin.url]
        return replace(self, origins=tuple(sorted([*others, origin], key=lambda one: one.url)))

    def of(self, url: str) -> Origin | None:
        return next((one for one in self.origins if one.url == url), None)


def sidecar_to_json(sidecar: Sidecar) -> bytes:
    document = {
        "format": FORMAT,
        "sha256": sidecar.sha256,
        "size": sidecar.size,
        "sources": [
            {
                "url": one.url,
                "filled_at": _text(one.filled_at),
                "trusted": one.trusted,
                "since": _text(one.since),
                "accepted_at": _text(one.accepted_at),
            }
            for one in sidecar.origins
        ],
    }
    return json.dumps(document, indent=1).encode()


def sidecar_from_json(document: bytes, digest: Sha256) -> Sidecar:
    """The sidecar that lies beside the blob ``digest``.

    Raises:
        SidecarMalformed: it is none, it is another blob's, or it is of a later version.
    """
    if len(document) > SIDECAR_BYTES:
        raise SidecarMalformed(f"the sidecar of {digest} is longer than {SIDECAR_BYTES} bytes")
    try:
        members = json.loads(document)
        if members["format"] != FORMAT:
            raise SidecarMalformed(f"the sidecar of {digest} is in a format that this version does not know")
        origins = {origin.url: origin for origin in map(_origin, members["sources"])}
        by_url = tuple(origins[url] for url in sorted(origins))
        sidecar = Sidecar(Sha256(members["sha256"]), _size(members["size"]), by_url)
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise SidecarMalformed(f"the sidecar of {digest} is not what zooproxy writes") from error
    if sidecar.sha256 != digest:
        raise SidecarMalformed(f"the sidecar of {digest} speaks of another blob")
    return sidecar


def _origin(member: Mapping[str, Any]) -> Origin:
    filled_at, accepted_at = member["filled_at"], member["accepted_at"]
    return Origin(
        _url(member["url"]),
        None if filled_at is None else _time(filled_at),
        Sha256(member["trusted"]),
        _time(member["since"]),
        None if accepted_at is None else _time(accepted_at),
    )


def _url(value: Any) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= _LONGEST_URL or not _CONTROL.isdisjoint(value):
        raise ValueError("no URL")
    value.encode()  # a lone surrogate is a ValueError here, and no database's business
    return value


def _size(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= _LARGEST_BLOB:
        raise ValueError("no size")
    return value


def _time(value: str) -> datetime:
    time = datetime.fromisoformat(value)
    if time.tzinfo is None or time.year < 1970:
        raise ValueError("no time of a known zone")
    return time.astimezone(UTC)


def _text(time: datetime | None) -> str | None:
    return None if time is None else time.isoformat(timespec="microseconds")
