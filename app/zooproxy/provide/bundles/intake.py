"""Blobs of a bundle on their way into a store: hashed and written on all cores, made durable a batch at a time."""

from __future__ import annotations

import asyncio
import threading
from collections import deque
from collections.abc import Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor, wait
from types import TracebackType
from typing import BinaryIO, Final, Self, TypeVar

from zooproxy.cache.blobs import Batch, BlobStore, HeldBlob
from zooproxy.digest import Sha256
from zooproxy.errors import CacheError
from zooproxy.fetch.proof import prove_structure
from zooproxy.provide.bundles.checking import WORKERS, check_digest
from zooproxy.provide.bundles.manifest import Member
from zooproxy.provide.bundles.reading import BundleReader

_BATCH: Final = 64  # blobs; each has a descriptor until it is durable
_BATCH_BYTES: Final = 256 << 20
_BATCHES_BEHIND: Final = 1  # that are made durable while the next one is filled

_T = TypeVar("_T")


class Intake:
    """``brought``: the blobs that are in the store by now. What is not among them when it is left is dropped."""

    def __init__(self, store: BlobStore, reader: BundleReader) -> None:
        self.brought: dict[Sha256, HeldBlob] = {}
        self._store = store
        self._reader = reader
        self._ended = threading.Event()
        self._workers = ThreadPoolExecutor(WORKERS, "bundle-hash")
        self._committer = ThreadPoolExecutor(1, "bundle-commit")
        self._filling = _Crate(store.batch())
        self._committing: deque[Future[Mapping[Sha256, HeldBlob]]] = deque()

    async def take(self, member: Member) -> None:
        """``member``, whose turn it is; what is wrong with it may be told by a later call.

        Raises:
            MalformedBundle, DigestMismatch, NotACheckpoint: the bundle is not what it says.
            OutOfSpace, CacheError: the store failed.
        """
        crate = self._filling
        taking = self._workers.submit(_take, crate.batch, self._until_ended(self._reader.blocks(member)), member.sha256)
        crate.add(taking, member.size)
        if not self._reader.apart:
            await _outcome(taking)
        if crate.blobs >= _BATCH or crate.size >= _BATCH_BYTES:
            self._filling = _Crate(self._store.batch())
            self._committing.append(self._committer.submit(crate.commit))
            await self._commit_all_but(_BATCHES_BEHIND)

    async def finish(self) -> None:
        """All that was taken is in the store, durable.

        Raises:
            ZooproxyError: as ``take``.
        """
        self._committing.append(self._committer.submit(self._filling.commit))
        await self._commit_all_but(0)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        await asyncio.shield(asyncio.to_thread(self._end))

    def _end(self) -> None:
        self._workers.shutdown(cancel_futures=True)
        self._committer.shutdown()
        self._filling.batch.discard()
        for committing in self._committing:
            if committing.exception() is None:
                self.brought.update(committing.result())

    async def _commit_all_but(self, count: int) -> None:
        while len(self._committing) > count:
            brought = await _outcome(self._committing[0])
            self.brought.update(brought)
            self._committing.popleft()

    def _until_ended(self, blocks: Iterator[bytes]) -> Iterator[bytes]:
        for block in blocks:
            if self._ended.is_set():
                raise CacheError("the import was ended")
            yield block


class _Crate:
    """A batch and who fills it: ``blobs`` of ``size`` bytes in all."""

    def __init__(self, batch: Batch) -> None:
        self.batch = batch
        self.blobs = self.size = 0
        self._taking: list[Future[None]] = []

    def add(self, taking: Future[None], size: int) -> None:
        self._taking.append(taking)
        self.blobs += 1
        self.size += size

    def commit(self) -> Mapping[Sha256, HeldBlob]:
        """Waits until all of it is written; all of it is committed, or nothing."""
        try:
            for taking in self._taking:
                taking.result()
            return self.batch.commit()
        finally:
            wait(self._taking)
            self.batch.discard()


def _take(batch: Batch, blocks: Iterator[bytes], expected: Sha256) -> None:
    def prove(actual: Sha256, file: BinaryIO, size: int) -> None:
        check_digest(actual, expected)
        prove_structure(file, size)

    batch.take(blocks, prove)


async def _outcome(future: Future[_T]) -> _T:
    """Its caller may be cancelled, it is not."""
    return await asyncio.shield(asyncio.wrap_future(future))
