"""A landing for fetchers under test: the real one over a local store, with nobody to tell of it."""

from __future__ import annotations

from zooproxy.cache.blobs import BlobStore
from zooproxy.cache.leases import Staged
from zooproxy.cache.space import Space
from zooproxy.provide.growing import Growing
from zooproxy.provide.landing import Ground, Landing


async def _nobody(_: Staged | None) -> None:
    pass


def landing_in(
    store: BlobStore, growing: Growing | None = None, *, promised: bool = False, space: Space | None = None
) -> Landing:
    ground = Ground(store, space or Space(store.free_bytes))
    return Landing(ground, growing or Growing("x"), _nobody, promised=promised)
