"""Names that are published to the proxy that this one asks: learnt from its map, and kept while it is away.

Only what is published there (``site://team/model``): the parent's other names are those of the same packages, or its
administrators' word about files elsewhere, which is theirs to give. The file that a name leads to is asked of the
parent by its digest, so that nothing that comes from it has to be believed but the name.
"""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from zooproxy.cache.disk import Disk
from zooproxy.errors import BadRequest, FetchError, UpstreamStatus
from zooproxy.fetch.sighting import Sighting
from zooproxy.fetch.upstream import Upstream
from zooproxy.names.published import LATEST, PublishedName, published_file
from zooproxy.names.records import Record
from zooproxy.names.sections import PARENT, Section, Synonym, section_to_json
from zooproxy.names.zoos import SITE
from zooproxy.wire.routes import ZOO_MAP

_LARGEST: Final = 64 << 20  # bytes of the map
_NOT_FOUND: Final = 404  # nothing is published there

_log = logging.getLogger(__name__)


class ParentNames:
    """``upstream`` asks over HTTP; ``parent`` says whom: a base URL, None where nobody is to be asked now.

    ``file`` is where the names are kept (``provide.site_catalog``).
    """

    def __init__(self, upstream: Upstream, parent: Callable[[], str | None], file: Path) -> None:
        self._upstream = upstream
        self._parent = parent
        self._file = file
        self._section: Section | None = None
        self._seen: Sighting | None = None
        self._is_away = False

    async def read(self) -> Section | None:
        """What is published there now, or was when it was asked last; None before it was."""
        parent = self._parent()
        if parent is None:
            return self._section
        url = parent + ZOO_MAP.format(zoo=SITE)
        try:
            seen = await self._upstream.look(url, _nowhere_else, self._seen)
            if self._section is None or self._seen is None or seen != self._seen:
                await self._learn(parent, await self._body(url))
            self._seen, self._is_away = seen, False
        except UpstreamStatus as error:
            if error.status == _NOT_FOUND:
                await self._learn(parent, {})
            else:
                self._tell(error)
        except (FetchError, ValueError, RecursionError, OSError) as error:
            self._tell(error)
        return self._section

    async def _body(self, url: str) -> Any:
        body = bytearray()
        async with self._upstream.get(url, _nowhere_else) as answer:
            async for block in answer.blocks:
                body += block
                if len(body) > _LARGEST:
                    raise ValueError(f"its map has more than {_LARGEST >> 20} MiB")
        return await asyncio.to_thread(json.loads, body)

    async def _learn(self, parent: str, names: Any) -> None:
        section = _section(parent, names if isinstance(names, dict) else {})
        if section != self._section:
            await asyncio.to_thread(Disk().write_file, self._file, section_to_json(section).encode())
            _log.info("names that the parent publishes: %d", len(section.models))
        self._section = section

    def _tell(self, error: Exception) -> None:
        if not self._is_away:
            _log.warning("the parent cannot be asked for the names that it publishes: %s", error)
        self._is_away = True


def section_of_records(zoo: str, origin: Mapping[str, object], records: Mapping[str, Record], layer: str) -> Section:
    """What leads to published files can be called ``name@latest``, too."""
    models = {name: record.url for name, record in records.items()}
    published = [name for name, url in models.items() if url and published_file(url) and "@" not in name]
    latest = {f"{name}@{LATEST}": Synonym(name) for name in published}
    return Section(zoo, origin, models, synonyms=latest, records=records, layer=layer)


def _section(parent: str, names: Mapping[str, Any]) -> Section:
    records = {}
    for name, url in names.items():
        file = published_file(url) if isinstance(url, str) else None
        if file is not None and file.canonical == url and _is_name(name):
            records[name] = Record(url, sha256=file.sha256)
    return section_of_records(SITE, {"published": f"by {urlsplit(parent).hostname}"}, records, PARENT)


def _is_name(text: str) -> bool:
    name, mark, tag = text.partition("@")
    try:
        PublishedName(SITE, name, tag if mark else None)
    except BadRequest:
        return False
    return True


def _nowhere_else(_: str) -> bool:
    """No redirect is followed."""
    return False
