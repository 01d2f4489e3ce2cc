"""The one place through which a source comes to be held as a blob: the sidecar when the blob is durable, the row last.

Fills, derived blobs, imports and uploads all publish here. A crash in between leaves a blob that the next start adopts
from its sidecar, or one without a sidecar, which nobody was told of.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Final

from zooproxy.cache.blobs import BlobStore, Change, HeldBlob
from zooproxy.cache.index import HeldSource, Index
from zooproxy.cache.leases import Lease
from zooproxy.cache.sidecars import Origin, Sidecar, sidecar_from_json, sidecar_to_json
from zooproxy.cache.trust import Trusted
from zooproxy.digest import Sha256
from zooproxy.errors import BlobAbsent, SidecarMalformed

#: Begins the URL of a blob that was made from another one; no reference leads there.
DERIVED: Final = "derived:"


class Shelf:
    """A blob store and the index over it, kept in step."""

    def __init__(self, store: BlobStore, index: Index) -> None:
        self.store = store
        self.index = index

    async def publish(self, url: str, blob: HeldBlob, lease: Lease | None = None) -> HeldSource:
        """``url`` is held as ``blob``, which is durable, from now on; ends ``lease``.

        A derived blob gets no sidecar: it can be made again.

        Raises:
            BlobAbsent: the blob was removed meanwhile.
            BlobCorrupt: that blob is known with another size.
            LeaseLost: another process has taken the lease.
        """
        if url.startswith(DERIVED):
            return await self.index.publish(url, blob.digest, blob.size, lease)
        before = await self.index.held(url)
        at = _later_than(before)
        trusted = await self.index.trust.of(url)
        await self.restore(Sidecar(blob.digest, blob.size, (_origin(url, blob.digest, at, trusted),)))
        held = await self.index.publish(url, blob.digest, blob.size, lease, at)
        if before is not None and before.sha256 != blob.digest:
            await self._recast(before.sha256, url)
        return held

    async def publish_all(self, held: Mapping[str, HeldBlob]) -> None:
        """As ``publish`` for each URL, the rows in one transaction: none is held before all are.

        What was not brought just now may be evicted at any time; from the look at it to its row it stays.

        Raises:
            BlobAbsent, BlobCorrupt: as ``publish``.
        """
        async with self.store.publishing({blob.digest for blob in held.values()}):
            await self._publish_all(held)

    async def _publish_all(self, held: Mapping[str, HeldBlob]) -> None:
        before = {one.url: one for one in await self.index.sources() if one.url in held}
        trusted = await self.index.trust.all()
        at = max((_later_than(one) for one in before.values()), default=_later_than(None))
        origins: dict[HeldBlob, list[Origin]] = {}
        for url, blob in held.items():
            origins.setdefault(blob, []).append(_origin(url, blob.digest, at, trusted.get(url)))
        sidecars = [Sidecar(blob.digest, blob.size, tuple(of)) for blob, of in origins.items()]
        await self.store.annotate_all({sidecar.sha256: _restoring(sidecar) for sidecar in sidecars})
        await self.index.publish_all(HeldSource(url, blob.digest, blob.size, at) for url, blob in held.items())
        for url, one in before.items():
            if one.sha256 != held[url].digest:
                await self._recast(one.sha256, url)

    async def accept(self, url: str, sha256: Sha256) -> None:
        """An operator's word: ``url`` must have ``sha256``; what is held of it otherwise is held of it no more."""
        before = await self.index.held(url)
        await self.index.trust.accept(url, sha256)
        for digest in {sha256} | ({before.sha256} if before else set()):
            await self._recast(digest, url)

    async def restore(self, sidecar: Sidecar) -> None:
        """Makes the sidecar say what ``sidecar`` says of its origins; what it says of others is kept.

        Raises:
            BlobAbsent: there is no such blob.
        """
        await self.store.annotate(sidecar.sha256, _restoring(sidecar))

    async def drop(self, *digests: Sha256) -> list[Sha256]:
        """Forgets blobs that are not there, sidecars included; which ones those were. What has come meanwhile stays."""

        async def is_absent(digest: Sha256) -> bool:
            now = await self.store.look(digest)
            if now is not None and now.size is None:
                await self.store.remove(digest)
            return now is None or now.size is None

        return await self.index.forget(*digests, sure=is_absent)

    async def quarantine(self, digest: Sha256, note: bytes, sure: Callable[[], Awaitable[bool]]) -> bool:
        """Takes the blob out of the store and out of the index; whether ``sure`` still said so.

        Both in one transaction: nobody can publish the blob in between. A crash in between leaves a row without a
        blob, which the next request or the next start forgets.
        """

        async def out(_: Sha256) -> bool:
            return await sure() and await self.store.quarantine(digest, note)

        return bool(await self.index.forget(digest, sure=out))

    async def _recast(self, digest: Sha256, url: str) -> None:
        """Makes what the sidecar of ``digest`` says of ``url`` what the index says; one that is not there stays so."""
        held, trusted = await self.index.held(url), await self.index.trust.of(url)
        at = held.filled_at if held is not None and held.sha256 == digest else None

        def change(document: bytes | None) -> bytes | None:
            known = _readable(document, digest)
            if known is None or known.of(url) is None:
                return None
            return sidecar_to_json(known.with_origin(_origin(url, digest, at, trusted)))

        with suppress(BlobAbsent):  # its sidecar is gone with it
            await self.store.annotate(digest, change)


def _restoring(sidecar: Sidecar) -> Change:
    def change(document: bytes | None) -> bytes:
        known = _readable(document, sidecar.sha256) or sidecar
        for origin in sidecar.origins:
            known = known.with_origin(origin)
        return sidecar_to_json(replace(known, size=sidecar.size))

    return change


def _origin(url: str, digest: Sha256, at: datetime | None, trusted: Trusted | None) -> Origin:
    """What the index says, or is about to say, of a source that is published with ``digest`` at ``at``."""
    if trusted is None:
        return Origin(url, at, digest, at or datetime.now(UTC))
    return Origin(url, at, digest if at else trusted.sha256, trusted.since, trusted.accepted_at)


def _later_than(before: HeldSource | None) -> datetime:
    """Now; but later than what is held, however the clock was set: which of two sidecars is right has to be told."""
    now = datetime.now(UTC)
    return now if before is None else max(now, before.filled_at + timedelta(microseconds=1))


def _readable(document: bytes | None, digest: Sha256) -> Sidecar | None:
    """What is unreadable is written anew; ``verify`` restores what the index knows beyond that."""
    try:
        return None if document is None else sidecar_from_json(document, digest)
    except SidecarMalformed:
        return None
