"""What lies in the blob directory, one directory of the fan-out at a time. Synchronous, for worker threads."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from zooproxy.cache.blobs import Stored
from zooproxy.cache.disk import disk_errors
from zooproxy.cache.local_sidecars import SUFFIX, sidecar_path
from zooproxy.cache.partial import blob_path
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


def looked_at(blobs: Path, digest: Sha256) -> Stored | None:
    path = blob_path(blobs, digest)
    with disk_errors("looking at a blob"):
        status, sidecar = _status(path), _status(sidecar_path(path))
    return _stored(digest, status, sidecar)


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
        stored = _stored(Sha256(directory.name + rest), found.pop(rest, None), found.pop(rest + SUFFIX, None))
        if stored is not None:
            yield stored
    for name in sorted(found):
        yield _stray(f"{directory.name}/{name}", found[name])


def _stored(digest: Sha256, status: os.stat_result | None, sidecar: os.stat_result | None) -> Stored | None:
    written = status or sidecar
    if written is None:
        return None
    size = None if status is None else _size(status)
    return Stored(f"{digest[:2]}/{digest[2:]}", digest, size, written.st_mtime, sidecar is not None)


def _status(path: Path) -> os.stat_result | None:
    try:
        return path.lstat()
    except FileNotFoundError:
        return None


def _size(status: os.stat_result) -> int:
    """Of what is no file: none that a blob can have."""
    return status.st_size if stat.S_ISREG(status.st_mode) else -1


def _stray(name: str, status: os.stat_result) -> Stored:
    return Stored(name, None, status.st_size, status.st_mtime, has_sidecar=False)
