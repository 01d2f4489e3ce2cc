"""Names that come with a bundle: synced sections as files, an administrator's and the site's own as rows.

What this site says of a name itself stands, unless an operator accepts the bundle's word.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Final

from zooproxy.cache.disk import Disk, disk_errors
from zooproxy.cache.site_names import SiteName
from zooproxy.digest import Sha256
from zooproxy.errors import BadReference, MalformedBundle, NotInCatalog
from zooproxy.names.catalog import Catalog
from zooproxy.names.local_files import contained, local_file
from zooproxy.names.published import locate
from zooproxy.names.records import Record
from zooproxy.names.reference import ZooReference, parse
from zooproxy.names.sections import (
    ADMINISTRATOR,
    PARENT,
    SITE_FILE,
    SYNCED,
    Section,
    section_from_json,
    section_to_json,
)
from zooproxy.names.zoos import ZOO_OF_SCHEME
from zooproxy.provide.bundles.manifest import BundledLayer
from zooproxy.provide.bundles.site import Site
from zooproxy.provide.site_catalog import SYNCED_FOLDER

_ROWS: Final = (SITE_FILE, PARENT, ADMINISTRATOR)


def section_of(layer: BundledLayer, document: bytes) -> Section:
    """
    Raises:
        MalformedBundle: it is no section, or not of that layer and zoo, or what becomes a row here is no name or URL.
    """
    try:
        section = section_from_json(document.decode(), layer.layer)
        known = ZOO_OF_SCHEME.get(section.zoo) == section.zoo == layer.zoo and layer.layer in (SYNCED, *_ROWS)
        if not known or section_to_json(section).encode() != document:
            raise MalformedBundle("a layer of the catalog in the bundle is not what the manifest says")
        if layer.layer in _ROWS:
            for name, url in section.models.items():
                _check_row(section, name, url)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, BadReference) as error:
        raise MalformedBundle(
            "a layer of the catalog in the bundle is no section, or has names that are none"
        ) from error
    return section


def _check_row(section: Section, name: str, url: str | None) -> None:
    reference = parse(f"{section.zoo}://{name}")
    local = None if url is None else local_file(url)
    right = url is None or (contained(str(local.path)) == local if local else locate(url).canonical == url)
    if not right or not isinstance(reference, ZooReference) or reference.name != name:
        raise MalformedBundle("a layer of the catalog in the bundle gives a name, or a URL, that is none")
    if name in section.records:
        _digest(section.records[name])


async def take_over(site: Site, sections: Sequence[Section], *, accept: bool) -> list[str]:
    """Writes them beside what is there; what became of them, a line each.

    Raises:
        CacheError, OutOfSpace: they cannot be written.
    """
    told = []
    for section in sections:
        if section.layer == SYNCED:
            told.append(_synced(site.data_dir / SYNCED_FOLDER / f"{section.zoo}.json", section, accept=accept))
            continue
        names = list(_names(site.catalog, section, accept=accept))
        for name in names:
            await site.site_names.put(name)
        told.append(
            f"{section.zoo}: {len(names)} of {len(section.models)} names of the {section.layer} layer are new here"
        )
    return told


def _synced(path: Path, section: Section, *, accept: bool) -> str:
    text = section_to_json(section).encode()
    known = path.read_bytes() if path.is_file() else None
    if known == text:
        return f"{section.zoo}: its synced names are the same here"
    if known is not None and not accept:
        return f"{section.zoo}: other synced names are here, and were kept; --accept takes the bundle's"
    with disk_errors("writing names"):
        Disk().write_file(path, text)
    return f"{section.zoo}: {len(section.models)} synced names; a running proxy takes them over on SIGHUP"


def _names(catalog: Catalog, section: Section, *, accept: bool) -> Iterator[SiteName]:
    """The rows that are to be put: names that lead nowhere here, or elsewhere."""
    for name, url in section.models.items():
        here = _target(catalog, f"{section.zoo}://{name}")
        if url is not None and (here is None or (here != url and accept)):
            record = section.records.get(name, Record(url))
            details = json.dumps(replace(record, url=None, sha256=None).to_json()).encode()
            yield SiteName(section.zoo, name, url, _digest(record), details)


def _target(catalog: Catalog, reference: str) -> str | None:
    try:
        return catalog.resolve(parse(reference)).source.url
    except NotInCatalog:
        return None


def _digest(record: Record) -> Sha256 | None:
    return None if record.sha256 is None else Sha256(record.sha256)
