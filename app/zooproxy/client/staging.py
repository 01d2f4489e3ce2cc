"""Onto a GPU while the bytes arrive: through a ring of pinned memory, copied beside the network and beside each other.

Each connection receives into a slot of its own ring, the piece is hashed where it lies, and its copy is begun on a
stream of its own; a slot is received into again once its last copy has read it. Every storage is an allocation of its
own, as with ``torch.load``: it is freed with its last tensor. The host needs the rings, whatever the size of the
checkpoint. What lies in the node's store goes the same way, from its mapped file.

A transfer that is begun again (wrong bytes, another proxy) begins its copies after those that it replaces, and copies
run in the order in which they are begun: what was proven last is what stays.
"""

from __future__ import annotations

import ctypes
import os
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import accumulate
from types import TracebackType
from typing import TYPE_CHECKING, Callable, Final, Optional, Protocol

from zooproxy.client.plan import Plan
from zooproxy.client.splicing import write_all
from zooproxy.client.storages import MapLocation, device_of, has_untyped_storages, storage_of
from zooproxy.wire.tensors import TensorIndex

if TYPE_CHECKING:
    import torch

#: Bytes of a slot: small enough to be hashed while it lies in a core's cache, large enough for a copy to be worth it.
SLOT: Final = 1 << 20

#: Slots of a connection: one is received into while the copies of the others run.
SLOTS: Final = 4

#: What lies in main memory is copied into slots by so many threads, each of them worth its start from so many bytes on.
_COPIERS: Final = 4
_PER_COPIER: Final = 64 << 20


@dataclass(frozen=True)
class Slot:
    """Pinned host memory, twice: as what bytes are received into, and as torch sees it."""

    view: memoryview
    tensor: torch.Tensor


def slots_of(view: memoryview, tensor: torch.Tensor, size: int) -> list[Slot]:
    """``view`` and ``tensor``, which are the same memory, cut into slots of ``size`` bytes."""
    starts = range(0, len(view), size)
    return [Slot(view[start : start + size], tensor[start : start + size]) for start in starts]


class Accelerator(Protocol):
    """What staging asks of a device. ``copy`` and ``mark`` are called from several threads."""

    def memories(self, sizes: Sequence[int]) -> list[torch.Tensor]:
        """Uninitialised memory on the device, as uint8, which copies that are begun from now on may write."""
        ...

    def slots(self, count: int, size: int) -> list[Slot]:
        """So many slots of ``size`` bytes, pinned at once: pinning takes milliseconds, however little it is."""
        ...

    def copy(self, source: torch.Tensor, target: torch.Tensor) -> None:
        """Begins to copy part of a slot to the device, after all copies that were begun before."""
        ...

    def mark(self) -> Callable[[], None]:
        """What returns once all copies that were begun before this call have ended."""
        ...

    def finish(self) -> None:
        """Returns when every copy has ended: the memories may be used on any stream, and be freed."""
        ...


class Cuda:
    """A CUDA (or ROCm) device through torch."""

    def __init__(self, device: torch.device) -> None:
        import torch

        self._device = device
        self._stream = torch.cuda.Stream(device)  # type: ignore[no-untyped-call]

    def memories(self, sizes: Sequence[int]) -> list[torch.Tensor]:
        import torch

        # Other threads will write to them, which torch forbids with tensors made in inference mode.
        with torch.inference_mode(False):
            made = [torch.empty(size, dtype=torch.uint8, device=self._device) for size in sizes]
        # The allocator hands out what was freed on this thread's stream, where it may still be in use.
        self._stream.wait_stream(torch.cuda.current_stream(self._device))
        return made

    def slots(self, count: int, size: int) -> list[Slot]:
        import torch

        pinned = torch.empty(count * size, dtype=torch.uint8, pin_memory=True)
        octets = (ctypes.c_uint8 * len(pinned)).from_address(pinned.data_ptr())
        return slots_of(memoryview(octets).cast("B"), pinned, size)

    def copy(self, source: torch.Tensor, target: torch.Tensor) -> None:
        import torch

        with torch.cuda.stream(self._stream):
            target.copy_(source, non_blocking=True)

    def mark(self) -> Callable[[], None]:
        import torch

        event = torch.cuda.Event(blocking=True)  # type: ignore[no-untyped-call]  # sleeps where it would spin
        event.record(self._stream)
        wait: Callable[[], None] = event.synchronize
        return wait

    def finish(self) -> None:
        self._stream.synchronize()


def accelerator_of(map_location: MapLocation) -> Optional[Accelerator]:
    """What stages for ``map_location``; None where it names no CUDA device or is a function of
    storages, and with torch before 1.13, whose storages have one dtype each.

    Raises:
        RuntimeError, AssertionError: torch's own, where it names one that this torch or this machine does not have.
    """
    import torch

    device = device_of(map_location)
    if device is None or device.type != "cuda":
        return None
    device = torch.empty(0, device=device).device
    return Cuda(device) if has_untyped_storages() else None


class Staging:
    """The storages that ``plan`` needs of ``index``, on a device; left with every copy ended."""

    def __init__(self, accelerator: Accelerator, index: TensorIndex, plan: Plan) -> None:
        self._accelerator = accelerator
        extents = {number: (place, place + index.storages[number].size) for number, place in plan.places.items()}
        apart = sorted(set(extents.values()))
        self._memories = accelerator.memories([stop - start for start, stop in apart])
        self._starts = [start for start, _ in apart]
        self._stops = [stop for _, stop in apart]
        self._reach = list(accumulate(self._stops, max))
        memory_of = dict(zip(apart, self._memories))
        self._storages = {number: storage_of(memory_of[extent]) for number, extent in extents.items()}
        self._size = sum(stop - start for start, stop in self._runs())
        self.is_complete = False

    def __enter__(self) -> Staging:
        return self

    def __exit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self._accelerator.finish()

    @property
    def storages(self) -> Mapping[int, torch.UntypedStorage]:
        """By number; whole once this is complete and left."""
        return self._storages

    def ring(self) -> Ring:
        """A target for one connection."""
        return Ring(self, self._accelerator, min(SLOTS, self._size // SLOT + 1))

    def copy(self, at: int, source: torch.Tensor) -> None:
        """Begins to copy bytes of the plan's memory, from ``at`` on, to the storages that they belong to."""
        end = at + len(source)
        for number in range(bisect_right(self._reach, at), bisect_left(self._starts, end)):
            start, stop = self._starts[number], self._stops[number]
            begin, until = max(start, at), min(stop, end)
            if begin < until:
                target = self._memories[number][begin - start : until - start]
                self._accelerator.copy(source[begin - at : until - at], target)

    def take(self, memory: memoryview) -> None:
        """Copies all of ``memory``, which is laid out as the plan says and can be written."""
        pieces = deque(self._pieces())
        copiers = max(1, min(_COPIERS, os.cpu_count() or 1, self._size // _PER_COPIER))
        if pieces:
            source = _address(memory)
            with ThreadPoolExecutor(copiers, "zooproxy") as threads:
                for copier in [threads.submit(self._take, pieces, source) for _ in range(copiers)]:
                    copier.result()
        self.is_complete = True

    def _take(self, pieces: deque[tuple[int, int]], source: int) -> None:
        ring = self.ring()
        while True:
            try:
                at, size = pieces.popleft()
            except IndexError:
                return
            room = ring.room(at, size)
            ctypes.memmove(_address(room), source + at, size)  # lets other threads run, which a slice would not
            ring.took(at, room)

    def _pieces(self) -> Iterator[tuple[int, int]]:
        for start, stop in self._runs():
            for at in range(start, stop, SLOT):
                yield at, min(SLOT, stop - at)

    def _runs(self) -> list[tuple[int, int]]:
        """The parts of the memory that storages lie in: what is between them stays where it is."""
        runs: list[tuple[int, int]] = []
        for start, reach in zip(self._starts, self._reach):
            if runs and start <= runs[-1][1]:
                runs[-1] = (runs[-1][0], reach)
            else:
                runs.append((start, reach))
        return runs


class Ring:
    """A target of a transfer: pieces go to the device. For one thread."""

    def __init__(self, staging: Staging, accelerator: Accelerator, count: int) -> None:
        self._staging = staging
        self._accelerator = accelerator
        self._count = count
        self._slots: list[Slot] = []
        self._free: list[Callable[[], None]] = [lambda: None] * count
        self._turn = 0

    def room(self, at: int, most: int) -> memoryview:  # noqa: ARG002  # of any target
        if not self._slots:
            self._slots = self._accelerator.slots(self._count, SLOT)
        self._free[self._turn]()
        return self._slots[self._turn].view[:most]

    def took(self, at: int, data: memoryview) -> None:
        self._staging.copy(at, self._slots[self._turn].tensor[: len(data)])
        self._free[self._turn] = self._accelerator.mark()
        self._turn = (self._turn + 1) % self._count

    def file(self) -> None:
        """All of it has to be seen."""


def _address(memory: memoryview) -> int:
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))


class Tee:
    """A target of a transfer: pieces go to the device, and from the same memory into a file."""

    def __init__(self, ring: Ring, descriptor: int) -> None:
        self._ring = ring
        self._descriptor = descriptor

    def room(self, at: int, most: int) -> memoryview:
        return self._ring.room(at, most)

    def took(self, at: int, data: memoryview) -> None:
        self._ring.took(at, data)
        write_all(self._descriptor, data, at)

    def file(self) -> None:
        """All of it has to be seen."""
