"""The catalog as it stands now, what the cache knows about its names, and the names that an administrator puts."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Final

from zooproxy.cache.database import Database
from zooproxy.cache.holdings import Holdings
from zooproxy.cache.site_names import Revision, SiteName, SiteNames
from zooproxy.digest import Sha256
from zooproxy.errors import BadRequest, CacheError, UnknownName
from zooproxy.masking import masked
from zooproxy.names.answers import model_answer
from zooproxy.names.catalog import Catalog, Resolution
from zooproxy.names.listing import Listed, Query
from zooproxy.names.published import published_file
from zooproxy.names.records import Record, record_from_json
from zooproxy.names.reference import ZooReference, parse
from zooproxy.names.sections import ADMINISTRATOR, Section
from zooproxy.names.zoos import ZOO_OF_SCHEME
from zooproxy.provide.parent_names import ParentNames, section_of_records
from zooproxy.wire.answers import (
    ABSENT,
    BY_HELD,
    BY_HINT,
    BY_URL,
    HELD,
    ModelAnswer,
    ModelsAnswer,
    NamedAnswer,
    NamesAnswer,
)

_log = logging.getLogger(__name__)

_REFRESH_SECONDS: Final = 5.0
CheckHost = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Put:
    """What an administrator says of a name: where it leads, what its bytes must be, what to know about it."""

    url: str
    sha256: str | None
    record: Record


class Names:
    """Look-ups over the catalog; ``catalog`` is one frozen state of it. ``open_names`` makes one."""

    def __init__(self, catalog: Catalog, site_names: SiteNames, holdings: Holdings, check_host: CheckHost) -> None:
        self.catalog = catalog
        self._base = catalog
        self._put: tuple[SiteName, ...] = ()
        self._parents: Section | None = None
        self._seen: tuple[Revision, Catalog, Section | None] = Revision(0, 0), catalog, None
        self._site_names = site_names
        self._holdings = holdings
        self._check_host = check_host
        self._changing = asyncio.Lock()

    async def refresh(self) -> None:
        """Takes over what administrators have put or removed, in this process or another.

        Raises:
            CacheError: the database cannot be read.
        """
        async with self._changing:
            revision = await self._site_names.revision()
            while (seen := (revision, self._base, self._parents)) != self._seen:
                self._put = await self._site_names.all()
                self.catalog = await asyncio.to_thread(self.over, self._base)
                self._seen = seen

    def over(self, base: Catalog) -> Catalog:
        """``base`` with what the parent publishes and what administrators have put, ready to be asked; for a thread."""
        parents = [] if self._parents is None else [self._parents]
        catalog = base.layered([*parents, *_administrators(self._put)])
        catalog.prepare()
        return catalog

    def become(self, base: Catalog, catalog: Catalog) -> None:
        """From now on ``base``, which was read again, is what all else lies over; ``over`` made ``catalog`` of it."""
        self._base, self.catalog = base, catalog

    def reread(self, base: Catalog) -> tuple[Catalog, Catalog]:
        """What ``become`` wants: as it is now, where ``base`` says the same as before; for a thread."""
        return (self._base, self.catalog) if base.added() == self._base.added() else (base, self.over(base))

    async def learn(self, parents: Section | None) -> None:
        """Takes over what the parent publishes.

        Raises:
            CacheError: as ``refresh``.
        """
        self._parents = parents
        await self.refresh()

    async def put(self, zoo: str, name: str, put: Put) -> tuple[ModelAnswer, bool]:
        """The name as it stands now, and whether no administrator had put it before.

        Raises:
            UnknownZoo, BadReference: the zoo is none, the name or the URL cannot be.
            BadRequest: the digest is none.
            HostNotAllowed: the proxy may not fetch from the URL's host.
        """
        reference = self._reference(zoo, name)
        located = parse(put.url)
        if masked(put.url) != put.url:
            raise BadRequest("a name may not lead to a URL with credentials in it; they would be kept and shown")
        if isinstance(located, ZooReference):
            raise BadRequest("a name leads to a URL, not to another name")
        self._check_host(located.canonical)
        details = json.dumps(replace(put.record, url=None).to_json()).encode()
        is_new = await self._site_names.put(
            SiteName(zoo, reference.name, located.canonical, _digest(put.sha256), details)
        )
        await self.refresh()
        return await self.model(zoo, name), is_new

    async def remove(self, zoo: str, name: str) -> None:
        """
        Raises:
            UnknownName: no administrator has put it; names of other layers cannot be removed.
        """
        reference = self._reference(zoo, name)
        if not await self._site_names.remove(zoo, reference.name):
            raise UnknownName("no administrator has put this name; only such names can be removed")
        await self.refresh()

    async def search(
        self, query: Query, limit: int, cursor: str | None = None, held: bool | None = None
    ) -> ModelsAnswer:
        """A page of names; ``held`` keeps those that are, or are not, in the cache.

        Raises:
            UnknownZoo, BadRequest: as ``Catalog.search``.
        """
        if held is None:
            page = self.catalog.search(query, limit, cursor)
            there = await self._holdings.among([listed.url for listed in page.models if listed.url])
        else:
            there = await self._holdings.urls()
            page = self.catalog.search(query, limit, cursor, lambda url: (url in there) is held)
        models = [model_answer(listed, _state(listed, there)) for listed in page.models]
        return ModelsAnswer(models, page.total, page.next)

    async def model(self, zoo: str, name: str) -> ModelAnswer:
        """One name.

        Raises:
            BadReference: the name cannot be part of a reference.
            UnknownZoo, UnknownName: with the nearest names as suggestions.
        """
        listed = self.catalog.listed(self._reference(zoo, name))
        there = await self._holdings.among([listed.url] if listed.url else [])
        return model_answer(listed, _state(listed, there))

    def of_url(self, url: str) -> NamesAnswer:
        """The names that lead to a URL, however it is spelt.

        Raises:
            BadReference: it is none.
        """
        canonical = parse(url).canonical
        names = [NamedAnswer(ref, masked(canonical), BY_URL) for ref in self.catalog.naming(canonical)]
        return NamesAnswer(masked(url), None, [masked(canonical)], names)

    async def of_digest(self, digits: str) -> NamesAnswer:
        """The names of a file by the first digits (8 to 64, lower case) of its sha256, those of held files first."""
        urls = await self._holdings.of_digest(digits)
        held = [NamedAnswer(ref, url, BY_HELD) for url in urls for ref in self.catalog.naming(url)]
        hinted = self.catalog.naming_digits(digits)
        names = held + [NamedAnswer(ref, url, BY_HINT) for ref, url in hinted if url not in urls]
        return NamesAnswer(None, digits, list(dict.fromkeys([*urls, *(url for _, url in hinted)])), names)

    def published(self, digest: Sha256) -> Resolution | None:
        """A name under which a file with this digest is published, here or at the parent."""
        for ref, url in self.catalog.naming_digits(digest):
            found = published_file(url)
            if found is not None and found.sha256 == digest:
                return self.catalog.resolve(parse(ref))
        return None

    def zoos_of(self, url: str) -> frozenset[str]:
        """The zoos that have a name which leads to ``url`` (canonical)."""
        return frozenset(ref.partition("://")[0] for ref in self.catalog.naming(url))

    def _reference(self, zoo: str, name: str) -> ZooReference:
        if ZOO_OF_SCHEME.get(zoo) != zoo:
            raise self.catalog.unknown_zoo(zoo)
        reference = parse(f"{zoo}://{name}")
        assert isinstance(reference, ZooReference)  # noqa: S101  # the scheme is a zoo's
        return reference


@asynccontextmanager
async def open_names(
    catalog: Catalog, database: Database, check_host: CheckHost, parents: ParentNames | None = None
) -> AsyncIterator[Names]:
    """Names over ``catalog``, what administrators put and what ``parents`` publishes.

    They are kept up to date with other processes, and the parent, until it is closed.

    Raises:
        CacheError: the database cannot be read.
    """
    names = Names(catalog, SiteNames(database), Holdings(database), check_host)
    await names.refresh()
    following = [asyncio.create_task(_follow(names))]
    if parents is not None:
        following.append(asyncio.create_task(_follow_parents(names, parents)))
    try:
        yield names
    finally:
        for task in following:
            task.cancel()
        await asyncio.gather(*following, return_exceptions=True)


async def _follow(names: Names) -> None:
    await asyncio.to_thread(names.catalog.prepare)
    while True:
        await asyncio.sleep(_REFRESH_SECONDS)
        try:
            await names.refresh()
        except CacheError as error:
            _log.warning("the names of administrators could not be read again: %s", error)


async def _follow_parents(names: Names, parents: ParentNames) -> None:
    """On its own: a parent that does not answer holds up nobody else's names."""
    while True:
        try:
            await names.learn(await parents.read())
        except CacheError as error:
            _log.warning("the names that the parent publishes could not be taken over: %s", error)
        await asyncio.sleep(_REFRESH_SECONDS)


def _administrators(names: Iterable[SiteName]) -> Iterator[Section]:
    by_zoo: dict[str, dict[str, Record]] = {}
    for name in names:
        record = record_from_json({**json.loads(name.details), "url": name.url, "sha256": name.sha256})
        by_zoo.setdefault(name.zoo, {})[name.name] = record
    for zoo, records in by_zoo.items():
        yield section_of_records(zoo, {"put": "by an administrator"}, records, ADMINISTRATOR)


def _digest(text: str | None) -> Sha256 | None:
    try:
        return None if text is None else Sha256(text.lower())
    except ValueError as error:
        raise BadRequest("sha256 is 64 hexadecimal digits") from error


def _state(listed: Listed, held: frozenset[str]) -> str:
    return HELD if listed.url in held else ABSENT
