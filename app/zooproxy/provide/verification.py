"""A cache proven on its disk: index, sidecars and blobs compared, and every byte hashed if asked to.

It works on the data directory alone, beside servers that run on it or with none. What is wrong is told; with ``repair``
it is put right as far as that is possible without fetching: what is gone or quarantined is fetched again when somebody
asks for it.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

from zooproxy.cache.blobs import Stored
from zooproxy.cache.inspection import Inspection
from zooproxy.cache.inventory import Inventory
from zooproxy.cache.shelf import Shelf
from zooproxy.cache.sidecars import Origin, Sidecar, sidecar_from_json
from zooproxy.cache.survey import Survey, survey
from zooproxy.digest import Sha256
from zooproxy.errors import MalformedCheckpoint, SidecarMalformed
from zooproxy.formats.reader import READER_VERSION
from zooproxy.provide.findings import (
    DATABASE,
    LENGTH,
    MISSING,
    SIDECAR,
    STRAY,
    SURPLUS,
    TENSORS,
    UNINDEXED,
    Finding,
    Verified,
    found,
)
from zooproxy.provide.hashing import Hashing
from zooproxy.provide.quarantine import Quarantine
from zooproxy.provide.reconciliation import Reconciliation
from zooproxy.provide.tensor_indexes import check_document

GRACE: Final = timedelta(hours=1)
"""How old what nobody knows has to be before it is removed: it may be on its way to being published."""

_MOMENT: Final = timedelta(minutes=1)
_LARGEST_DOCUMENT: Final = 1 << 30  # bytes of JSON, unpacked


class Verification:
    def __init__(self, shelf: Shelf, inventory: Inventory, inspection: Inspection) -> None:
        self._shelf = shelf
        self._inventory = inventory
        self._inspection = inspection
        self._quarantine = Quarantine(shelf)
        self._reconciliation = Reconciliation(shelf, inventory, self._quarantine)

    async def run(self, *, full: bool, repair: bool) -> Verified:
        """
        Raises:
            CacheError: the store or the database cannot be used.
        """
        begun = time.monotonic()
        findings = [one async for one in self._quick(repair)]
        hashing = Hashing(self._shelf, self._inspection, self._quarantine, repair=repair)
        held = await self._inventory.blobs()
        if full:
            findings += [one async for one in self._of_the_database(repair)]
            findings += await hashing.run(held)
        return Verified(tuple(findings), len(held), sum(held.values()), hashing.read, time.monotonic() - begun)

    async def _quick(self, repair: bool) -> AsyncIterator[Finding]:
        seen = await survey(self._shelf.store, self._inventory)
        for digest in seen.missing():
            if await self._is_missing(digest):
                dropped = repair and await self._reconciliation.drop([digest])
                yield found(MISSING, digest, "the index holds it and it is not there", dropped and "dropped")
        for digest in seen.of_wrong_length():
            async for finding in self._of_wrong_length(digest, seen.rows[digest], repair):
                yield finding
        async for finding in self._unknown(seen, repair):
            yield finding
        for stray in seen.strays:
            yield Finding(STRAY, stray.name, "nothing of zooproxy's has such a name; see to it yourself")
        async for finding in self._sidecars(seen, repair):
            yield finding

    async def _is_missing(self, digest: Sha256) -> bool:
        """Still, and still held by the index."""
        now = await self._shelf.store.look(digest)
        return (now is None or now.size is None) and await self._shelf.index.blob(digest) is not None

    async def _of_wrong_length(self, digest: Sha256, expected: int, repair: bool) -> AsyncIterator[Finding]:
        now = await self._shelf.store.look(digest)
        if now is None or now.size in (None, expected):
            return
        taken = repair and await self._quarantine.wrong_length(digest, expected)
        yield found(LENGTH, digest, f"{now.size} bytes, not {expected}", taken and "quarantined")

    async def _unknown(self, seen: Survey, repair: bool) -> AsyncIterator[Finding]:
        leaving = await self._inventory.leaving()
        for one in seen.unknown():
            if one.digest is None or one.digest in leaving or await self._shelf.index.blob(one.digest) is not None:
                continue  # somebody is removing it, or has published it meanwhile
            sidecar = await self._reconciliation.sidecar(one)
            if sidecar is None:
                yield await self._surplus(one.digest, one, repair)
            elif sidecar.size != one.size:
                async for finding in self._of_wrong_length(one.digest, sidecar.size, repair):
                    yield finding
            else:
                adopted = repair and await self._inventory.adopt([sidecar])
                yield found(UNINDEXED, one.digest, "it is there and not in the index", adopted and "adopted")

    async def _surplus(self, digest: Sha256, one: Stored, repair: bool) -> Finding:
        what = "only a sidecar is there" if one.size is None else f"{one.size} bytes that nobody knows"
        if datetime.now(UTC).timestamp() - one.changed_at < GRACE.total_seconds():
            return Finding(SURPLUS, digest, f"{what}, for less than an hour: they may still be published")
        if repair:
            await self._shelf.store.remove(digest)
        return found(SURPLUS, digest, what, repair and "removed")

    async def _sidecars(self, seen: Survey, repair: bool) -> AsyncIterator[Finding]:
        known = await self._inventory.origins()
        for digest, origins in known.items():
            one = seen.stored.get(digest)
            if one is None or one.size is None:
                continue
            if (await self._at_odds(digest, origins))[0] is None:
                continue
            now = (await self._inventory.origins(digest)).get(digest, [])  # somebody may have published meanwhile
            wrong, told = await self._at_odds(digest, now)
            if wrong is not None and now:
                right = Sidecar(digest, seen.rows[digest], (*now, *_claimed_no_more(told, now)))
                written = repair and await self._reconciliation.annotate(right)
                yield found(SIDECAR, digest, wrong, written and "written anew")

    async def _at_odds(self, digest: Sha256, origins: Sequence[Origin]) -> tuple[str | None, Sidecar | None]:
        """What is wrong with the sidecar, if anything is, and what it says."""
        document = await self._shelf.store.sidecar(digest)
        if document is None:
            return "it is missing", None
        try:
            told = sidecar_from_json(document, digest)
        except SidecarMalformed as error:
            return str(error), None
        if any(told.of(origin.url) != origin for origin in origins):
            return "it does not say what the index says", told
        if _claimed_no_more(told, origins):
            return "it claims a source that the index does not hold as this blob", told
        return None, told

    async def _of_the_database(self, repair: bool) -> AsyncIterator[Finding]:
        faults = await self._inspection.faults()
        if faults:
            way_out = "end every zooproxy on it, move the file away, and start one: it writes the index anew"
            yield Finding(DATABASE, "zooproxy.db", f"{faults[0]}; {way_out}")
            return
        async for digest, size, document in self._inspection.tensor_indexes(READER_VERSION):
            try:
                await asyncio.to_thread(check_document, document, digest, size, _LARGEST_DOCUMENT)
            except MalformedCheckpoint as error:
                if repair:
                    await self._inspection.drop_tensor_index(digest)
                yield found(TENSORS, digest, str(error), repair and "dropped")


def _claimed_no_more(told: Sidecar | None, origins: Sequence[Origin]) -> tuple[Origin, ...]:
    """What a sidecar claims and the index does not know, put right; not what is being published at this moment."""
    known = {origin.url for origin in origins}
    settled = datetime.now(UTC) - _MOMENT
    claimed = told.origins if told is not None else ()
    return tuple(
        replace(origin, filled_at=None)
        for origin in claimed
        if origin.url not in known and origin.filled_at is not None and origin.filled_at < settled
    )
