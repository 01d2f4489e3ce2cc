"""What was published wrong, and what is right: data with a reason each, kept apart from what was published."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Optional


@dataclass(frozen=True)
class AliasRepair:
    """An alias that was published with the target ``published``, which no zoo has; ``target`` is what it meant."""

    zoo: str
    alias: str
    published: str
    target: str
    reason: str


@dataclass(frozen=True)
class HintOverride:
    """A URL whose file name carries a hash that is not its content's; ``hint`` is, None where nobody knows it.

    ``same_as`` is a URL at which the same file is published, None if there is none.
    """

    url: str
    hint: Optional[str]
    reason: str
    same_as: Optional[str] = None


@dataclass(frozen=True)
class UrlRepair:
    """A URL that leads to no checkpoint as ``published``; ``url`` is the file that was meant, None if nobody knows."""

    published: str
    url: Optional[str]
    reason: str


@dataclass(frozen=True)
class Corrections:
    aliases: tuple[AliasRepair, ...] = ()
    hints: tuple[HintOverride, ...] = ()
    urls: tuple[UrlRepair, ...] = ()


def corrections_from_json(text: str) -> Corrections:
    members = json.loads(text)
    return Corrections(
        tuple(AliasRepair(**row) for row in members["aliases"]),
        tuple(HintOverride(**row) for row in members["hints"]),
        tuple(UrlRepair(**row) for row in members["urls"]),
    )
