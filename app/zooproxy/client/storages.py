"""torch memory for bytes that arrive: the one module that knows how torch of any version (1.13 on) holds storages.

A buffer is one untyped storage; each storage of a checkpoint is a slice of it, which shares its memory and keeps it
alive, so the buffer lives until its last tensor dies. Tensors are set on slices, as ``torch.load`` does, and so keep
ties, strides and order; ``torch.save`` of such a tensor writes its slice only.
"""

from __future__ import annotations

import contextlib
import mmap
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Callable, Optional, Union

from zooproxy.errors import UnsupportedFormat
from zooproxy.wire.tensors import Tensor

if TYPE_CHECKING:
    import torch

#: What ``torch.load`` takes: a device, a mapping of locations to devices, or a function of (storage, location).
MapLocation = Union[None, str, "torch.device", Mapping[str, str], Callable[[Any, str], Any]]

_CPU = "cpu"


class Buffer:
    """Bytes that tensors view; ``view`` is valid while this object or a slice of it lives, and is writable."""

    def __init__(self, size: int, memory: Any = None) -> None:
        """
        Args:
            size: bytes; the memory may be longer.
            memory: an ``mmap``; None takes fresh memory, in huge pages where the kernel has them.
        """
        import torch

        memory = _fresh(size) if memory is None else memory
        # frombuffer keeps the mapping alive as long as any tensor of it.
        flat = torch.frombuffer(memory, dtype=torch.uint8, count=size) if size else torch.empty(0, dtype=torch.uint8)
        self._storage = storage_of(flat)
        self.view = memoryview(memory)[:size] if size else memoryview(b"")

    def cut(self, start: int, size: int, alignment: int) -> torch.UntypedStorage:
        """Bytes of the buffer as a storage; copied where they do not lie at a multiple of ``alignment``.

        Not every kernel reads elements at odd addresses, and torch itself never makes such tensors.
        """
        import torch

        piece: torch.UntypedStorage = self._storage[start : start + size]
        if size and piece.data_ptr() % alignment:
            return storage_of(torch.empty(0, dtype=torch.uint8).set_(piece).clone())
        return piece


def _fresh(size: int) -> Any:
    if not hasattr(mmap, "MAP_PRIVATE"):  # Windows
        return mmap.mmap(-1, max(size, 1))
    # Shared memory, Python's default, would come in small pages on nearly every machine.
    memory = mmap.mmap(-1, max(size, 1), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # a kernel built without them
            memory.madvise(mmap.MADV_HUGEPAGE)
    return memory


def placed(storage: torch.UntypedStorage, map_location: MapLocation) -> torch.UntypedStorage:
    """``storage`` where ``map_location`` wants it, by ``torch.load``'s rules for a storage saved on the CPU.

    None, the CPU, a mapping without ``cpu`` and a function that returns None leave it where it is.
    """
    device = device_of(map_location)
    if device is not None:
        return storage if device.type == _CPU else _moved(storage, device)
    answer = map_location(storage, _CPU)  # type: ignore[operator, misc]  # what is left of MapLocation
    return _untyped(answer, storage)


def device_of(map_location: MapLocation) -> Optional[torch.device]:
    """The device that ``map_location`` sends a storage saved on the CPU to; None where it is a function, which says."""
    import torch

    if isinstance(map_location, Mapping):
        map_location = map_location.get(_CPU, _CPU)
    if map_location is None:
        return torch.device(_CPU)
    # A device is callable too, since torch 2.0.
    return torch.device(map_location) if isinstance(map_location, (str, torch.device)) else None


def _untyped(answer: Any, storage: torch.UntypedStorage) -> torch.UntypedStorage:
    """What a function of (storage, location) answered; such functions of older days make typed storages."""
    if answer is None:
        return storage
    inner = getattr(answer, "untyped", None)
    found: torch.UntypedStorage = answer if inner is None or isinstance(answer, type(storage)) else inner()
    return found


def _moved(storage: torch.UntypedStorage, device: torch.device) -> torch.UntypedStorage:
    import torch

    return storage_of(torch.empty(0, dtype=torch.uint8).set_(storage).to(device))


def storage_of(tensor: Any) -> torch.UntypedStorage:
    """The untyped storage of ``tensor``; torch 1.13 has no ``untyped_storage``."""
    newer = hasattr(tensor, "untyped_storage")
    storage: torch.UntypedStorage = tensor.untyped_storage() if newer else tensor.storage().untyped()
    return storage


def view_of(storage: torch.UntypedStorage, tensor: Tensor) -> torch.Tensor:
    """The strided view that ``tensor`` describes.

    Raises:
        UnsupportedFormat: this torch has no such dtype.
    """
    import torch

    dtype: Optional[Any] = getattr(torch, tensor.dtype, None)
    if not isinstance(dtype, torch.dtype):
        raise UnsupportedFormat(f"torch {torch.__version__} knows no dtype {tensor.dtype}; a newer torch does")
    empty = torch.empty(0, dtype=dtype, device=storage.device)
    view: torch.Tensor = empty.set_(storage, tensor.offset, tensor.shape, tensor.stride)
    return view
