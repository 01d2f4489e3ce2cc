"""What lies in the blob directory, one directory of the fan-out at a time. Synchronous, for worker threads."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from zooproxy.cache.blobs import Stored
from zooproxy.cache.disk import disk_errors
from zooproxy.cache.local_sidecars import SUFFIX
from zooproxy.digest import Sha256

_FAN = re.compile(r"[0-9a-f]{2}\Z")
_REST = re.compile(r"[0-9a-f]{62}\Z")


def fan_out(blobs: Path) -> Sequence[Path]:
    """Where to look, in order: the directories of the fan-out, whatever else is there; none before the first blob."""
    with disk_errors("listing the blobs"):
        try:
            return sorted(blobs.iterdir())
        except FileNotFoundError:
            return []


def listed(place: Path) -> Sequence[Stored]:
    with disk_errors("listing the blobs"):
        if not place.is_dir() or not _FAN.match(place.name):
            return [_stray(place.name, place.lstat())]
        return list(_within(place))


def _within(directory: Path) -> Iterator[Stored]:
    found = {}
    with os.scandir(directory) as entries:
        for entry in entries:
            try:
                found[entry.name] = entry.stat(follow_symlinks=False)
            except FileNotFoundError:
                continue  # removed meanwhile
    blobs = {name.removesuffix(SUFFIX) for name in found if _REST.match(name.removesuffix(SUFFIX))}
    for rest in sorted(blobs):
        status, sidecar = found.pop(rest, None), found.pop(rest + SUFFIX, None)
        size = None if status is None else _size(status)
        changed = next(one.st_mtime for one in (status, sidecar) if one is not None)
        name = f"{directory.name}/{rest}"
        yield Stored(name, Sha256(directory.name + rest), size, changed, sidecar is not None)
    for name in sorted(found):
        yield _stray(f"{directory.name}/{name}", found[name])


def _size(status: os.stat_result) -> int:
    """Of what is no file: none that a blob can have."""
    return status.st_size if stat.S_ISREG(status.st_mode) else -1


def _stray(name: str, status: os.stat_result) -> Stored:
    return Stored(name, None, status.st_size, status.st_mtime, has_sidecar=False)
