"""The JSON of look-ups, as frozen values: field names are the members' names, in this order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, is_dataclass
from typing import Any, Optional

ABSENT = "absent"
FILLING = "filling"
HELD = "held"
QUARANTINED = "quarantined"
DENIED = "denied"
UNKNOWN = "unknown"

BY_URL = "url"
BY_HELD = "held"
BY_HINT = "hint"


def members_of(answer: Any) -> dict[str, Any]:
    """The JSON members of an answer and of the answers in its lists; nothing is copied, so nothing may be changed."""
    return {
        name: [members_of(one) if is_dataclass(one) else one for one in value] if isinstance(value, list) else value
        for name, value in vars(answer).items()
    }


@dataclass(frozen=True)
class ResolveAnswer:
    """``GET /v1/resolve``: what a reference means.

    ``candidates`` are URLs in the order they would be asked; ``sha256_hint`` the digest's first digits as published
    in the file name; ``sha256`` the full digest once pinned or held; ``size`` in bytes once held; ``state`` one of
    ``absent``, ``filling``, ``held``, ``quarantined``, ``denied`` (by a rule, which a warning names), ``unknown``
    where no proxy was asked; ``recipe`` what the ``model`` variant does to the state dict; ``layer`` which layer of the
    catalog answered, None for what needs no zoo.
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
    layer: Optional[str]
    warnings: list[str]
    metadata: Mapping[str, Any]


@dataclass(frozen=True)
class ZooAnswer:
    """One zoo in ``GET /v1/zoos``.

    ``models`` counts the names that lead to weights; ``layers`` are those of the catalog that have names in it, the one
    that overrules the others last; ``origin`` says where that one's names came from.
    """

    name: str
    schemes: list[str]
    models: int
    layers: list[str]
    origin: Mapping[str, Any]


@dataclass(frozen=True)
class ModelAnswer:
    """One name in a list of names: ``tasks`` and ``datasets`` are those of ``metadata``, gathered.

    ``url`` is None for a name without weights; ``synonyms`` are other spellings that lead to the name; ``state`` as in
    ``ResolveAnswer``, ``unknown`` where nobody looked.
    """

    ref: str
    zoo: str
    name: str
    url: Optional[str]
    layer: str
    state: str
    synonyms: list[str]
    tasks: list[str]
    datasets: list[str]
    metadata: Mapping[str, Any]


@dataclass(frozen=True)
class PublishedAnswer:
    """``/v1/zoos/{zoo}/files/{name}``: what was published, or would be.

    ``refs`` lead to it: the tag's, where there is one, and the latest; ``url`` is its source's, ``size`` in bytes.
    """

    refs: list[str]
    url: str
    sha256: str
    size: int


@dataclass(frozen=True)
class ModelsAnswer:
    """``GET /v1/models``: a page, best match first; ``next`` is the cursor of the following one, None on the last."""

    models: list[ModelAnswer]
    total: int
    next: Optional[str]


@dataclass(frozen=True)
class NamedAnswer:
    """A name that leads to a file.

    ``evidence`` is ``url`` (it leads to that URL), ``held`` (a file with that digest was fetched from its URL) or
    ``hint`` (the digits in its file name agree, which proves nothing).
    """

    ref: str
    url: str
    evidence: str


@dataclass(frozen=True)
class NamesAnswer:
    """``GET /v1/resolve?url=`` and ``?sha256=``: the names of a file; ``urls`` are those that are known for it."""

    url: Optional[str]
    sha256: Optional[str]
    urls: list[str]
    names: list[NamedAnswer]
