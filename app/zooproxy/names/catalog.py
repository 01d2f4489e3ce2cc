"""The catalog: what a reference stands for today, where its bytes come from, and what to know about it."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Optional
from urllib.parse import urlsplit

from zooproxy.errors import NameWithoutWeights, UnknownName, UnknownZoo
from zooproxy.names.file_names import file_name_of
from zooproxy.names.hints import sha256_hint
from zooproxy.names.reference import Reference, UrlReference, ZooReference, parse
from zooproxy.names.sections import (
    AliasRepair,
    Corrections,
    HintOverride,
    Section,
    shipped_corrections,
    shipped_sections,
)
from zooproxy.names.suggestions import Suggester
from zooproxy.names.zoos import DEPRECATED_SCHEMES, RECIPE_OF_ZOO, ZOO_OF_SCHEME, Zoo, schemes_of

_MAX_SHOWN = 80  # characters of an unknown name in a message


@dataclass(frozen=True)
class Source:
    """Where bytes come from.

    Attributes:
        url: the canonical http, https, ``[cluster:]s3`` or pavi URL; equal for every reference to the same file.
        sha256_hint: first digits of the content's sha256 (8 to 64, lower case), as published or as corrected.
        file_name: the last path segment, unquoted and safe to show; ``checkpoint`` when empty.
    """

    url: str
    sha256_hint: Optional[str]
    file_name: str


@dataclass(frozen=True)
class Resolution:
    """What a reference stands for.

    Attributes:
        reference: the text as given.
        canonical: the one spelling of what it stands for; an alias is replaced by its target.
        zoo, name: whose name it is, as given; None for a URL, an object or a pavi path.
        source: where the bytes come from.
        recipe: what the ``model`` variant does to the state dict; ``mmcls`` keeps ``backbone.``, strips it and drops
            the rest; None changes nothing.
        alias_of: the name that ``name`` is an alias of.
        warnings: sentences to show to the user.
        metadata: JSON values known about the checkpoint; ``corrections`` gives the reasons of what was corrected.
    """

    reference: str
    canonical: str
    zoo: Optional[str]
    name: Optional[str]
    source: Source
    recipe: Optional[str] = None
    alias_of: Optional[str] = None
    warnings: tuple[str, ...] = ()
    metadata: Mapping[str, object] = field(default_factory=dict)


class Catalog:
    """All zoos' names and aliases. Holds no open resource; may be shared by threads."""

    def __init__(self, sections: Iterable[Section], corrections: Optional[Corrections] = None) -> None:
        corrections = corrections or Corrections()
        self._sections = {section.zoo: section for section in sections}
        self._repairs: dict[tuple[str, str, Optional[str]], AliasRepair] = {
            (repair.zoo, repair.alias, repair.published): repair for repair in corrections.aliases
        }
        self._overrides = {override.url: override for override in corrections.hints}
        self._suggester: Optional[Suggester] = None

    @classmethod
    def shipped(cls) -> Catalog:
        """The catalog of the packaged data."""
        return cls(shipped_sections(), shipped_corrections())

    def zoos(self) -> tuple[Zoo, ...]:
        return tuple(
            Zoo(section.zoo, schemes_of(section.zoo), section.origin, len(section.models))
            for section in self._sections.values()
        )

    def map(self, zoo: str) -> Mapping[str, Optional[str]]:
        """mmengine's map of ``zoo``: name to URL, in mmengine's order; None where a name has no weights.

        Raises:
            UnknownZoo: with the nearest zoos' names as suggestions.
        """
        return dict(self._section(zoo).models)

    def aliases(self, zoo: str) -> Mapping[str, str]:
        """mmengine's deprecated names of ``zoo`` and what replaced them; targets that led nowhere are repaired.

        Raises:
            UnknownZoo: with the nearest zoos' names as suggestions.
        """
        section = self._section(zoo)
        repairs = {alias: self._repair(section, alias) for alias in section.aliases}
        repaired = {alias: repair.target for alias, repair in repairs.items() if repair is not None}
        return {**section.aliases, **repaired}

    def hosts(self) -> frozenset[str]:
        """The hosts of every URL in the catalog (lower case, without ports)."""
        urls = (url for section in self._sections.values() for url in section.models.values() if url is not None)
        return frozenset(host for host in (urlsplit(url).hostname for url in urls) if host)

    def resolve(self, reference: Reference) -> Resolution:
        """What ``reference`` stands for.

        Raises:
            UnknownZoo: this catalog has no data of the zoo.
            UnknownName: up to five suggestions, whole references, nearest first.
            NameWithoutWeights: the name never had weights; suggestions are names of the same model that have.
        """
        if isinstance(reference, ZooReference):
            return self._resolve_name(reference)
        override = self._overrides.get(reference.canonical)
        return Resolution(
            reference=reference.text,
            canonical=reference.canonical,
            zoo=None,
            name=None,
            source=_source(reference, override),
            metadata=_metadata(override),
        )

    def _resolve_name(self, reference: ZooReference) -> Resolution:
        section = self._section(reference.zoo)
        repair = self._repair(section, reference.name)
        alias_of = section.aliases.get(reference.name) if repair is None else repair.target
        name = reference.name if alias_of is None else alias_of
        located = parse(self._url(section, name))
        override = self._overrides.get(located.canonical)
        return Resolution(
            reference=reference.text,
            canonical=f"{section.zoo}://{name}",
            zoo=section.zoo,
            name=reference.name,
            source=_source(located, override),
            recipe=RECIPE_OF_ZOO.get(section.zoo),
            alias_of=alias_of,
            warnings=tuple(_warnings(reference, alias_of, repair)),
            metadata=_metadata(override),
        )

    def _repair(self, section: Section, alias: str) -> Optional[AliasRepair]:
        """The repair of this alias, if it still has the target that the repair was written for."""
        return self._repairs.get((section.zoo, alias, section.aliases.get(alias)))

    def _section(self, zoo: str) -> Section:
        section = self._sections.get(zoo)
        if section is None:
            meant = ZOO_OF_SCHEME.get(zoo)
            near = [meant] if meant else difflib.get_close_matches(zoo[:_MAX_SHOWN], self._sections, n=3)
            known = ", ".join(self._sections)
            raise UnknownZoo(f"there is no zoo '{_shown(zoo)}'; known are {known}", suggestions=near)
        return section

    def _url(self, section: Section, name: str) -> str:
        url = section.models.get(name)
        if url is not None:
            return url
        suggester = self._suggest()
        if name in section.models:
            message = f"'{_shown(name)}' is a name in {section.zoo} for which no weights were ever published"
            raise NameWithoutWeights(message, suggestions=suggester.continuing(section.zoo, name))
        suggestions = suggester.nearest(section.zoo, name)
        guess = f"; did you mean {suggestions[0]}?" if suggestions else ""
        raise UnknownName(f"{section.zoo} has no model '{_shown(name)}'{guess}", suggestions=suggestions)

    def _suggest(self) -> Suggester:
        # Two threads may both build it; either result will do.
        if self._suggester is None:
            with_weights = {
                section.zoo: [name for name, url in section.models.items() if url is not None]
                for section in self._sections.values()
            }
            self._suggester = Suggester(with_weights)
        return self._suggester


def _warnings(reference: ZooReference, alias_of: Optional[str], repair: Optional[AliasRepair]) -> Iterable[str]:
    """In mmengine's words where mmengine has words for it (``mmengine.runner.checkpoint``)."""
    if reference.scheme in DEPRECATED_SCHEMES:
        yield DEPRECATED_SCHEMES[reference.scheme]
    if alias_of is None:
        return
    prefix = f"{reference.scheme}://"
    yield f"{prefix}{reference.name} is deprecated in favor of {prefix}{alias_of}"
    if repair is not None:
        yield (
            f"the alias {prefix}{repair.alias} was repaired: it was published for {repair.published}, which has no "
            f"entry, and now leads to {repair.target}; {repair.reason}"
        )


def _source(located: Reference, override: Optional[HintOverride]) -> Source:
    file_name = file_name_of(_path(located))
    hint = sha256_hint(file_name) if override is None else override.hint
    return Source(located.canonical, hint, file_name)


def _path(located: Reference) -> str:
    """What ends in the file's name; a ``?`` begins a query in a URL and is a character of an object's key."""
    return located.target.partition("?")[0] if isinstance(located, UrlReference) else located.canonical


def _metadata(override: Optional[HintOverride]) -> Mapping[str, object]:
    return {} if override is None else {"corrections": [override.reason]}


def _shown(text: str) -> str:
    """``text`` fit for a message: cut short, nothing in it that does not print."""
    printable = "".join(character if character.isprintable() else "?" for character in text[:_MAX_SHOWN])
    return printable if len(text) <= _MAX_SHOWN else f"{printable}…"
