"""A batch of blobs on a local disk."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from zooproxy.cache.blobs import Batch, HeldBlob, Proof
from zooproxy.cache.claims import Locks
from zooproxy.cache.disk import Disk, disk_errors
from zooproxy.cache.local_blob import LocalBlob
from zooproxy.cache.partial import Partial, blob_path
from zooproxy.cache.placing import place_all
from zooproxy.digest import Sha256
from zooproxy.errors import CacheError


class LocalBatch(Batch):
    """Partial files, which a sweep in another process knows to be alive."""

    def __init__(self, blobs: Path, partials: Path, locks: Locks, disk: Disk) -> None:
        self._blobs = blobs
        self._partials = partials
        self._locks = locks
        self._disk = disk
        self._staged: list[Partial] = []
        self._ended = False

    def take(self, blocks: Iterable[bytes], proof: Proof) -> None:
        if self._ended:
            raise CacheError("the batch was committed or discarded already; begin another")
        partial = Partial.create(self._partials, self._disk)
        try:
            for block in blocks:
                partial.write(block)
            with partial.file() as file:
                proof(partial.digest(), file, partial.size)
        except BaseException:
            partial.discard()
            raise
        self._staged.append(partial)

    def commit(self) -> Mapping[Sha256, HeldBlob]:
        finals = {blob_path(self._blobs, partial.digest()): partial for partial in self._staged}
        held = {one.digest(): LocalBlob(one.digest(), one.size, final) for final, one in finals.items()}
        try:
            lock = self._locks.publishing(held)
            try:
                with disk_errors("publishing blobs"):
                    self._disk.make_directories({final.parent for final in finals})
                    place_all(finals, self._disk)
            finally:
                lock.release()
        finally:
            self.discard()
        return held

    def discard(self) -> None:
        self._ended = True
        while self._staged:
            self._staged.pop().discard()
