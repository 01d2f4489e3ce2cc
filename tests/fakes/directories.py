"""A data directory and one process on it, for tests of what keeps the two halves of a cache in step."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from zooproxy.cache.blobs import HeldBlob
from zooproxy.cache.database import Database
from zooproxy.cache.index import Index
from zooproxy.cache.inspection import Inspection
from zooproxy.cache.inventory import Inventory
from zooproxy.cache.local import LocalBlobStore
from zooproxy.cache.shelf import Shelf
from zooproxy.digest import Sha256
from zooproxy.provide.quarantine import Quarantine
from zooproxy.provide.reconciliation import Reconciled, Reconciliation

URL, OTHER_URL = "https://zoo.example/x.pth", "https://zoo.example/y.pth"
CONTENT, CHANGED = b"some weights", b"other weights!"
DIGEST, OTHER = Sha256.of(CONTENT), Sha256.of(CHANGED)


class Directory:
    """One data directory and one process on it."""

    def __init__(self, root: Path, database: Database) -> None:
        self.root = root
        self.database = database
        self.store = LocalBlobStore(root)
        self.index = Index(database)
        self.shelf = Shelf(self.store, self.index)
        self.inventory = Inventory(database, self.index.uses)
        self.inspection = Inspection(database)
        self.reconciliation = Reconciliation(self.shelf, self.inventory, Quarantine(self.shelf))

    async def put(self, content: bytes = CONTENT) -> HeldBlob:
        async with await self.store.stage() as staged:
            await staged.write(content)
            return await staged.commit()

    async def publish(self, url: str = URL, content: bytes = CONTENT) -> None:
        await self.shelf.publish(url, await self.put(content))

    def path(self, digest: Sha256 = DIGEST) -> Path:
        return self.root / "blobs" / digest[:2] / digest[2:]

    def sidecar(self, digest: Sha256 = DIGEST) -> Path:
        return self.path(digest).with_name(digest[2:] + ".json")

    def damage(self, content: bytes, digest: Sha256 = DIGEST) -> None:
        self.path(digest).chmod(0o644)
        self.path(digest).write_bytes(content)

    def rewrite(self, content: bytes, digest: Sha256 = DIGEST) -> None:
        self.sidecar(digest).unlink(missing_ok=True)
        self.sidecar(digest).write_bytes(content)

    async def run(self) -> Reconciled:
        return await self.reconciliation.run()


async def soon(condition: Callable[[], Awaitable[object]]) -> bool:
    async with asyncio.timeout(30):
        while not await condition():  # noqa: ASYNC110  # what is in a database sets no event
            await asyncio.sleep(0.01)
    return True
