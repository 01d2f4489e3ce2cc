"""The catalog: what a reference stands for today, where its bytes come from, and what to know about it."""

from __future__ import annotations

import contextlib
import difflib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from typing import Final, Optional, Union
from urllib.parse import urlsplit

from zooproxy.errors import BadReference, NameWithoutWeights, UnknownName, UnknownZoo
from zooproxy.masking import masked
from zooproxy.names.corrections import Corrections, HintOverride, UrlRepair
from zooproxy.names.file_names import file_name_of
from zooproxy.names.hints import sha256_hint
from zooproxy.names.layered import ZooNames
from zooproxy.names.listing import Keep, Listed, Page, Query, ZooListing, page_of
from zooproxy.names.published import Located, locate
from zooproxy.names.records import Record
from zooproxy.names.reference import ObjectReference, PaviReference, Reference, UrlReference, ZooReference
from zooproxy.names.search import words_of
from zooproxy.names.sections import PACKAGED, Section, shipped_corrections, shipped_sections
from zooproxy.names.spellings import spell
from zooproxy.names.suggestions import LIMIT, Suggester
from zooproxy.names.zoos import NOT_SHIPPED, RECIPE_OF_ZOO, SHARED_HOSTS, SITE, ZOO_OF_SCHEME, Zoo, schemes_of

MIN_DIGITS: Final = 8  # of a digest that is looked up
_MAX_RESOLVED = 4096  # resolutions kept: more than a cluster asks for, less than a stranger could fill memory with
_MAX_SHOWN = 80  # characters of an unknown name in a message


@dataclass(frozen=True)
class Source:
    """Where bytes come from.

    Attributes:
        url: the canonical http, https, ``[cluster:]s3`` or pavi URL, or that of a site's own file (``local_files``,
            ``published``); equal for every reference to the same file.
        sha256_hint: first digits of the content's sha256 (8 to 64, lower case), as published or as corrected.
        file_name: the last path segment, unquoted and safe to show; ``checkpoint`` when empty.
        address: what is asked for the bytes; ``url`` names it, and has no credentials (``masking``).
    """

    url: str
    sha256_hint: Optional[str]
    file_name: str
    address: str = field(default="", repr=False, compare=False)


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
        alias_of: the name that ``name`` is another spelling of.
        layer: which layer of the catalog answered (``sections.LAYERS``); None for what needs no zoo.
        warnings: sentences to show to the user.
        metadata: JSON values known about the checkpoint (``Record.facts``); ``corrections`` gives the reasons of what
            was corrected.
    """

    reference: str
    canonical: str
    zoo: Optional[str]
    name: Optional[str]
    source: Source
    recipe: Optional[str] = None
    alias_of: Optional[str] = None
    layer: Optional[str] = None
    warnings: tuple[str, ...] = ()
    metadata: Mapping[str, object] = field(default_factory=dict)


class Catalog:
    """All zoos' names and aliases. Never changes and holds no open resource; may be shared by threads."""

    def __init__(self, sections: Iterable[Section], corrections: Optional[Corrections] = None) -> None:
        self._corrections = corrections = corrections or Corrections()
        self._repairs = {(repair.zoo, repair.alias, repair.published): repair for repair in corrections.aliases}
        self._overrides = {override.url: override for override in corrections.hints}
        self._resolved: dict[str, Resolution] = {}
        by_zoo: dict[str, list[Section]] = {}
        for section in sections:
            by_zoo.setdefault(section.zoo, []).append(section)
        urls = {repair.published: repair for repair in corrections.urls}
        self._zoos = {zoo: ZooNames(layers, urls) for zoo, layers in by_zoo.items()}

    @classmethod
    @cache
    def shipped(cls) -> Catalog:
        """The catalog of the packaged data: as it is when first asked for, one for all of a process."""
        return cls.read()

    @classmethod
    def read(cls) -> Catalog:
        """The same as the files are now, for whoever changes or measures them."""
        return cls(shipped_sections(), shipped_corrections())

    def layered(self, sections: Iterable[Section]) -> Catalog:
        """This catalog with ``sections`` instead of what their layers said about their zoos before.

        A layer that now says nothing of a zoo is no layer of it any more.
        """
        added = {(section.zoo, section.layer): section for section in sections}
        if not added:
            return self
        known = {(section.zoo, section.layer): section for names in self._zoos.values() for section in names.sections}
        sections = ({**known, **added}).values()
        return Catalog((section for section in sections if section.models or section.records), self._corrections)

    def added(self) -> tuple[Section, ...]:
        """What the layers above the packaged one say, by zoo."""
        sections = (section for names in self._zoos.values() for section in names.sections)
        return tuple(section for section in sections if section.layer != PACKAGED)

    def prepare(self) -> None:
        """Builds now what look-ups would build when they first need it."""
        _ = self._suggester, self._by_digits, self._listings

    def zoos(self) -> tuple[Zoo, ...]:
        return tuple(
            Zoo(zoo, schemes_of(zoo), names.origin, sum(1 for _ in names.located()), names.layers)
            for zoo, names in self._zoos.items()
        )

    def map(self, zoo: str) -> Mapping[str, Optional[str]]:
        """mmengine's map of ``zoo``: name to URL, in mmengine's order; None where a name has no weights.

        Raises:
            UnknownZoo: with the nearest zoos' names as suggestions.
        """
        return dict(self._zoo(zoo).models)

    def aliases(self, zoo: str) -> Mapping[str, str]:
        """mmengine's deprecated names of ``zoo`` and what replaced them, exactly as published.

        A target that leads nowhere there stands here too; ``resolve`` repairs it.

        Raises:
            UnknownZoo: with the nearest zoos' names as suggestions.
        """
        return dict(self._zoo(zoo).aliases)

    def allowed(self) -> frozenset[str]:
        """What may be fetched without an operator's word: hosts (lower case, without ports) of the URLs in the catalog;
        of hosts where anybody can publish, those URLs alone."""
        return self._allowed

    def resolve(self, reference: Reference) -> Resolution:
        """What ``reference`` stands for.

        Raises:
            UnknownZoo: this catalog has no data of the zoo.
            UnknownName: up to five suggestions, whole references, nearest first.
            NameWithoutWeights: the name leads to no file; suggestions are names of the same model that do.
        """
        known = self._resolved.get(reference.text)
        if known is not None:
            return known
        resolution = self._resolve_name(reference) if isinstance(reference, ZooReference) else self._as_it_is(reference)
        if len(self._resolved) < _MAX_RESOLVED:
            self._resolved[reference.text] = resolution
        return resolution

    def _as_it_is(self, reference: Union[UrlReference, ObjectReference, PaviReference]) -> Resolution:
        override = self._overrides.get(reference.canonical)
        record = self._record_of(reference.canonical)
        return Resolution(
            reference=masked(reference.text),
            canonical=masked(reference.canonical),
            zoo=None,
            name=None,
            source=_source(reference, override, record),
            metadata=_metadata(record, _reasons(override)),
        )

    def search(self, query: Query, limit: int, cursor: Optional[str] = None, keep: Optional[Keep] = None) -> Page:
        """A page of ``limit`` names at most, best match first; equals by zoo, then by name.

        ``cursor`` is a page's ``next``; ``keep`` tells by its URL (None: no weights) whether a name counts.

        Raises:
            UnknownZoo: the query names a zoo that is not there.
            BadRequest: the cursor is none, or belongs to another query.
        """
        zoos = list(self._zoos) if query.zoo is None else [query.zoo]
        for zoo in zoos:
            self._zoo(zoo)
        ranks = {zoo: rank for rank, zoo in enumerate(self._zoos)}
        found = (one for zoo in zoos for one in self._listings[zoo].find(query, ranks[zoo]))
        return page_of(found, query, limit, cursor, keep)

    def naming(self, url: str) -> tuple[str, ...]:
        """The references of every name that leads to ``url`` (canonical), in the order of the zoos."""
        return tuple(f"{zoo}://{name}" for zoo, name in self._by_url.get(url, ()))

    def naming_digits(self, digits: str) -> tuple[tuple[str, str], ...]:
        """Reference and URL of each name whose hint agrees with ``digits`` (8 to 64, lower case) as far as both go."""
        near = self._by_digits.get(digits[:MIN_DIGITS], ())
        return tuple((ref, url) for hint, ref, url in near if hint.startswith(digits) or digits.startswith(hint))

    def listed(self, reference: ZooReference) -> Listed:
        """One name as ``search`` lists it; an alias is listed as what it stands for.

        Raises:
            UnknownZoo, UnknownName: as ``resolve``.
        """
        names = self._zoo(reference.zoo)
        name = spell(names, reference, self._repairs).name
        if name not in names:
            raise self._unknown(reference, name)
        return self._listings[reference.zoo].listed(name)

    def _with_its_words(self, reference: ZooReference) -> Iterator[str]:
        """Names of the zoo that hold every word of an unknown one, however far away they are letter by letter."""
        words = " ".join(words_of(reference.name[:_MAX_SHOWN]))
        if words:
            found = self._listings[reference.zoo].find(Query(words), 0)
            page = page_of(found, Query(words), LIMIT, None, lambda url: url is not None)
            yield from (listed.ref for listed in page.models)

    def unknown_zoo(self, zoo: str) -> UnknownZoo:
        """What to say of a zoo that is not there: the nearest ones, or how to get it."""
        if zoo == SITE:
            return UnknownZoo("nothing is published here yet: zooproxy publish FILE team/model")
        if zoo in NOT_SHIPPED:
            way_out = f"an operator can read them from its wheel: zooproxy catalog sync --wheel {zoo}.whl"
            return UnknownZoo(f"no names of {zoo} come with zooproxy, for its licence's sake; {way_out}")
        meant = ZOO_OF_SCHEME.get(zoo)
        near = [meant] if meant else difflib.get_close_matches(zoo[:_MAX_SHOWN], self._zoos, n=3)
        known = ", ".join(self._zoos)
        return UnknownZoo(f"there is no zoo '{_shown(zoo)}'; known are {known}", suggestions=near)

    def _resolve_name(self, reference: ZooReference) -> Resolution:
        names = self._zoo(reference.zoo)
        spelling = spell(names, reference, self._repairs)
        located = self._located(names, reference, spelling.name)
        repair = names.repaired.get(spelling.name)
        override = self._overrides.get(located.canonical)
        record = names.records.get(spelling.name) or self._record_of(located.canonical)
        return Resolution(
            reference=reference.text,
            canonical=f"{reference.zoo}://{spelling.name}",
            zoo=reference.zoo,
            name=reference.name,
            source=_source(located, override, record),
            recipe=RECIPE_OF_ZOO.get(reference.zoo),
            alias_of=spelling.alias_of,
            layer=names.layer(spelling.name),
            warnings=(*spelling.warnings, *_warnings(reference.zoo, record, repair)),
            metadata=_metadata(record, (*spelling.corrections, *_reasons(repair), *_reasons(override))),
        )

    def _located(self, names: ZooNames, reference: ZooReference, name: str) -> Located:
        url = names.url(name)
        if url is None and name not in names:
            raise self._unknown(reference, name)
        repair = names.repaired.get(name)
        why = "no weights were ever published" if repair is None else f"no file is known: {repair.reason}"
        try:
            if url is not None:
                return locate(url)
        except BadReference as error:
            why = f"a URL was published that is none: {error}"
        message = f"'{_shown(name)}' is a name in {reference.zoo} for which {why}"
        raise NameWithoutWeights(message, suggestions=self._suggester.continuing(reference.zoo, name))

    def _unknown(self, reference: ZooReference, name: str) -> UnknownName:
        nearest = self._suggester.nearest(reference.zoo, reference.name)
        suggestions = tuple(dict.fromkeys([*nearest, *self._with_its_words(reference)]))[:LIMIT]
        guess = f"; did you mean {suggestions[0]}?" if suggestions else ""
        return UnknownName(f"{reference.zoo} has no model '{_shown(name)}'{guess}", suggestions=suggestions)

    def _zoo(self, zoo: str) -> ZooNames:
        names = self._zoos.get(zoo)
        if names is None:
            raise self.unknown_zoo(zoo)
        return names

    def _record_of(self, url: str) -> Optional[Record]:
        """What any zoo knows about the file: mmcls has no records, and mmpretrain describes the same files."""
        override = self._overrides.get(url)
        url = override.same_as if override is not None and override.same_as else url
        for zoo, name in self._by_url.get(url, ()):
            record = self._zoos[zoo].records.get(name)
            if record is not None:
                return record
        return None

    @cached_property
    def _allowed(self) -> frozenset[str]:
        urls = (url for names in self._zoos.values() for _, url in names.located())
        located = ((_host_of(url), url) for url in urls)
        return frozenset(url if host in SHARED_HOSTS else host for host, url in located if host)

    @cached_property
    def _by_url(self) -> Mapping[str, list[tuple[str, str]]]:
        by_url: dict[str, list[tuple[str, str]]] = {}
        for zoo, names in self._zoos.items():
            for name, url in names.located():
                by_url.setdefault(url, []).append((zoo, name))
        return by_url

    @cached_property
    def _by_digits(self) -> Mapping[str, list[tuple[str, str, str]]]:
        by_digits: dict[str, list[tuple[str, str, str]]] = {}
        for url, named in self._by_url.items():
            with contextlib.suppress(BadReference):
                hint = _source(locate(url), self._overrides.get(url), self._record_of(url)).sha256_hint
                entries = [(hint, f"{zoo}://{name}", url) for zoo, name in named] if hint else []
                by_digits.setdefault((hint or "")[:MIN_DIGITS], []).extend(entries)
        return by_digits

    @cached_property
    def _listings(self) -> Mapping[str, ZooListing]:
        return {zoo: ZooListing(zoo, names, self._record_of) for zoo, names in self._zoos.items()}

    @cached_property
    def _suggester(self) -> Suggester:
        return Suggester({zoo: [name for name, _ in names.located()] for zoo, names in self._zoos.items()})


def _host_of(url: str) -> Optional[str]:
    try:
        return urlsplit(url).hostname
    except ValueError:
        return None


def _warnings(zoo: str, record: Optional[Record], repair: Optional[UrlRepair]) -> Iterator[str]:
    if repair is not None:
        yield f"the published URL was repaired: {repair.reason}"
    if record is not None and record.also:
        others = ", ".join(f"{zoo}://{name}" for name in record.also)
        yield f"{len(record.also) + 1} files were published under this name; this is the first, the others are {others}"


def _source(located: Located, override: Optional[HintOverride], record: Optional[Record]) -> Source:
    file_name = file_name_of(_path(located))
    if override is not None:
        return Source(masked(located.canonical), override.hint, file_name, located.canonical)
    stated = None if record is None else record.sha256
    return Source(masked(located.canonical), stated or sha256_hint(file_name), file_name, located.canonical)


def _path(located: Located) -> str:
    """What ends in the file's name; a ``?`` begins a query in a URL and is a character of an object's key."""
    return located.target.partition("?")[0] if isinstance(located, UrlReference) else located.canonical


def _reasons(correction: Union[HintOverride, UrlRepair, None]) -> tuple[str, ...]:
    return () if correction is None else (correction.reason,)


def _metadata(record: Optional[Record], reasons: tuple[str, ...]) -> Mapping[str, object]:
    corrections: dict[str, object] = {"corrections": list(reasons)} if reasons else {}
    return {**({} if record is None else record.facts()), **corrections}


def _shown(text: str) -> str:
    """``text`` fit for a message: cut short, nothing in it that does not print."""
    printable = "".join(character if character.isprintable() else "?" for character in text[:_MAX_SHOWN])
    return printable if len(text) <= _MAX_SHOWN else f"{printable}…"
