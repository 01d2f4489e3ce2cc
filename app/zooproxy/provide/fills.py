"""Fills: a source that is wanted becomes a blob that is held, once for all who ask at the same time."""

from __future__ import annotations

import logging

from zooproxy.cache.blobs import BlobStore
from zooproxy.cache.index import HeldSource, Index
from zooproxy.errors import Offline, ZooproxyError
from zooproxy.fetch.fetcher import Fetcher
from zooproxy.fetch.proof import Wanted
from zooproxy.provide.single_flight import SingleFlight

_log = logging.getLogger(__name__)


class Fills:
    """One fill per source in this process. ``offline``: nothing is fetched."""

    def __init__(self, fetcher: Fetcher, store: BlobStore, index: Index, *, offline: bool) -> None:
        self._fetcher = fetcher
        self._store = store
        self._index = index
        self._offline = offline
        self._flight: SingleFlight[str, HeldSource] = SingleFlight()

    def is_running(self, url: str) -> bool:
        return url in self._flight

    def candidates(self, url: str) -> tuple[str, ...]:
        return self._fetcher.candidates(url)

    async def fill(self, wanted: Wanted) -> HeldSource:
        """Joins the running fill of ``wanted.url``, or begins it.

        Raises:
            Offline: fetching is switched off.
            SourceError, FetchError, ProofError, CacheError: the fill's own failure, the same for all who wait.
        """
        if self._offline:
            raise Offline(f"{wanted.url} is not held and this proxy is set to OFFLINE; bring it in while online")
        self._fetcher.check(wanted.url)
        return await self._flight.join(wanted.url, lambda: self._logged(wanted))

    async def _logged(self, wanted: Wanted) -> HeldSource:
        _log.info("fill begins: %s", wanted.url)
        try:
            held = await self._run(wanted)
        except ZooproxyError as error:
            _log.warning("fill failed: %s: %s: %s", wanted.url, error.slug, error)
            raise
        except Exception:
            _log.exception("fill failed: %s", wanted.url)
            raise
        _log.info("fill done: %s: %s, %d bytes", wanted.url, held.sha256, held.size)
        return held

    async def _run(self, wanted: Wanted) -> HeldSource:
        """Fetch, prove, publish: the bytes first, the row last."""
        staged = await self._fetcher.fetch(wanted, self._store.stage)
        blob = await staged.commit()
        return await self._index.publish(wanted.url, blob.digest, blob.size)

    async def close(self) -> None:
        """Stops what still runs; each fill discards its own partial."""
        await self._flight.close()
