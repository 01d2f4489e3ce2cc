"""What goes into a bundle: from what is asked for to the contents of each part, the same for the same cache."""

from __future__ import annotations

import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Final

import zooproxy
from zooproxy.cache.index import HeldSource, Index
from zooproxy.cache.shelf import DERIVED
from zooproxy.digest import Sha256
from zooproxy.errors import BadRequest, BlobAbsent
from zooproxy.formats.reader import READER_VERSION
from zooproxy.names.catalog import Catalog
from zooproxy.names.lock import Locked
from zooproxy.names.reference import parse
from zooproxy.names.sections import section_to_json
from zooproxy.provide.bundles import layout
from zooproxy.provide.bundles.manifest import (
    BundledIndex,
    BundledLayer,
    BundledSource,
    Contents,
    Manifest,
    Member,
    joined,
    sealed,
    spelt,
)
from zooproxy.provide.pins import Pins

_MOST_SHOWN: Final = 20  # references in a message
_SIGNATURE_PER_MEMBER: Final = 300  # bytes; what a signature may take in a part
_SIGNATURE: Final = 4096  # bytes; and for the rest of it


@dataclass(frozen=True, slots=True)
class Asked:
    """``refs``, ``locked``: what to carry; ``held``: all that is held. ``since``: what earlier bundles carried already.

    ``split``: the largest part in bytes, None for one file of any size.
    """

    refs: tuple[str, ...] = ()
    held: bool = False
    locked: tuple[Locked, ...] = ()
    since: tuple[Manifest, ...] = ()
    split: int | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """The manifest of each part, and the documents that are not in the database: those of the catalog's layers."""

    parts: tuple[Manifest, ...]
    layers: Mapping[Sha256, bytes]


async def plan(index: Index, catalog: Catalog, pins: Pins, asked: Asked) -> Plan:
    """
    Raises:
        BadReference, NotInCatalog: a reference leads nowhere.
        BlobAbsent: some of what is asked for is not held; all of that is named.
        BadRequest: nothing is left to carry, or a blob does not fit into a part.
    """
    held = await _selected(index, catalog, pins, asked)
    trusted = await index.trust.all()
    accepted = {url for url, one in trusted.items() if one.accepted_at}
    sources = [_source(one, catalog, one.url in accepted) for one in held]
    layers = list(_layers(catalog, sources))
    groups = [Contents(layers=(layer,), members=(_member(document),)) for layer, document in layers]
    by_blob: dict[Member, list[BundledSource]] = {}
    for source in sources:
        by_blob.setdefault(Member(source.sha256, source.size), []).append(source)
    blobs = sorted(by_blob, key=lambda one: one.sha256)
    kept = index.tensor_indexes([blob.sha256 for blob in blobs], READER_VERSION)
    read = {blob: _member(document) async for blob, document in kept}
    groups += [_group(blob, by_blob[blob], read.get(blob.sha256)) for blob in blobs]
    carried = _carried(asked.since)
    groups = [replace(one, members=tuple(m for m in one.members if m.sha256 not in carried)) for one in groups]
    previous = tuple(sorted({earlier.part.whole for earlier in asked.since}))
    parts = [replace(joined(part), previous=previous) for part in _split(groups, previous, asked.split)]
    created_by = f"zooproxy {zooproxy.__version__}"
    return Plan(tuple(sealed(created_by, parts)), {layer.document: document for layer, document in layers})


def _source(held: HeldSource, catalog: Catalog, accepted: bool) -> BundledSource:
    references = tuple(sorted(catalog.naming(held.url)))
    return BundledSource(held.url, held.sha256, held.size, held.filled_at, accepted, references)


def _group(blob: Member, sources: list[BundledSource], read: Member | None) -> Contents:
    """What belongs together: a blob, the document of what was read from it, and whence it came."""
    if read is None:
        return Contents(sources=tuple(sources), members=(blob,))
    indexes = (BundledIndex(blob.sha256, READER_VERSION, read.sha256),)
    return Contents(indexes=indexes, sources=tuple(sources), members=(read, blob))


async def _selected(index: Index, catalog: Catalog, pins: Pins, asked: Asked) -> Sequence[HeldSource]:
    found: dict[str, HeldSource] = {}
    if asked.held:
        for one in await index.sources():
            if not one.url.startswith(DERIVED) and pins.of(one.url) in (None, one.sha256):
                found[one.url] = one
    missing = []
    for ref in asked.refs:
        wanted = pins.wanted(catalog.resolve(parse(ref)))
        held = await index.held(wanted.url)
        if held is not None and wanted.accepts(held.sha256):
            found[wanted.url] = held
        else:
            missing.append(ref)
    for entry in asked.locked:
        held = await index.held(entry.url)
        if held is not None and held.sha256 == entry.sha256:
            found[entry.url] = held
        else:
            missing.append(entry.ref)
    if missing:
        named = ", ".join(missing[:_MOST_SHOWN]) + (" and others" if len(missing) > _MOST_SHOWN else "")
        raise BlobAbsent(f"{len(missing)} of what is asked for is not held: {named}; bring it in first: zooproxy warm")
    if not found:
        raise BadRequest("there is nothing to export: nothing is held")
    return [found[url] for url in sorted(found)]


def _layers(catalog: Catalog, sources: Iterable[BundledSource]) -> Iterator[tuple[BundledLayer, bytes]]:
    """What the site has added to the zoos whose names lead to ``sources``, and the text of it."""
    zoos = {reference.partition("://")[0] for source in sources for reference in source.references}
    for section in sorted(catalog.added(), key=lambda section: (section.layer, section.zoo)):
        if section.zoo in zoos:
            document = section_to_json(section).encode()
            yield BundledLayer(section.layer, section.zoo, Sha256.of(document)), document


def _carried(since: Iterable[Manifest]) -> Collection[Sha256]:
    """What the other side has when it has all of those bundles."""
    known = set()
    for manifest in since:
        contents = manifest.contents
        known |= {member.sha256 for member in contents.members}
        if contents.previous:
            known |= {source.sha256 for source in contents.sources}
            known |= contents.documents
    return known


def _split(groups: Sequence[Contents], previous: tuple[Sha256, ...], limit: int | None) -> list[list[Contents]]:
    """Part after part, none larger than ``limit`` bytes. A group stays whole, so that each part is of use alone."""
    parts: list[list[Contents]] = [[]]
    empty = len(layout.END) + 2 * layout.footprint(layout.BLOCK) + _SIGNATURE + spelt(Contents(previous))
    room = (limit or sys.maxsize) - empty
    for group in groups:
        size = _size(group)
        if size > (limit or sys.maxsize) - empty:
            raise BadRequest(
                f"a blob needs a part of {size + empty} bytes and --split allows {limit}; allow larger parts"
            )
        if size > room:
            parts.append([])
            room = (limit or sys.maxsize) - empty
        parts[-1].append(group)
        room -= size
    return parts


def _size(group: Contents) -> int:
    """At most how many bytes the group takes in a part."""
    members = sum(layout.footprint(member.size) + _SIGNATURE_PER_MEMBER for member in group.members)
    return members + spelt(group)


def _member(document: bytes) -> Member:
    return Member(Sha256.of(document), len(document))
