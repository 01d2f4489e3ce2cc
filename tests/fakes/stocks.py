"""A stock over a real store and database, as a process on a data directory has it; several may be on one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from zooproxy.cache.blobs import BlobStore, HeldBlob
from zooproxy.cache.database import Database, open_database
from zooproxy.cache.index import Index
from zooproxy.cache.local import LocalBlobStore
from zooproxy.cache.shelf import Shelf
from zooproxy.digest import Sha256
from zooproxy.provide.events import Event, Events
from zooproxy.provide.stock import Stock, open_stock

ZOO = "https://example.org/"


class Site:
    """``put`` holds ``size`` bytes of ``name``; ``told`` are the events so far."""

    def __init__(self, store: BlobStore, database: Database) -> None:
        self.store = store
        self.database = database
        self.shelf = Shelf(store, Index(database))
        self.told: list[Event] = []
        self.events = _Told(self.told)
        self.stock: Stock

    async def put(self, name: str, size: int = 10_000, url: str | None = None) -> HeldBlob:
        async with await self.store.stage() as staged:
            await staged.write(content_of(name, size))
            blob = await staged.commit()
            await self.shelf.publish(url or ZOO + name, blob)
        return blob

    async def use(self, *names: str) -> None:
        for name in names:
            self.shelf.index.uses.note(digest_of(name))
        await self.shelf.index.uses.flush()

    async def held(self) -> str:
        """The names of what is held, one letter each, the first to leave first; each is whole on the disk."""
        page = await self.stock.page("", 100)
        for one in page.blobs:
            assert (await self.store.open(one.sha256)).size == one.size
        return "".join(one.urls[0].removeprefix(ZOO) for one in page.blobs)


class _Told(Events):
    def __init__(self, told: list[Event]) -> None:
        super().__init__()
        self._told = told

    def tell(self, kind: str, data: object) -> None:
        self._told.append(Event(kind, data))  # type: ignore[arg-type]


def content_of(name: str, size: int = 10_000) -> bytes:
    return (name.encode() * size)[:size]


def digest_of(name: str, size: int = 10_000) -> Sha256:
    return Sha256.of(content_of(name, size))


@asynccontextmanager
async def open_site(
    root: Path, store: BlobStore | None = None, cap: int = 0, busy_seconds: float = 10.0
) -> AsyncIterator[Site]:
    async with AsyncExitStack() as stack:
        url = f"sqlite:///{root}/zooproxy.db"
        database = await stack.enter_async_context(open_database(url, busy_seconds=busy_seconds))
        site = Site(store or LocalBlobStore(root), database)
        site.stock = await stack.enter_async_context(open_stock(site.shelf, database, site.events, cap))
        yield site
