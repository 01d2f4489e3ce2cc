"""The files that bundles are: their names, their manifests, what goes wrong with them."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO

from zooproxy.errors import BundleError, OutOfSpace
from zooproxy.provide.bundles.manifest import LARGEST_MANIFEST, Manifest, manifest_from_bytes
from zooproxy.provide.bundles.reading import BundleReader


def part_paths(path: Path, count: int) -> Sequence[Path]:
    """``F``, or ``F.001``, ``F.002``, … where there are several parts."""
    return [path] if count == 1 else [path.with_name(f"{path.name}.{number:03}") for number in range(1, count + 1)]


def read_manifest(path: Path) -> Manifest:
    """The manifest of the bundle at ``path``, which may also be that manifest alone.

    Raises:
        BundleError: it cannot be read, or is neither.
    """
    with opened(path) as file:
        if file.read(1) == b"{":
            file.seek(0)
            return manifest_from_bytes(file.read(LARGEST_MANIFEST + 1))
        file.seek(0)
        return BundleReader(file).manifest


@contextmanager
def opened(path: Path) -> Iterator[BinaryIO]:
    """
    Raises:
        BundleError: it cannot be read.
    """
    with file_errors(path), path.open("rb") as file:
        yield file


@contextmanager
def file_errors(path: Path) -> Iterator[None]:
    """Translates ``OSError``: no room to ``OutOfSpace``, all else to ``BundleError``."""
    try:
        yield
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else "unknown error"
        if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise OutOfSpace(f"no room left for {path} ({reason}); use --split, or another disk") from error
        raise BundleError(f"{path} cannot be used: {reason}") from error
