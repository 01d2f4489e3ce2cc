"""The JSON of look-ups, as frozen values: field names are the members' names, in this order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Optional

ABSENT = "absent"
FILLING = "filling"
HELD = "held"
QUARANTINED = "quarantined"


@dataclass(frozen=True)
class ResolveAnswer:
    """``GET /v1/resolve``: what a reference means.

    ``candidates`` are URLs in the order they would be asked; ``sha256_hint`` the digest's first digits as published
    in the file name; ``sha256`` the full digest once pinned or held; ``size`` in bytes once held; ``state`` one of
    ``absent``, ``filling``, ``held``, ``quarantined``; ``recipe`` what the ``model`` variant does to the state dict.
    """

    ref: str
    canonical: str
    zoo: Optional[str]
    name: Optional[str]
    url: str
    candidates: list[str]
    sha256_hint: Optional[str]
    sha256: Optional[str]
    size: Optional[int]
    state: str
    recipe: Optional[str]
    alias_of: Optional[str]
    warnings: list[str]
    metadata: Mapping[str, Any]


@dataclass(frozen=True)
class ZooAnswer:
    """One zoo in ``GET /v1/zoos``; ``origin`` says where its names came from."""

    name: str
    schemes: list[str]
    models: int
    origin: Mapping[str, Any]
