"""Takes a bundle in: staged and proven blob by blob, held from one moment on.

::

    manifest ── does it contradict what is trusted here? is what it builds on here? is there room, or can it be made?
       │
    layers of names, read and checked
       │
    blobs ── hashed and written on all cores, durable a batch at a time; one that is here already is passed over
       │
    the bundle's end
       │
    rows of all sources in one transaction, tensor indexes, names

Until the rows are written nothing of the bundle can be asked for. An import that fails removes the blobs that it
brought; after one that was killed they lie there, whole and nameless, and the next one passes over them.
"""

from __future__ import annotations

from collections.abc import Container, Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass

from zooproxy.cache.blobs import HeldBlob
from zooproxy.cache.space import Reservation
from zooproxy.digest import Sha256
from zooproxy.errors import BlobAbsent, BlobCorrupt, BundleIncomplete
from zooproxy.names.published import published_file
from zooproxy.provide.bundles.arrival import Arrival
from zooproxy.provide.bundles.conflicts import settled
from zooproxy.provide.bundles.manifest import Contents, Manifest
from zooproxy.provide.bundles.reading import BundleReader
from zooproxy.provide.bundles.site import Site
from zooproxy.provide.bundles.site_layers import take_over


@dataclass(frozen=True, slots=True)
class Terms:
    """``accept``: an operator's word that the bundle is right where it contradicts what is trusted here.

    ``signed``: the manifest's signature was verified, so that its maker is believed beyond what can be proven here.
    """

    accept: bool = False
    signed: bool = False


@dataclass(frozen=True, slots=True)
class Imported:
    """``new`` of ``blobs`` blobs were not here before; ``told``: what became of the names, a line each."""

    sources: int
    blobs: int
    new: int
    told: tuple[str, ...]


async def take_in(site: Site, reader: BundleReader, terms: Terms) -> Imported:
    """
    Raises:
        MalformedBundle, DigestMismatch, NotACheckpoint: the bundle is not what it says.
        BundleIncomplete: what it builds on is not here.
        BundleConflict: it contradicts what is trusted here.
        OutOfSpace: there is no room for it, nor could any be made by eviction, with the figures; told before a byte is
            stored or anything has left.
        CacheError: the store or the database failed.
    """
    contents = reader.manifest.contents
    await settled(site, contents.sources, accept=terms.accept)
    here = await _here(site, contents)
    missing = _missing(contents, here)
    room = await _room(site, here, missing)
    try:
        told = await _arrived(site, reader, here, terms)
    finally:
        room.release()
    site.stock.eviction.spare(here)
    blobs = len({member.sha256 for member in contents.members} - contents.documents)
    return Imported(len(contents.sources), blobs, len(missing), tuple(told))


async def make_room(site: Site, manifests: Sequence[Manifest]) -> None:
    """Room for all of them together, before the first is taken in; what they build on stays.

    Raises:
        OutOfSpace: as ``take_in``.
    """
    here: dict[Sha256, HeldBlob] = {}
    missing: dict[Sha256, int] = {}
    for manifest in manifests:
        here |= await _found(site, manifest.contents)
        missing |= _missing(manifest.contents, here)
    (await _room(site, here, missing)).release()


async def _room(site: Site, here: Iterable[Sha256], missing: Mapping[Sha256, int]) -> Reservation:
    site.stock.eviction.spare(here)
    return await site.stock.space.reserve(sum(missing.values()))


def _missing(contents: Contents, here: Container[Sha256]) -> Mapping[Sha256, int]:
    """Blobs that have to be brought, and their sizes in bytes."""
    known = contents.documents
    return {one.sha256: one.size for one in contents.members if one.sha256 not in known and one.sha256 not in here}


async def _arrived(site: Site, reader: BundleReader, here: dict[Sha256, HeldBlob], terms: Terms) -> list[str]:
    """Blobs, then rows, then names; what became of the names."""
    contents = reader.manifest.contents
    async with Arrival(site.shelf, reader, here) as arrival:
        sections, indexes = await arrival.read(signed=terms.signed)
        async with indexes:
            # Once more: what a proxy on the same data directory has come to trust meanwhile counts, too.
            accepted = await settled(site, contents.sources, accept=terms.accept)
            for url, digest in accepted.items():
                await site.shelf.accept(url, digest)
            await site.shelf.publish_all({source.url: here[source.sha256] for source in contents.sources})
            for source in contents.sources:
                if published_file(source.url):  # nobody can be asked for it again
                    await site.cache_pins.pin(source.url, source.url)
            arrival.settle()
            await indexes.keep(site.shelf.index)
    return await take_over(site, sections, accept=terms.accept)


async def _here(site: Site, contents: Contents) -> dict[Sha256, HeldBlob]:
    """The blobs of its sources that need not be brought: by their size, their bytes are not looked at.

    Raises:
        BundleIncomplete: one is neither here nor in the bundle.
    """
    brought = {member.sha256 for member in contents.members}
    here = await _found(site, contents)
    for source in contents.sources:
        if source.sha256 not in here and source.sha256 not in brought:
            needed = ", ".join(previous[:12] for previous in contents.previous)
            raise BundleIncomplete(
                f"this bundle adds to {needed}, and what that carried is not here: import that first"
            )
    return here


async def _found(site: Site, contents: Contents) -> dict[Sha256, HeldBlob]:
    here = {}
    for digest, size in {source.sha256: source.size for source in contents.sources}.items():
        with suppress(BlobAbsent, BlobCorrupt):
            blob = await site.shelf.store.open(digest)
            if blob.size == size:
                here[digest] = blob
    return here
