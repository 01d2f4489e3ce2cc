"""What a container's reader hands over, and the window through which readers see long files."""

from __future__ import annotations

import io
import mmap
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, BinaryIO, Callable, Union

from zooproxy.errors import LimitExceeded, MalformedCheckpoint
from zooproxy.formats import limits
from zooproxy.formats.modules import module_state_dict
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


@dataclass(frozen=True)
class Pickled:
    """What a pickle built. ``data`` holds it, from byte ``base`` of the file on; ``origins``: see the machine."""

    root: Any
    data: Bytes = b""
    origins: Mapping[int, tuple[Any, int]] = field(default_factory=dict)
    base: int = 0


def contents_of(pickled: Pickled, locate: Callable[[StorageNode], Storage], *, byteorder: str = "little") -> Contents:
    """The contents of a checkpoint; ``locate`` knows where the storages outside of the pickle lie.

    Raises:
        MalformedCheckpoint, LimitExceeded: as ``Outline.draw`` and ``locate``.
    """
    state_dict = module_state_dict(pickled.root)
    root = pickled.root if state_dict is None else state_dict
    outline = Outline(pickled.data, pickled.origins)
    tree = outline.draw(root)

    def place(node: StorageNode) -> Storage:
        return locate(node) if node.start is None else Storage(pickled.base + node.start, node.size)

    storages = tuple(map(place, outline.storages))
    kind = kind_of(root) if state_dict is None else "module"
    return Contents(kind, byteorder, storages, tuple(outline.tensors), tree, outline.dropped)


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
