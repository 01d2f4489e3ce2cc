"""Everything the service holds, opened and closed in one place.

The order of a request, once::

    GET /v1/checkpoint?ref=mmcls://vgg16
    serving.gate         who calls? may they?              401, 403, 429
    routes.checkpoints   text -> reference -> resolution   400, 404
    provide.provider     resolution -> held blob?          the index's row, then the blob
    provide.fills        else one fill for all who ask     403, 501, 503
    cache.leases           in all processes; who leads?
    fetch.fetcher          candidates in order, resumed    502, 504
    provide.growing        raw is read while it grows
    fetch.proof            length, structure, digest       502
    provide.eviction       makes room where there is none  507
    cache.blobs            fsync, rename, fsync
    cache.shelf              the sidecar, then the row, last
    provide.tensor_indexes  blob -> tensor index, once     422, 501
    formats.variants     index + recipe -> segments
    serving.replies      segments -> 200, 206, 304, 416
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta

from zooproxy.cache.cache_pins import CachePins
from zooproxy.cache.database import Database, open_database
from zooproxy.cache.index import Index
from zooproxy.cache.inspection import Inspection
from zooproxy.cache.inventory import Inventory
from zooproxy.cache.local import LocalBlobStore
from zooproxy.cache.shelf import Shelf
from zooproxy.cache.site_names import SiteNames
from zooproxy.cache.tokens import Tokens
from zooproxy.errors import SettingsError
from zooproxy.names.catalog import Catalog
from zooproxy.provide.audit import AuditLog
from zooproxy.provide.derived import Derived
from zooproxy.provide.events import Events
from zooproxy.provide.keyring import open_keyring
from zooproxy.provide.landing import Ground
from zooproxy.provide.name_rules import NameRules
from zooproxy.provide.names import open_names
from zooproxy.provide.pins import Pins
from zooproxy.provide.provider import Held, Provider, Rules
from zooproxy.provide.publishing import Keeping, Publishing
from zooproxy.provide.quarantine import Quarantine
from zooproxy.provide.reader_process import ReaderProcess
from zooproxy.provide.reconciliation import Reconciliation, reconciled
from zooproxy.provide.scrubber import Pace, Scrubber, scrubbing, telling
from zooproxy.provide.site_catalog import site_sections
from zooproxy.provide.stock import open_stock
from zooproxy.provide.tensor_indexes import TensorIndexes
from zooproxy.provide.verification import Verification
from zooproxy.provide.watched import WatchedSources
from zooproxy.serving.access import Access, SettingsTokens
from zooproxy.serving.fetching import Fetching
from zooproxy.serving.gate import Gate
from zooproxy.serving.settings import Settings
from zooproxy.serving.site import lock_of
from zooproxy.serving.tls import server_context
from zooproxy.serving.upkeep import open_upkeep


@dataclass(frozen=True, slots=True)
class Service:
    """What there is to serve, and the gate before it."""

    provider: Provider
    gate: Gate
    fetching: Fetching

    def prepared(self, settings: Settings) -> Callable[[], None]:
        """What takes ``settings`` over, all at once, as far as a running service can; nothing has changed before.

        Raises:
            SettingsError: a setting contradicts the catalog or itself.
        """
        names = self.provider.names
        base, catalog = names.reread(_catalog(settings))
        rules, fetching = _rules(settings, catalog), Fetching(settings, catalog)
        tokens = _tokens(settings)

        def take_over() -> None:
            names.become(base, catalog)
            self.provider.rules = rules
            self.gate.access.settings = tokens
            self.fetching.become(fetching, self.provider.fills)

        return take_over


@asynccontextmanager
async def open_service(settings: Settings) -> AsyncIterator[Service]:
    """The service over the data directory, migrated and swept; all of it is closed on the way out.

    Raises:
        SettingsError: a setting contradicts the catalog or itself.
        CacheError: the data directory or the database cannot be used.
    """
    catalog, rules, fetching = _agreed(settings)
    async with AsyncExitStack() as stack:
        database = await stack.enter_async_context(open_database(settings.database))
        index = Index(database)
        shelf = Shelf(LocalBlobStore(settings.data_dir), index)
        await stack.enter_async_context(_reconciled(shelf, database))
        events = Events()
        limits = settings.cache_max_bytes, settings.spare_bytes
        stock = await stack.enter_async_context(open_stock(shelf, database, events, *limits))
        ground = Ground(shelf.store, stock.space, events)
        fills = await stack.enter_async_context(fetching.open(ground, shelf, database))
        reader = ReaderProcess()
        stack.callback(reader.close)
        tensor_indexes = TensorIndexes(index, read=reader.read)
        stack.push_async_callback(tensor_indexes.close)
        derived = Derived(shelf, tensor_indexes, stock.space)
        stack.push_async_callback(derived.close)
        names = await stack.enter_async_context(
            open_names(catalog, database, fetching.check_host, fetching.parent_names())
        )
        watched = WatchedSources(names, rules.pins, index, CachePins(database)).all
        upkeep = await stack.enter_async_context(open_upkeep(settings, fetching, fills, index, watched))
        held = Held(shelf, tensor_indexes, derived, stock, *upkeep)
        publishing = Publishing(Keeping(shelf, stock, settings.max_file_bytes), names, SiteNames(database))
        await publishing.tidy()
        provider = Provider(names, rules, held, fills, publishing)
        stack.push_async_callback(provider.rendition_digests.close)
        keyring = await stack.enter_async_context(open_keyring(Tokens(database)))
        if settings.scrub_bytes_per_second:
            await stack.enter_async_context(_scrubbed(settings, shelf, database, provider))
        yield Service(provider, Gate(Access(_tokens(settings), keyring), AuditLog(settings.data_dir)), fetching)


@asynccontextmanager
async def open_verification(settings: Settings) -> AsyncIterator[Verification]:
    """What proves the data directory, beside servers that run on it or with none.

    Raises:
        SettingsError: there is no such directory.
        CacheError: the data directory or the database cannot be used.
    """
    if not settings.data_dir.is_dir():
        raise SettingsError(f"there is no data directory {settings.data_dir}; DATA_DIR says where it is")
    async with open_database(settings.database) as database:
        shelf = Shelf(LocalBlobStore(settings.data_dir), Index(database))
        yield Verification(shelf, Inventory(database, shelf.index.uses), Inspection(database))


def _reconciled(shelf: Shelf, database: Database) -> AbstractAsyncContextManager[None]:
    inventory = Inventory(database, shelf.index.uses)
    quarantine = Quarantine(shelf)
    return reconciled(shelf.store, Reconciliation(shelf, inventory, quarantine), inventory)


def _scrubbed(
    settings: Settings, shelf: Shelf, database: Database, provider: Provider
) -> AbstractAsyncContextManager[None]:
    age = timedelta(days=settings.scrub_days)
    pace = Pace(settings.scrub_bytes_per_second, age, idle_seconds=min(60.0, age.total_seconds()))
    return scrubbing(Scrubber(shelf, Inspection(database), pace, telling(provider)), database)


def check_settings(settings: Settings) -> None:
    """All that can be told of the settings without opening anything.

    Raises:
        SettingsError: a setting contradicts the catalog or itself.
    """
    _agreed(settings)
    server_context(settings)


def _tokens(settings: Settings) -> SettingsTokens:
    return SettingsTokens(
        [token.get_secret_value() for token in settings.admin_tokens],
        [token.get_secret_value() for token in settings.read_tokens],
        reads_need_token=settings.reads_need_token,
    )


def _agreed(settings: Settings) -> tuple[Catalog, Rules, Fetching]:
    catalog = _catalog(settings)
    return catalog, _rules(settings, catalog), Fetching(settings, catalog)


def _catalog(settings: Settings) -> Catalog:
    return Catalog.shipped().layered(site_sections(settings.data_dir))


def _rules(settings: Settings, catalog: Catalog) -> Rules:
    pins = Pins(catalog, settings.pins, lock_of(settings))
    return Rules(pins, NameRules(settings.allow_names, settings.deny_names))
