"""Sidecars and quarantine on a local disk. Synchronous, for worker threads.

The directory of the fan-out that a blob lies in is locked (``flock``) while its sidecar changes: unlike the blob and
the sidecar, it is never replaced.
"""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from itertools import islice
from pathlib import Path

from zooproxy.cache.blobs import SIDECAR_BYTES, Change
from zooproxy.cache.disk import Disk, disk_errors
from zooproxy.cache.partial import Partial, blob_path
from zooproxy.cache.placing import PLACED_AT_ONCE, place_all
from zooproxy.digest import Sha256
from zooproxy.errors import BlobAbsent

SUFFIX = ".json"


class SidecarFiles:
    def __init__(self, blobs: Path, partials: Path, quarantine: Path, disk: Disk) -> None:
        self._blobs = blobs
        self._partials = partials
        self._quarantine = quarantine
        self._disk = disk

    def read(self, digest: Sha256) -> bytes | None:
        with disk_errors("reading a sidecar"):
            return _read(sidecar_path(blob_path(self._blobs, digest)))

    def change(self, digest: Sha256, change: Change) -> None:
        self.change_all({digest: change})

    def change_all(self, changes: Mapping[Sha256, Change]) -> None:
        remaining = iter(sorted(changes))
        while some := list(islice(remaining, PLACED_AT_ONCE)):
            self._change({digest: changes[digest] for digest in some})

    def _change(self, changes: Mapping[Sha256, Change]) -> None:
        blobs = {digest: blob_path(self._blobs, digest) for digest in changes}
        with ExitStack() as stack:
            stack.enter_context(disk_errors("writing a sidecar"))
            # In one order, whoever else does this: nobody waits for somebody who waits for him.
            for directory in sorted({blob.parent for blob in blobs.values()}):
                stack.enter_context(_locked(directory))
            staged: dict[Path, Partial] = {}
            for digest, blob in blobs.items():
                if not blob.exists():
                    raise BlobAbsent(f"the blob {digest} is not held")
                path = sidecar_path(blob)
                before = _read(path)
                after = changes[digest](before)
                if after is not None and after != before:
                    staged[path] = self._staged(stack, after)
            place_all(staged, self._disk)

    def quarantine(self, digest: Sha256, note: bytes) -> bool:
        """The note first: bytes that nobody can explain are the worse thing to find."""
        blob = blob_path(self._blobs, digest)
        aside = self._quarantine / digest
        with disk_errors("quarantining a blob"), _locked(blob.parent):
            if not os.path.lexists(blob):
                return False
            self._disk.make_directory(self._quarantine)
            with ExitStack() as stack:
                place_all({sidecar_path(aside): self._staged(stack, note)}, self._disk)
            self._disk.rename(blob, aside)
            if sidecar_path(blob).exists():
                self._disk.unlink(sidecar_path(blob))
            for directory in (blob.parent, self._quarantine):
                self._disk.fsync_directory(directory)
        return True

    def _staged(self, stack: ExitStack, document: bytes) -> Partial:
        """A partial file of ``document``, let go of with ``stack``."""
        staged = Partial.create(self._partials, self._disk)
        stack.callback(staged.discard)
        staged.write(document)
        return staged


def sidecar_path(blob: Path) -> Path:
    return blob.with_name(blob.name + SUFFIX)


def _read(path: Path) -> bytes | None:
    try:
        with path.open("rb") as file:
            return file.read(SIDECAR_BYTES + 1)
    except FileNotFoundError:
        return None


@contextmanager
def _locked(directory: Path) -> Iterator[None]:
    try:
        descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    except FileNotFoundError:
        yield  # nothing is there that could change
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)
