"""What a container's reader hands over, and the window through which readers see long files."""

from __future__ import annotations

import io
import mmap
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, BinaryIO, Callable, Union

from zooproxy.errors import LimitExceeded, MalformedCheckpoint
from zooproxy.formats import limits
from zooproxy.formats.outline import Outline, kind_of
from zooproxy.formats.pickle_values import StorageNode
from zooproxy.wire.tensors import Storage, Tensor

#: Bytes by position: taken out, or seen where they lie.
Bytes = Union[bytes, mmap.mmap]


@dataclass(frozen=True)
class Contents:
    """What one container's reader found; the members are those of ``TensorIndex``."""

    kind: str
    byteorder: str
    storages: tuple[Storage, ...]
    tensors: tuple[Tensor, ...]
    tree: Any
    dropped: Iterable[str]


def contents_of(
    root: Any, data: Bytes, locate: Callable[[StorageNode], Storage], *, byteorder: str = "little"
) -> Contents:
    """The contents of a checkpoint whose pickle in ``data`` built ``root``; ``locate`` knows where storages lie.

    Raises:
        MalformedCheckpoint, LimitExceeded: as ``Outline.draw`` and ``locate``.
    """
    outline = Outline(data)
    tree = outline.draw(root)
    storages = tuple(map(locate, outline.storages))
    return Contents(kind_of(root), byteorder, storages, tuple(outline.tensors), tree, outline.dropped)


def window(file: BinaryIO, size: int) -> Bytes:
    """The ``size`` bytes of ``file``: mapped where it is a file of the system, else read.

    Raises:
        LimitExceeded: the file is too long to be mapped.
        MalformedCheckpoint: it has fewer bytes.
    """
    if size > limits.WINDOW:
        raise LimitExceeded(f"the file has {size:,} bytes; of this container at most {limits.WINDOW:,} are read")
    try:
        return mmap.mmap(file.fileno(), size, access=mmap.ACCESS_READ)
    except (OSError, io.UnsupportedOperation, ValueError):
        file.seek(0)
        data = file.read(size)
    if len(data) != size:
        raise MalformedCheckpoint("the file ends early: it is shorter than it says")
    return data
