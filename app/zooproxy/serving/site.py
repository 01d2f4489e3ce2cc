"""The data directory without a service: for commands that work beside one, or where none runs.

Apart from ``wiring``, which brings what serves and fetches along.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from zooproxy.cache.cache_pins import CachePins
from zooproxy.cache.database import open_database
from zooproxy.cache.holdings import Holdings
from zooproxy.cache.index import Index
from zooproxy.cache.local import LocalBlobStore
from zooproxy.cache.shelf import Shelf
from zooproxy.cache.site_names import SiteNames
from zooproxy.errors import MalformedLock, SettingsError
from zooproxy.names.catalog import Catalog
from zooproxy.names.lock import Lock, lock_at
from zooproxy.provide.bundles.site import Site
from zooproxy.provide.events import Events
from zooproxy.provide.names import Names
from zooproxy.provide.pins import Pins
from zooproxy.provide.site_catalog import site_sections
from zooproxy.provide.stock import Stock
from zooproxy.serving.settings import Settings


@asynccontextmanager
async def open_site(settings: Settings) -> AsyncIterator[Site]:
    """
    Raises:
        SettingsError: a setting contradicts the catalog or itself.
        CacheError: the data directory or the database cannot be used.
    """
    catalog = Catalog.shipped().layered(site_sections(settings.data_dir))
    pins = Pins(catalog, settings.pins, lock_of(settings))
    async with open_database(settings.database) as database:
        site_names = SiteNames(database)
        names = Names(catalog, site_names, Holdings(database), lambda _: None)  # nothing is put through it
        await names.refresh()
        shelf = Shelf(LocalBlobStore(settings.data_dir), Index(database))
        stock = Stock(shelf, database, Events(), settings.cache_max_bytes, settings.spare_bytes)
        try:
            yield Site(settings.data_dir, shelf, names.catalog, site_names, pins, stock, CachePins(database))
        finally:
            await stock.eviction.close()


def lock_of(settings: Settings) -> Lock | None:
    try:
        return None if settings.lock_file is None else lock_at(settings.lock_file)
    except MalformedLock as error:
        raise SettingsError(f"LOCK_FILE: {error}") from error
