"""Bad blobs taken out of service: kept aside with a note, forgotten by the index, so that the next request fetches."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime

from zooproxy.cache.blobs import Stored
from zooproxy.cache.shelf import Shelf
from zooproxy.digest import Sha256

_log = logging.getLogger(__name__)


class Quarantine:
    """What is put here is never served again."""

    def __init__(self, shelf: Shelf) -> None:
        self._shelf = shelf

    async def wrong_length(self, digest: Sha256, expected: int) -> bool:
        """Takes out a blob that has not ``expected`` bytes, if that is still so; whether it was."""

        async def sure() -> bool:
            now = await self._shelf.store.look(digest)
            return now is not None and now.size not in (None, expected)

        return await self._take(digest, f"it does not have the {expected} bytes that it should have", sure)

    async def rotten(self, seen: Stored, reason: str) -> bool:
        """Takes out a blob that was found to be bad when it was as ``seen``; not one that has replaced it since.

        ``reason`` follows on "the blob … is bad:".
        """
        digest = seen.digest
        if digest is None:
            return False

        async def sure() -> bool:
            now = await self._shelf.store.look(digest)
            return now is not None and (now.size, now.changed_at) == (seen.size, seen.changed_at)

        return await self._take(digest, reason, sure)

    async def _take(self, digest: Sha256, reason: str, sure: Callable[[], Awaitable[bool]]) -> bool:
        note = {
            "sha256": digest,
            "reason": reason,
            "quarantined_at": datetime.now(UTC).isoformat(timespec="seconds"),
            "sources": list(await self._shelf.index.urls_of(digest)),
        }
        taken = await self._shelf.quarantine(digest, json.dumps(note, indent=1).encode(), sure)
        if taken:
            _log.error("the blob %s is bad: %s; it was quarantined", digest, reason)
        return taken
