"""A data directory with things in it, without a server: for what works beside one."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path

from zooproxy.cache.blobs import HeldBlob
from zooproxy.cache.cache_pins import CachePins
from zooproxy.cache.database import open_database
from zooproxy.cache.holdings import Holdings
from zooproxy.cache.index import Index
from zooproxy.cache.local import LocalBlobStore
from zooproxy.cache.shelf import Shelf
from zooproxy.cache.site_names import SiteNames
from zooproxy.names.catalog import Catalog
from zooproxy.provide.bundles.site import Site
from zooproxy.provide.events import Events
from zooproxy.provide.names import Names
from zooproxy.provide.pins import Pins
from zooproxy.provide.site_catalog import site_sections
from zooproxy.provide.stock import Stock


@asynccontextmanager
async def opened_site(data_dir: Path, pins: Mapping[str, str] | None = None, cap: int = 0) -> AsyncIterator[Site]:
    """As ``serving.site.open_site``, over a database that need not be migrated again for each test."""
    file = data_dir / "zooproxy.db"
    await asyncio.to_thread(_begin, file)
    catalog = Catalog.shipped().layered(site_sections(data_dir))
    async with open_database(f"sqlite:///{file}") as database:
        site_names = SiteNames(database)
        names = Names(catalog, site_names, Holdings(database), lambda url: None)
        await names.refresh()
        shelf = Shelf(LocalBlobStore(data_dir), Index(database))
        stock = Stock(shelf, database, Events(), cap, 0)
        yield Site(data_dir, shelf, names.catalog, site_names, Pins(catalog, pins or {}), stock, CachePins(database))


def _begin(file: Path) -> None:
    if not file.exists():
        file.parent.mkdir(parents=True)
        file.write_bytes(_migrated())


@cache
def _migrated() -> bytes:
    async def make(file: Path) -> None:
        async with open_database(f"sqlite:///{file}"):
            pass

    with tempfile.TemporaryDirectory() as folder:
        asyncio.run(make(Path(folder) / "new.db"))
        return (Path(folder) / "new.db").read_bytes()


async def hold(site: Site, url: str, body: bytes) -> HeldBlob:
    """``url`` is held as ``body``, whatever that is."""
    async with await site.shelf.store.stage() as staged:
        await staged.write(body)
        blob = await staged.commit()
    await site.shelf.publish(url, blob)
    return blob
