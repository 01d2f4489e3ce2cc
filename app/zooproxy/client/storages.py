"""torch memory for bytes that arrive: the one module that knows how torch of any version holds storages (``Octets``
before 1.13, untyped storages since).

A buffer is one such storage; each storage of a checkpoint is a slice of it, which shares its memory and keeps it
alive, so the buffer lives until its last tensor dies. Tensors are set on slices, as ``torch.load`` does, and so keep
ties, strides and order; ``torch.save`` of such a tensor writes its slice only.
"""

from __future__ import annotations

import contextlib
import mmap
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Callable, Optional, Union

from zooproxy.client.typed_storages import Octets, moved, placed_by
from zooproxy.errors import UnsupportedFormat
from zooproxy.wire.tensors import Tensor

if TYPE_CHECKING:
    import torch

#: What ``torch.load`` takes: a device, a mapping of locations to devices, or a function of (storage, location).
MapLocation = Union[None, str, "torch.device", Mapping[str, str], Callable[[Any, str], Any]]

#: A run of bytes that tensors can be set on.
TorchStorage = Union["torch.UntypedStorage", Octets]

_CPU = "cpu"


class Buffer:
    """Bytes that tensors view; ``view`` is valid while this object or a slice of it lives, and is writable."""

    def __init__(self, size: int, memory: Any = None) -> None:
        """
        Args:
            size: bytes; the memory may be longer.
            memory: an ``mmap``; None takes fresh memory, in huge pages where the kernel has them.
        """
        memory = _fresh(size) if memory is None else memory
        self.view = memoryview(memory)[:size] if size else memoryview(b"")
        self._storage = storage_over(self.view)

    def cut(self, start: int, size: int, alignment: int) -> TorchStorage:
        """Bytes of the buffer as a storage; copied where they do not lie at a multiple of ``alignment``.

        Not every kernel reads elements at odd addresses, and torch itself never makes such tensors.
        """
        if isinstance(self._storage, Octets):
            return self._storage.cut(start, size, alignment)
        import torch

        piece: torch.UntypedStorage = self._storage[start : start + size]
        if size and piece.data_ptr() % alignment:
            return storage_of(torch.empty(0, dtype=torch.uint8).set_(piece).clone())
        return piece


def has_untyped_storages() -> bool:
    """Whether this torch has: from 1.13 on."""
    import torch

    return hasattr(torch, "UntypedStorage")


def storage_over(memory: Any) -> TorchStorage:
    """``memory``, which is writable and stays alive as long as a tensor of it."""
    return storage_of(byte_tensor(memory)) if has_untyped_storages() else Octets(memory)


def byte_tensor(memory: Any) -> torch.Tensor:
    """``memory``, which is writable, as a tensor of bytes that shares it."""
    import torch

    if not has_untyped_storages():
        return Octets(memory).numbers(torch.uint8)
    return torch.frombuffer(memory, dtype=torch.uint8) if len(memory) else torch.empty(0, dtype=torch.uint8)


def _fresh(size: int) -> Any:
    if not hasattr(mmap, "MAP_PRIVATE"):  # Windows
        return mmap.mmap(-1, max(size, 1))
    # Shared memory, Python's default, would come in small pages on nearly every machine.
    memory = mmap.mmap(-1, max(size, 1), flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    if hasattr(mmap, "MADV_HUGEPAGE"):
        with contextlib.suppress(OSError):  # a kernel built without them
            memory.madvise(mmap.MADV_HUGEPAGE)
    return memory


def placed(storage: TorchStorage, map_location: MapLocation) -> TorchStorage:
    """``storage`` where ``map_location`` wants it, by ``torch.load``'s rules for a storage saved on the CPU.

    None, the CPU, a mapping without ``cpu`` and a function that returns None leave it where it is.
    """
    device = device_of(map_location)
    if device is not None:
        return storage if device.type == _CPU else _moved(storage, device)
    if isinstance(storage, Octets):
        return placed_by(storage, map_location)  # type: ignore[arg-type]  # what is left of MapLocation
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


def _moved(storage: TorchStorage, device: torch.device) -> TorchStorage:
    if isinstance(storage, Octets):
        return moved(storage, device)
    import torch

    return storage_of(torch.empty(0, dtype=torch.uint8).set_(storage).to(device))


def storage_of(tensor: Any) -> torch.UntypedStorage:
    """The untyped storage of ``tensor``; torch 1.13 has no ``untyped_storage``."""
    newer = hasattr(tensor, "untyped_storage")
    storage: torch.UntypedStorage = tensor.untyped_storage() if newer else tensor.storage().untyped()
    return storage


def view_of(storage: TorchStorage, tensor: Tensor) -> torch.Tensor:
    """The strided view that ``tensor`` describes.

    Raises:
        UnsupportedFormat: this torch has no such dtype.
    """
    import torch

    dtype: Optional[Any] = getattr(torch, tensor.dtype, None)
    if not isinstance(dtype, torch.dtype):
        raise UnsupportedFormat(f"torch {torch.__version__} knows no dtype {tensor.dtype}; a newer torch does")
    held: Any
    if isinstance(storage, Octets):
        numbers = storage.numbers(dtype)
        held, device = numbers.storage(), numbers.device  # type: ignore[no-untyped-call]
    else:
        held, device = storage, storage.device
    empty = torch.empty(0, dtype=dtype, device=device)
    view: torch.Tensor = empty.set_(held, tensor.offset, tensor.shape, tensor.stride)
    return view
