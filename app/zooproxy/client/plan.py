"""Which bytes of a blob a tensor index needs, and where each of its storages then lies in memory."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, replace
from typing import Final

from zooproxy.errors import MalformedCheckpoint
from zooproxy.wire.tensors import DTYPE_SIZES, Storage, Tensor, TensorIndex

#: A gap between two needed storages that is no longer than this may be received with them: a request costs more.
MAX_GAP: Final = 1 << 20

#: All gaps that are received take at most this share of the needed bytes, or so many bytes. The padding between
#: neighbours, always less than the last number, does not count.
_GAPS: Final = 0.005
_GAPS_BYTES: Final = 64 << 10
_PADDING: Final = 512

#: torch writes storages at multiples of 64; memory keeps each byte's position modulo 64, and so their alignment.
ALIGNMENT: Final = 64

#: torch counts in signed 64-bit integers.
_LIMIT: Final = 2**63


@dataclass(frozen=True)
class Span:
    """Bytes ``start`` to ``stop`` (exclusive) of the blob, received at byte ``at`` of the buffer."""

    start: int
    stop: int
    at: int

    @property
    def size(self) -> int:
        return self.stop - self.start


@dataclass(frozen=True)
class Plan:
    """``spans`` in order; ``places[storage]`` is where a needed storage begins in the buffer of ``size`` bytes."""

    spans: tuple[Span, ...]
    places: dict[int, int]
    size: int

    @property
    def bytes_to_receive(self) -> int:
        return sum(span.size for span in self.spans)


def plan_of(index: TensorIndex, max_gap: int = MAX_GAP) -> Plan:
    """The plan for all tensors of ``index``.

    Raises:
        MalformedCheckpoint: a tensor or a storage that lies outside of what holds it.
    """
    _check(index)
    needed = sorted({tensor.storage for tensor in index.tensors}, key=lambda number: index.storages[number].offset)
    filled = [number for number in needed if index.storages[number].size]
    spans = _laid_out(_merged([index.storages[number] for number in filled], max_gap))
    places = dict.fromkeys(needed, 0)
    places.update((number, _place(index.storages[number], spans)) for number in filled)
    return Plan(spans, places, spans[-1].at + spans[-1].size if spans else 0)


def whole_plan(index: TensorIndex) -> Plan:
    """The plan whose memory is the blob as it is: each storage lies where the blob has it; nothing is received.

    Raises:
        MalformedCheckpoint: as ``plan_of``.
    """
    _check(index)
    needed = sorted({tensor.storage for tensor in index.tensors})
    return Plan((), {number: index.storages[number].offset for number in needed}, index.size)


def as_one(index: TensorIndex) -> TensorIndex:
    """The blob as one storage, whose digest is the blob's."""
    whole = Tensor("", "uint8", 0, 0, (index.size,), (1,))
    return replace(index, storages=(Storage(0, index.size, None, index.blob),), tensors=(whole,), tree=None)


def _merged(storages: list[Storage], max_gap: int) -> list[tuple[int, int]]:
    bridged = _bridged(storages, max_gap)
    extents: list[tuple[int, int]] = []
    for storage in storages:
        stop = storage.offset + storage.size
        if extents and storage.offset - extents[-1][1] <= bridged:
            extents[-1] = (extents[-1][0], max(extents[-1][1], stop))
        else:
            extents.append((storage.offset, stop))
    return extents


def _bridged(storages: list[Storage], max_gap: int) -> int:
    """The longest gap that is received rather than left out."""
    gaps, reach = [], 0
    for storage in storages:
        gaps.append(storage.offset - reach if reach else 0)
        reach = max(reach, storage.offset + storage.size)
    budget = max(_GAPS_BYTES, sum(storage.size for storage in storages) * _GAPS)
    bridged = min(_PADDING, max_gap)
    counted = Counter(gap for gap in gaps if bridged < gap <= max_gap)
    for gap in sorted(counted):
        budget -= gap * counted[gap]
        if budget < 0:
            break
        bridged = gap
    return bridged


def _laid_out(extents: list[tuple[int, int]]) -> tuple[Span, ...]:
    spans: list[Span] = []
    end = 0
    for start, stop in extents:
        at = end + (start - end) % ALIGNMENT
        spans.append(Span(start, stop, at))
        end = at + stop - start
    return tuple(spans)


def _place(storage: Storage, spans: tuple[Span, ...]) -> int:
    span = next(span for span in spans if span.start <= storage.offset < span.stop)
    return span.at + storage.offset - span.start


def _check(index: TensorIndex) -> None:
    if type(index.size) is not int or not 0 <= index.size < _LIMIT:
        raise MalformedCheckpoint("the tensor index does not say how long its blob is")
    for number, storage in enumerate(index.storages):
        if storage.offset + storage.size > index.size:
            raise MalformedCheckpoint(f"storage {number} of the tensor index lies outside of its blob")
    for number, tensor in enumerate(index.tensors):
        if _end(tensor) > index.storages[tensor.storage].size or not _is_countable(tensor):
            raise MalformedCheckpoint(f"tensor {number} of the tensor index lies outside of its storage")


def _end(tensor: Tensor) -> int:
    """The byte of its storage at which the last element of ``tensor`` ends."""
    if 0 in tensor.shape:
        return 0
    last = tensor.offset + sum((length - 1) * step for length, step in zip(tensor.shape, tensor.stride))
    return (last + 1) * DTYPE_SIZES[tensor.dtype]


def _is_countable(tensor: Tensor) -> bool:
    """Whether torch can count it; torch multiplies all lengths, also where one of them is 0."""
    nbytes = math.prod(max(1, length) for length in tensor.shape) * DTYPE_SIZES[tensor.dtype]
    return max(nbytes, tensor.offset, *tensor.stride, 0) < _LIMIT
