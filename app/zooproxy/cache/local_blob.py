"""A blob on a local disk."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from zooproxy.cache.blobs import HeldBlob
from zooproxy.cache.claims import mark_read
from zooproxy.cache.disk import disk_errors
from zooproxy.digest import Sha256
from zooproxy.errors import BlobAbsent, BlobCorrupt

_EMPTY = Sha256.of(b"")


@dataclass(frozen=True, slots=True)
class LocalBlob(HeldBlob):
    """A blob that is a file at ``path``."""

    path: Path

    def file(self) -> BinaryIO:
        with disk_errors("opening a blob"):
            try:
                file = self.path.open("rb")
            except FileNotFoundError as error:
                raise _absent(self.digest) from error
        mark_read(file)
        return file


def opened(digest: Sha256, path: Path) -> LocalBlob:
    """
    Raises:
        BlobAbsent, BlobCorrupt, CacheError: as ``BlobStore.open``.
    """
    with disk_errors("opening a blob"):
        try:
            descriptor = os.open(path, os.O_RDONLY)
        except FileNotFoundError as error:
            raise _absent(digest) from error
        try:
            status = os.fstat(descriptor)
        finally:
            os.close(descriptor)
    if not stat.S_ISREG(status.st_mode) or (status.st_size == 0 and digest != _EMPTY):
        raise BlobCorrupt(f"the blob {digest} is not whole on disk; it has to be fetched again")
    return LocalBlob(digest, status.st_size, path)


def _absent(digest: Sha256) -> BlobAbsent:
    return BlobAbsent(f"the blob {digest} is not held")
