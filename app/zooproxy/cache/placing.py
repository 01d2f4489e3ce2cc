"""Many partial files made durable under their final names: all wait for the disk side by side.

A flush that waits alone costs a turn of the journal and one of the device; those that wait at once share both. Measured
on ext4 over a virtual disk, 2,000 files of 2 GB: 12 seconds one by one, 2.6 with 64 waiting, as with one ``syncfs``,
which would write out what others have in memory, too.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Final

from zooproxy.cache.disk import Disk
from zooproxy.cache.partial import Partial

PLACED_AT_ONCE: Final = 64  # files, each with a descriptor and a thread that waits


def place_all(partials: Mapping[Path, Partial], disk: Disk) -> None:
    """Each at its path, whose directory is there, in place of what has that name: all of them, or none.

    Raises:
        OSError: they could not be made durable.
    """
    if not partials:
        return
    with ThreadPoolExecutor(min(len(partials), PLACED_AT_ONCE), "placing") as waiting:
        _all(waiting.map(Partial.flush, partials.values()))
        placed = []
        try:
            for final, partial in partials.items():
                partial.move(final)
                placed.append(final)
            _all(waiting.map(disk.fsync_directory, dict.fromkeys(final.parent for final in partials)))
        except OSError:
            # The kernel reports a failed flush once; a name that stayed would be believed by the next commit.
            for final in placed:
                with suppress(OSError):
                    disk.unlink(final)
            raise


def _all(results: Iterable[None]) -> None:
    """Waits; raises what one of them raised."""
    for _ in results:
        pass
