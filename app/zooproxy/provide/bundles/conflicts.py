"""What a bundle says of its sources against what is trusted here: told before a byte of it is stored."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from zooproxy.cache.trust import Trusted
from zooproxy.digest import Sha256
from zooproxy.errors import BadReference, BundleConflict, MalformedBundle, NotInCatalog
from zooproxy.fetch.proof import Wanted
from zooproxy.names.local_files import contained, local_file
from zooproxy.names.published import published_file
from zooproxy.names.reference import parse
from zooproxy.provide.bundles.manifest import BundledSource
from zooproxy.provide.bundles.site import Site

_MOST_SHOWN: Final = 20


@dataclass(frozen=True, slots=True)
class _Conflict:
    """``yields``: an operator's word (--accept) settles it; a pin is one already."""

    url: str
    actual: Sha256
    expected: str
    who: str
    yields: bool

    def __str__(self) -> str:
        return f"{self.url}: the bundle has {self.actual}, {self.who} {self.expected}"


async def settled(site: Site, sources: Iterable[BundledSource], *, accept: bool) -> Mapping[str, Sha256]:
    """The URLs and digests that an operator's ``accept`` has to be recorded for; mostly none.

    Raises:
        MalformedBundle: a URL is none that a source can have.
        BundleConflict: a source has another digest than its pin, than it is trusted with here, or than its name says.
    """
    trusted = await site.shelf.index.trust.all()
    conflicts = [found for source in sources for found in _conflicts(site, source, trusted.get(source.url))]
    refused = [one for one in conflicts if not (accept and one.yields)]
    if refused:
        raise BundleConflict(_sentence(refused), conflicts=list(map(str, refused)))
    return {one.url: one.actual for one in conflicts}


def _conflicts(site: Site, source: BundledSource, trusted: Trusted | None) -> Iterator[_Conflict]:
    published = published_file(source.url)
    if published is not None and published.sha256 != source.sha256:
        raise MalformedBundle("the manifest gives a published file another digest than its URL")
    wanted = _wanted(site, source.url)
    if wanted.pin is not None:
        if wanted.pin != source.sha256:
            who = "PINS says" if wanted.locked_as is None else f"LOCK_FILE has it as '{wanted.locked_as}' with"
            yield _Conflict(source.url, source.sha256, wanted.pin, who, yields=False)
    elif trusted is not None:
        if trusted.sha256 != source.sha256:
            yield _Conflict(source.url, source.sha256, trusted.sha256, "it is trusted here with", yields=True)
    elif wanted.hint and not source.sha256.matches_hint(wanted.hint):
        yield _Conflict(source.url, source.sha256, wanted.hint, "the published file name promises", yields=True)


def _wanted(site: Site, url: str) -> Wanted:
    """What is known of the bytes of a URL that a source can have."""
    local = local_file(url)
    if local is not None and contained(str(local.path)) == local:
        return Wanted(url, pin=site.pins.of(url))
    published = published_file(url)
    if published is not None and published.canonical == url:
        return Wanted(url, pin=site.pins.of(url))
    try:
        resolution = site.catalog.resolve(parse(url))
    except BadReference as error:
        raise MalformedBundle("the manifest gives a source a URL that is none") from error
    except NotInCatalog as error:
        raise MalformedBundle("the manifest gives a source a name for a URL") from error
    if resolution.zoo is not None or resolution.source.url != url:
        raise MalformedBundle("the manifest gives a source a URL that is none")
    return site.pins.wanted(resolution)


def _sentence(conflicts: list[_Conflict]) -> str:
    shown = "; ".join(map(str, conflicts[:_MOST_SHOWN]))
    more = f"; and {len(conflicts) - _MOST_SHOWN} more" if len(conflicts) > _MOST_SHOWN else ""
    way_out = (
        "if the bundle is right, --accept takes it"
        if all(one.yields for one in conflicts)
        else "change PINS, or LOCK_FILE, first"
    )
    return f"{shown}{more}; {way_out}"
