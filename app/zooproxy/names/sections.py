"""The packaged data as frozen values: one section for each zoo, and the corrections to what was published."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any, Final, Optional

from zooproxy.names.zoos import MMCLS, OPENMMLAB, TORCHVISION

SHIPPED: Final = (TORCHVISION, OPENMMLAB, MMCLS)


@dataclass(frozen=True)
class Section:
    """One zoo's data, as published: ``models`` maps a name to its URL, None where no weights were ever published.

    ``aliases`` maps an old name to the one that replaced it. ``origin`` stamps where it was read from: package,
    version, wheel, its sha256, licence, date of the wheel.
    """

    zoo: str
    origin: Mapping[str, object]
    models: Mapping[str, Optional[str]]
    aliases: Mapping[str, str]


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
    """A URL whose file name carries a hash that is not its content's; ``hint`` is, None where nobody knows it."""

    url: str
    hint: Optional[str]
    reason: str


@dataclass(frozen=True)
class Corrections:
    aliases: tuple[AliasRepair, ...] = ()
    hints: tuple[HintOverride, ...] = ()


def section_to_json(section: Section) -> str:
    """The text that is packaged: the same bytes for the same section."""
    members: dict[str, Any] = {"zoo": section.zoo, "origin": dict(section.origin), "models": dict(section.models)}
    members["aliases"] = dict(section.aliases)
    return json.dumps(members, indent=1, ensure_ascii=False) + "\n"


def section_from_json(text: str) -> Section:
    members = json.loads(text)
    return Section(members["zoo"], members["origin"], members["models"], members["aliases"])


def corrections_from_json(text: str) -> Corrections:
    members = json.loads(text)
    return Corrections(
        tuple(AliasRepair(**row) for row in members["aliases"]), tuple(HintOverride(**row) for row in members["hints"])
    )


def shipped_sections() -> tuple[Section, ...]:
    return tuple(section_from_json(_packaged(f"{zoo}.json")) for zoo in SHIPPED)


def shipped_corrections() -> Corrections:
    return corrections_from_json(_packaged("corrections.json"))


def _packaged(name: str) -> str:
    return resources.files("zooproxy.names").joinpath("data", name).read_text(encoding="utf-8")
