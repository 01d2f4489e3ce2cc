"""Blobs read from their disk once more: which ones are not what they were."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from zooproxy.cache.blobs import BlobStore, Stored
from zooproxy.cache.inspection import Inspection
from zooproxy.cache.rereading import reread
from zooproxy.cache.shelf import Shelf
from zooproxy.digest import Sha256
from zooproxy.errors import BlobAbsent, BlobCorrupt
from zooproxy.provide.findings import ROT, Finding, found
from zooproxy.provide.quarantine import Quarantine

_WORKERS: Final = min(4, os.cpu_count() or 1)


@dataclass(frozen=True, slots=True)
class Rotten:
    """What is wrong with a blob that the store had as ``seen`` when it was read."""

    seen: Stored
    detail: str


async def rot_of(store: BlobStore, digest: Sha256, pace: Callable[[int], Awaitable[None]]) -> Rotten | None:
    """What is wrong with the blob's bytes; None if nothing is, or if it is gone, or was replaced while it was read.

    ``pace`` is awaited with the size of each block that was read.

    Raises:
        CacheError: the store cannot be used.
    """
    try:
        blob = await store.open(digest)
        seen = await store.look(digest)
        actual = await reread(blob, pace)
        wrong = None if actual == digest else f"its bytes have the sha256 {actual}"
    except BlobAbsent:
        return None
    except BlobCorrupt as error:
        wrong = str(error)
        seen = await store.look(digest)
    if wrong is None or seen is None or seen != await store.look(digest):
        return None
    return Rotten(seen, wrong)


class Hashing:
    """Every blob read once, several at a time. ``read`` counts the bytes."""

    def __init__(self, shelf: Shelf, inspection: Inspection, quarantine: Quarantine, *, repair: bool) -> None:
        self._shelf = shelf
        self._inspection = inspection
        self._quarantine = quarantine
        self._repair = repair
        self.read = 0

    async def run(self, blobs: Mapping[Sha256, int]) -> list[Finding]:
        """By digest. Those of a wrong length are not read: they have been told of."""
        waiting = iter(sorted(blobs))
        findings: list[Finding] = []
        sound: list[Sha256] = []

        async def work() -> None:
            for digest in waiting:
                now = await self._shelf.store.look(digest)
                if now is None or now.size != blobs[digest]:
                    continue
                finding = await self._of(digest)
                if finding is None:
                    sound.append(digest)
                else:
                    findings.append(finding)

        await asyncio.gather(*(work() for _ in range(_WORKERS)))
        await self._inspection.mark_verified(sound, datetime.now(UTC))
        return sorted(findings, key=lambda finding: finding.name)

    async def _of(self, digest: Sha256) -> Finding | None:
        rotten = await rot_of(self._shelf.store, digest, self._count)
        if rotten is None:
            return None
        taken = self._repair and await self._quarantine.rotten(rotten.seen, rotten.detail)
        return found(ROT, digest, rotten.detail, taken and "quarantined")

    async def _count(self, size: int) -> None:
        self.read += size
