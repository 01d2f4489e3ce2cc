"""A device that copies as late as it may, and in any order that it may."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch

from zooproxy.client.staging import Slot, slots_of


@dataclass(frozen=True)
class Copy:
    source: torch.Tensor
    target: torch.Tensor

    def overlaps(self, other: Copy) -> bool:
        mine, theirs = self.target.data_ptr(), other.target.data_ptr()
        return mine < theirs + len(other.target) and theirs < mine + len(self.target)


class LateAccelerator:
    """``zooproxy.client.staging.Accelerator`` in memory of this machine, filled with 0xAA before anything is copied.

    A copy happens when somebody waits for it, and not before: what is received into a slot meanwhile is what arrives.
    Copies whose targets are apart happen in any order. Where it is ``heedless``, its marks wait for nothing.
    Nobody gets slots before so many ``threads`` want some.
    """

    def __init__(self, *, heedless: bool = False, threads: int = 1) -> None:
        self._heedless = heedless
        self._all_here = threading.Barrier(threads)
        self._lock = threading.Lock()
        self._random = random.Random(5)
        self._begun: list[Copy] = []
        self._ended = 0
        self.marks = 0
        self.made: list[Slot] = []

    @property
    def pending(self) -> int:
        return len(self._begun)

    @property
    def pinned_bytes(self) -> int:
        return sum(len(slot.view) for slot in self.made)

    def memories(self, sizes: Sequence[int]) -> list[torch.Tensor]:
        return [torch.full((size,), 0xAA, dtype=torch.uint8) for size in sizes]

    def slots(self, count: int, size: int) -> list[Slot]:
        self._all_here.wait(60)
        octets = bytearray(count * size)
        made = slots_of(memoryview(octets), torch.frombuffer(octets, dtype=torch.uint8), size)
        with self._lock:
            self.made.extend(made)
        return made

    def copy(self, source: torch.Tensor, target: torch.Tensor) -> None:
        with self._lock:
            self._begun.append(Copy(source, target))

    def mark(self) -> Callable[[], None]:
        with self._lock:
            self.marks += 1
            until = self._ended + len(self._begun)
        return (lambda: None) if self._heedless else (lambda: self._end(until))

    def finish(self) -> None:
        self._end(self._ended + len(self._begun))

    def _end(self, until: int) -> None:
        with self._lock:
            batch = self._begun[: max(0, until - self._ended)]
            del self._begun[: len(batch)]
            self._ended += len(batch)
            while batch:
                at = self._random.randrange(len(batch))
                while any(earlier.overlaps(batch[at]) for earlier in batch[:at]):
                    at -= 1
                copy = batch.pop(at)
                copy.target.copy_(copy.source)
