"""The index brought in line with the blobs that are there, at every start, however many processes start at once.

Nothing is hashed: rows without a blob are dropped (the source is absent then, what it is trusted with stays), blobs
without a row are adopted from their sidecars, blobs of a wrong length are quarantined, missing sidecars are written.
What has neither row nor sidecar is left to ``provide.verification``.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from itertools import islice

from zooproxy.cache.blobs import Stored
from zooproxy.cache.inventory import PORTION, Inventory
from zooproxy.cache.shelf import Shelf
from zooproxy.cache.sidecars import Sidecar, sidecar_from_json
from zooproxy.cache.survey import Survey, survey
from zooproxy.digest import Sha256
from zooproxy.errors import BlobAbsent, SidecarMalformed, ZooproxyError
from zooproxy.provide.quarantine import Quarantine

_log = logging.getLogger(__name__)


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

    async def run(self) -> Reconciled:
        """
        Raises:
            CacheError: the store or the database cannot be used.
        """
        seen = await survey(self._shelf.store, self._inventory)
        done = Reconciled()
        done.dropped = await self.drop(seen.missing())
        for digest in seen.of_wrong_length():
            done.quarantined += await self._quarantine.wrong_length(digest, seen.rows[digest])
        done.adopted = await self._adopt(seen, done)
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

    async def _adopt(self, seen: Survey, done: Reconciled) -> int:
        told = []
        for one in seen.unknown():
            sidecar = await self.sidecar(one)
            if sidecar is None:
                continue
            if sidecar.size == one.size:
                told.append(sidecar)
            else:
                done.quarantined += await self._quarantine.wrong_length(sidecar.sha256, sidecar.size)
        return await self._inventory.adopt(told)

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
async def reconciled(reconciliation: Reconciliation, inventory: Inventory) -> AsyncIterator[None]:
    """Within, the index is brought in line in the background; before it, where the index knows nothing at all.

    Raises:
        CacheError: an index that was lost cannot be written anew.
    """
    if await inventory.is_empty():
        await reconciliation.run()
        yield
        return
    task = asyncio.create_task(_told(reconciliation))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _told(reconciliation: Reconciliation) -> None:
    try:
        await reconciliation.run()
    except ZooproxyError as error:
        _log.warning("the index could not be compared with the blobs that are there: %s: %s", error.slug, error)
    except Exception:  # noqa: BLE001  # whoever serves goes on without it
        _log.exception("the index could not be compared with the blobs that are there")
