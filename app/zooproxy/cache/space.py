"""Room on disk, asked for and set aside before the first byte of a transfer is written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from zooproxy.errors import OutOfSpace

SPARE: Final = 64 << 20  # bytes that transfers never take: the database has to be able to write


class Reservation:
    """Room for ``size`` more bytes; it shrinks as they are written, since the disk then counts them itself."""

    def __init__(self, space: Space, size: int) -> None:
        self._space = space
        self.left = size

    def used(self, size: int) -> None:
        self.left = max(0, self.left - size)

    def release(self) -> None:
        self._space.drop(self)


class Space:
    """``free_bytes`` asks the disk; ``spare`` bytes stay free."""

    def __init__(self, free_bytes: Callable[[], int], spare: int = SPARE) -> None:
        self._free_bytes = free_bytes
        self._spare = spare
        self._held: set[Reservation] = set()

    def reserve(self, size: int) -> Reservation:
        """
        Raises:
            OutOfSpace: ``size`` bytes would not fit beside what is reserved already; with the figures.
        """
        reserved = sum(one.left for one in self._held)
        free = self._free_bytes() - self._spare - reserved
        if size > free:
            raise OutOfSpace(
                f"the file needs {size} bytes and {max(free, 0)} are free for it ({reserved} are reserved for running"
                f" transfers, {self._spare} are kept for the database); free space in the data directory",
                needed=size,
                free=max(free, 0),
            )
        reservation = Reservation(self, size)
        self._held.add(reservation)
        return reservation

    def drop(self, reservation: Reservation) -> None:
        self._held.discard(reservation)
