"""How much of a staged file may be read by another process: the bytes from its start that are there without a gap.

A file that is written in order needs no telling: as long as it is, as many bytes are there. One whose parts arrive in
any order is written in place all the same, and carries its *mark* with it, in the page after its own last byte::

    0          mark                                  length            place(length)
    | bytes ...| bytes, holes, bytes ................| (nothing) ......| <u8 mark> <u8 ~mark> |

The mark is written before the first byte beyond a gap, and after every byte that it counts; both stay in the one page
cache of the machine. So a file that is no longer than the whole will be has no gap, and of a longer one the mark tells.
When the last gap is closed the file is cut to its length again, before anybody can take it for a blob.

What else was weighed: parts in files of their own cost a second copy of nearly every byte (ext4 has no reflinks); the
lease's row is written every two seconds, and written as often as followers look it would be the busiest row of all;
``SEEK_HOLE`` tells of blocks, not of bytes, and nothing at all on some file systems: a follower that reads zeros where
bytes are still missing would be given a whole, wrong file, held-back tail or not.

A read while the mark is being written may see part of the new one. Then the two halves do not agree, and it tells
nothing: the next look does.
"""

from __future__ import annotations

import os
import struct
from typing import Final

_RECORD: Final = struct.Struct("<QQ")
_PAGE: Final = 4096
_ALL: Final = (1 << 64) - 1


def place(length: int) -> int:
    """Where the mark of a file of ``length`` bytes lies: within one page."""
    return -(-length // _PAGE) * _PAGE


def mark(there: int) -> bytes:
    return _RECORD.pack(there, there ^ _ALL)


def watermark(descriptor: int, length: int | None) -> int:
    """How many bytes of the staged file are there without a gap; ``length`` is that of the whole, as far as is known.

    Any process may ask at any time; 0 also where it cannot be told just now.
    """
    size = os.fstat(descriptor).st_size
    if length is None or size <= length:
        return size
    record = os.pread(descriptor, _RECORD.size, place(length))
    if len(record) < _RECORD.size:
        return 0
    there, check = _RECORD.unpack(record)
    return min(there, length) if there ^ _ALL == check else 0


class Islands:
    """Stretches of bytes that lie beyond a gap, in order, none touching another."""

    def __init__(self) -> None:
        self._spans: list[tuple[int, int]] = []

    def overlap(self, start: int, stop: int) -> bool:
        """Whether any of them has a byte of that stretch."""
        return any(first < stop and start < last for first, last in self._spans)

    def add(self, start: int, stop: int) -> None:
        touching = [span for span in self._spans if span[0] == stop or span[1] == start]
        merged = (min([start, *(first for first, _ in touching)]), max([stop, *(last for _, last in touching)]))
        self._spans = sorted([merged, *(span for span in self._spans if span not in touching)])

    def leave(self, position: int) -> int:
        """The end of the stretch that begins at ``position``, which is no island any more; ``position`` without one."""
        if self._spans and self._spans[0][0] == position:
            return self._spans.pop(0)[1]
        return position

    def clear(self) -> None:
        self._spans.clear()
