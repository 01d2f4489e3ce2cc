"""Everything the service holds, opened and closed in one place.

The order of a request, once::

    GET /v1/checkpoint?ref=mmcls://vgg16
    routes.checkpoints   text -> reference -> resolution   400, 404
    provide.provider     resolution -> held blob?          the index's row, then the blob
    provide.fills        else one fill for all who ask     403, 501, 503
    fetch.fetcher          candidates in order             502
    fetch.proof            length, structure, digest       502
    cache.blobs            fsync, rename, fsync            507
    cache.index            the row, last
    provide.tensor_indexes  blob -> tensor index, once     422, 501
    formats.variants     index + recipe -> segments
    serving.replies      segments -> 200, 206, 304, 416
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from zooproxy.cache.database import open_database
from zooproxy.cache.index import Index
from zooproxy.cache.local import LocalBlobStore
from zooproxy.fetch.fetcher import Fetcher
from zooproxy.fetch.http import open_http
from zooproxy.fetch.policy import AllowedHosts, Mirrors
from zooproxy.names.catalog import Catalog
from zooproxy.provide.fills import Fills
from zooproxy.provide.pins import Pins
from zooproxy.provide.provider import Held, Provider
from zooproxy.provide.tensor_indexes import TensorIndexes
from zooproxy.serving.settings import Settings


@asynccontextmanager
async def open_provider(settings: Settings) -> AsyncIterator[Provider]:
    """A provider over the data directory, migrated and swept; all of it is closed on the way out.

    Raises:
        SettingsError: a setting contradicts the catalog or itself.
        CacheError: the data directory or the database cannot be used.
    """
    catalog = Catalog.shipped()
    pins = Pins(catalog, settings.pins)
    mirrors = Mirrors(settings.mirrors)
    hosts = AllowedHosts([*catalog.hosts(), *settings.allow_hosts])
    async with AsyncExitStack() as stack:
        store = LocalBlobStore(settings.data_dir)
        database = await stack.enter_async_context(open_database(settings.database))
        await store.sweep()
        upstream = await stack.enter_async_context(open_http())
        index = Index(database)
        fills = Fills(Fetcher(upstream, hosts, mirrors), store, index, offline=settings.offline)
        stack.push_async_callback(fills.close)
        tensor_indexes = TensorIndexes(index)
        stack.push_async_callback(tensor_indexes.close)
        yield Provider(catalog, pins, Held(store, index, tensor_indexes), fills)
