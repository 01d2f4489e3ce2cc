"""The index brought in line with the blobs that are there, at every start, however many processes start at once.

Nothing is hashed: rows without a blob are dropped (the source is absent then, what it is trusted with stays), blobs
without a row are adopted from their sidecars, blobs of a wrong length are quarantined, missing sidecars are written.
What has neither row nor sidecar is left to ``provide.verification``.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Final

from zooproxy.cache.blobs import BlobStore, Stored
from zooproxy.cache.inventory import PORTION, Inventory
from zooproxy.cache.shelf import Shelf
from zooproxy.cache.sidecars import Sidecar, sidecar_from_json
from zooproxy.cache.survey import Survey, survey
from zooproxy.digest import Sha256
from zooproxy.errors import AlreadyAtWork, BlobAbsent, SidecarMalformed, ZooproxyError
from zooproxy.provide.quarantine import Quarantine

_log = logging.getLogger(__name__)

_LOOK_SECONDS: Final = 0.2  # how long one look for a lock may take: whoever waits can be stopped in between


@dataclass(slots=True)
class Reconciled:
    """How many blobs: dropped from the index, taken over by it, quarantined, given a sidecar."""

    dropped: int = 0
    adopted: int = 0
    quarantined: int = 0
    annotated: int = 0


class Reconciliation:
    def __init__(self, shelf: Shelf, inventory: Inventory, quarantine: Quarantine) -> None:
        self._shelf = shelf
        self._inventory = inventory
        self._quarantine = quarantine

    async def run(self, *, anew: bool = False) -> Reconciled:
        """``anew``: there is no index; nobody is to see a half of one.

        Raises:
            CacheError: the store or the database cannot be used.
        """
        seen = await survey(self._shelf.store, self._inventory)
        done = Reconciled()
        done.dropped = await self.drop(seen.missing())
        for digest in seen.of_wrong_length():
            done.quarantined += await self._quarantine.wrong_length(digest, seen.rows[digest])
        done.adopted = await self._adopt(seen, done, anew=anew)
        done.annotated = await self._annotate(seen)
        if done != Reconciled():
            _log.warning("the index was brought in line with the blobs that are there: %s", done)
        return done

    async def drop(self, missing: Iterable[Sha256]) -> int:
        """Forgets blobs that are not there; how many. A blob that has come meanwhile stays."""
        dropped, remaining = 0, iter(missing)
        while some := list(islice(remaining, PORTION)):
            dropped += len(await self._shelf.drop(*some))
        return dropped

    async def _adopt(self, seen: Survey, done: Reconciled, *, anew: bool) -> int:
        told = []
        for one in seen.unknown():
            sidecar = await self.sidecar(one)
            if sidecar is None:
                continue
            if sidecar.size == one.size:
                told.append(sidecar)
            else:
                done.quarantined += await self._quarantine.wrong_length(sidecar.sha256, sidecar.size)
        return await self._inventory.adopt(told, together=anew)

    async def sidecar(self, one: Stored) -> Sidecar | None:
        """The blob's, if there is a blob with one that can be read."""
        digest = one.digest
        if digest is None or one.size is None or not one.has_sidecar:
            return None
        document = await self._shelf.store.sidecar(digest)
        try:
            return None if document is None else sidecar_from_json(document, digest)
        except SidecarMalformed as error:
            _log.warning("%s", error)
            return None

    async def _annotate(self, seen: Survey) -> int:
        lacking = set(seen.without_sidecar())
        if not lacking:
            return 0
        annotated = 0
        for digest, origins in (await self._inventory.origins()).items():
            if digest in lacking:
                annotated += await self.annotate(Sidecar(digest, seen.rows[digest], tuple(origins)))
        return annotated

    async def annotate(self, sidecar: Sidecar) -> bool:
        """Writes what the index says into the blob's sidecar; whether the blob is still there."""
        try:
            await self._shelf.restore(sidecar)
        except BlobAbsent:
            return False
        return True


@asynccontextmanager
async def reconciled(store: BlobStore, reconciliation: Reconciliation, inventory: Inventory) -> AsyncIterator[None]:
    """Within, the index is brought in line in the background; before it, where the index knows nothing at all.

    One process writes a lost index anew, in one transaction; whoever starts meanwhile waits for it, or for its death,
    and looks again. Who serves in the meantime would fetch what is held. In the background it is enough that one does
    it: what it has not come to yet is as it was when the process before stopped, and every request looks for itself.

    Raises:
        CacheError: an index that was lost cannot be written anew.
    """
    async with _nobody_beside(store):
        was_lost = await inventory.is_empty()
        if was_lost:
            await reconciliation.run(anew=True)
    if was_lost:
        yield
        return
    task = asyncio.create_task(_told(store, reconciliation))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


@asynccontextmanager
async def _nobody_beside(store: BlobStore) -> AsyncIterator[None]:
    """Waits for as long as somebody else writes the index anew; a process that dies has let go of it."""
    async with AsyncExitStack() as stack:
        is_told = False
        while True:
            try:
                await stack.enter_async_context(store.alone("rebuild", _LOOK_SECONDS))
                break
            except AlreadyAtWork:
                if not is_told:
                    _log.warning("another process writes the index anew; this one waits for it")
                is_told = True
        yield


async def _told(store: BlobStore, reconciliation: Reconciliation) -> None:
    try:
        async with store.alone("reconciliation", 0):
            await reconciliation.run()
    except AlreadyAtWork:
        _log.info("another process compares the index with the blobs that are there")
    except ZooproxyError as error:
        _log.warning("the index could not be compared with the blobs that are there: %s: %s", error.slug, error)
    except Exception:  # noqa: BLE001  # whoever serves goes on without it
        _log.exception("the index could not be compared with the blobs that are there")
