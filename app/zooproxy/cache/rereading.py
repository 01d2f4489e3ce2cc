"""A blob read from its disk once more, and hashed: whether it still is what it was."""

from __future__ import annotations

import asyncio
import errno
import os
from collections.abc import Awaitable, Callable
from typing import BinaryIO, Final

from zooproxy.cache.blobs import HeldBlob
from zooproxy.cache.disk import disk_errors
from zooproxy.digest import Hasher, Sha256
from zooproxy.errors import BlobCorrupt

BLOCK_BYTES: Final = 4 << 20
"""Read at once: a fraction of a second even on a slow disk, so that whoever reads can be stopped."""


async def reread(blob: HeldBlob, pace: Callable[[int], Awaitable[None]] | None = None) -> Sha256:
    """The sha256 of the bytes that the disk has now; ``pace`` is awaited with the size of each block that was read.

    What the kernel has of the file in memory is let go of, first so that it is the disk that is asked, and then so that
    reading everything once does not drive out what is in use.

    Raises:
        BlobAbsent: it was removed.
        BlobCorrupt: the disk cannot read it.
        CacheError: it cannot be opened.
    """
    hasher = Hasher()
    local = blob.path is not None
    with blob.file() as file:
        while size := await asyncio.to_thread(_hash_block, file, hasher, local):
            if pace is not None:
                await pace(size)
    return hasher.digest()


def _hash_block(file: BinaryIO, hasher: Hasher, local: bool) -> int:
    start = hasher.size
    if local and not start:
        _let_go(file, 0, 0)
    with disk_errors("reading a blob"):
        try:
            block = file.read(BLOCK_BYTES)
        except OSError as error:
            if error.errno == errno.EIO:
                raise BlobCorrupt("the disk cannot read it") from error
            raise
    hasher.update(block)
    if local:
        _let_go(file, start, len(block))
    return len(block)


def _let_go(file: BinaryIO, start: int, length: int) -> None:
    """0 is to the end."""
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(file.fileno(), start, length, os.POSIX_FADV_DONTNEED)
