"""The catalog's data as frozen values: a section is what one source says about one zoo."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from importlib import resources
from pathlib import Path
from typing import Any, Final, Optional

from zooproxy.names.corrections import Corrections, corrections_from_json
from zooproxy.names.records import Record, record_from_json
from zooproxy.names.zoos import SHIPPED

#: Layers, in the order in which a later one overrules an earlier one.
PACKAGED: Final = "shipped"
SYNCED: Final = "synced"
SITE_FILE: Final = "site"
PARENT: Final = "parent"
ADMINISTRATOR: Final = "administrator"
LAYERS: Final = (PACKAGED, SYNCED, SITE_FILE, PARENT, ADMINISTRATOR)


@dataclass(frozen=True)
class Synonym:
    """Another spelling of the name ``target``; ``note`` is what a user of it should know, None if nothing."""

    target: str
    note: Optional[str] = None


@dataclass(frozen=True)
class Section:
    """What one layer says about one zoo, as published.

    Attributes:
        origin: where it was read from: package, version, wheel, its sha256, licence, date of the wheel.
        models: the zoo's map: name to URL, None where no weights were ever published.
        aliases: an old name, and the one that replaced it.
        synonyms: spellings that the publisher has for names, none of them deprecated.
        records: what is known about names; those that ``models`` lacks are names all the same.
        layer: one of ``LAYERS``.
    """

    zoo: str
    origin: Mapping[str, object]
    models: Mapping[str, Optional[str]]
    aliases: Mapping[str, str] = field(default_factory=dict)
    synonyms: Mapping[str, Synonym] = field(default_factory=dict)
    records: Mapping[str, Record] = field(default_factory=dict)
    layer: str = PACKAGED


def section_to_json(section: Section) -> str:
    """The text that is packaged: the same bytes for the same section, a line for each name."""
    members = {
        "zoo": json.dumps(section.zoo),
        "origin": json.dumps(dict(section.origin), indent=1, ensure_ascii=False),
        "models": "null" if _tells_itself(section) else _lines(section.models.items()),
        "aliases": _lines(section.aliases.items()),
        "synonyms": _lines((name, _synonym_to_json(synonym)) for name, synonym in section.synonyms.items()),
        "records": _lines((name, record.to_json()) for name, record in section.records.items()),
    }
    return "{\n" + ",\n".join(f'"{name}": {text}' for name, text in members.items()) + "\n}\n"


def section_from_json(text: str, layer: str = PACKAGED) -> Section:
    """The section that ``section_to_json`` wrote; anything else raises ValueError, KeyError, TypeError or
    AttributeError."""
    members = json.loads(text)
    records = {name: record_from_json(row) for name, row in members["records"].items()}
    models = members["models"]
    if models is None:
        models = {name: record.url for name, record in records.items()}
    synonyms = {name: Synonym(*row) for name, row in members["synonyms"].items()}
    return Section(members["zoo"], members["origin"], models, members["aliases"], synonyms, records, layer)


def shipped_sections() -> tuple[Section, ...]:
    return tuple(section_from_json(_packaged(f"{zoo}.json")) for zoo in SHIPPED)


def shipped_corrections() -> Corrections:
    return corrections_from_json(_packaged("corrections.json"))


def data_directory() -> Path:
    """Where the packaged data lies, for those who write it anew."""
    return Path(__file__).parent / "data"


def _packaged(name: str) -> str:
    return resources.files("zooproxy.names").joinpath("data", name).read_text(encoding="utf-8")


def _tells_itself(section: Section) -> bool:
    """Whether the map is no more than the records' own URLs, so that writing it would say everything twice."""
    told = {name: record.url for name, record in section.records.items()}
    return bool(told) and list(told.items()) == list(section.models.items())


def _lines(entries: Iterable[tuple[str, Any]]) -> str:
    lines = ",\n".join(f" {_compact(name)}: {_compact(value)}" for name, value in entries)
    return "{\n" + lines + "\n}" if lines else "{}"


def _compact(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


def _synonym_to_json(synonym: Synonym) -> list[str]:
    return [synonym.target] if synonym.note is None else [synonym.target, synonym.note]
