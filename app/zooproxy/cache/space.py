"""Room on disk, asked for and set aside before the first byte of a transfer is written."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from zooproxy.errors import OutOfSpace

SPARE: Final = 64 << 20  # bytes that transfers never take: the database has to be able to write


@dataclass(frozen=True, slots=True)
class Room:
    """Bytes: of the disk, and of what may be held in all."""

    disk: int = 0
    held: int = 0

    def covers(self, other: Room) -> bool:
        return self.disk >= other.disk and self.held >= other.held


@dataclass(frozen=True, slots=True)
class Relieved:
    """What was made free, and why it is not more: bytes that are pinned, and those that are read or published now."""

    room: Room = Room()
    pinned: int = 0
    in_use: int = 0


class Relief(ABC):
    """Whoever can make room by letting something go, and knows how much may be held in all."""

    @abstractmethod
    async def left(self) -> int | None:
        """How many bytes more may be held, negative if there are too many; None for any number."""

    @abstractmethod
    async def make(self, room: Room) -> Relieved:
        """Frees as much as ``room``, or a little more. Where that cannot be, as good as nothing is given up for it."""


class Reservation:
    """Room for ``size`` bytes; ``left`` of them are not written yet: the others the disk counts itself."""

    def __init__(self, space: Space, size: int) -> None:
        self._space = space
        self.size = size
        self.left = size

    def used(self, size: int) -> None:
        self.left = max(0, self.left - size)

    async def grow(self, size: int, wish: int = 0) -> None:
        """By ``size`` bytes; up to ``wish`` bytes if so many are free anyway.

        Raises:
            OutOfSpace: as ``Space.reserve``.
        """
        await self._space.grow(self, size, wish)

    def release(self) -> None:
        """The bytes are published, or given up."""
        self._space.drop(self)


class Space:
    """``free_bytes`` asks the disk; ``spare`` bytes stay free; ``relief`` is asked before anybody is refused."""

    def __init__(self, free_bytes: Callable[[], int], spare: int = SPARE, relief: Relief | None = None) -> None:
        self._free_bytes = free_bytes
        self._spare = spare
        self._relief = relief
        self._held: set[Reservation] = set()
        self._turn = asyncio.Lock()

    async def reserve(self, size: int) -> Reservation:
        """
        Raises:
            OutOfSpace: ``size`` bytes would not fit beside what is reserved already, and no room could be made.
        """
        reservation = Reservation(self, 0)
        await self.grow(reservation, size)
        return reservation

    async def grow(self, reservation: Reservation, size: int, wish: int = 0) -> None:
        """As ``Reservation.grow``. One after the other: room made for one is not taken by another."""
        async with self._turn:
            size = max(size, min(wish, await self.available()))
            lacking = await self._lacking(size)
            if not Room().covers(lacking):
                relieved = await self._relief.make(lacking) if self._relief else Relieved()
                if not relieved.room.covers(lacking):
                    raise await self._refusal(size, relieved)
            reservation.size += size
            reservation.left += size
            self._held.add(reservation)

    def drop(self, reservation: Reservation) -> None:
        self._held.discard(reservation)

    def free(self) -> int:
        """Bytes of the disk that nobody has reserved; negative if more than that are wanted to be spare."""
        return self._free_bytes() - self._spare - sum(one.left for one in self._held)

    async def available(self) -> int:
        """How many bytes could be reserved with nothing given up for them."""
        left = await self._left()
        return max(0, self.free() if left is None else min(self.free(), left))

    async def _lacking(self, size: int) -> Room:
        left = await self._left()
        return Room(max(0, size - self.free()), 0 if left is None else max(0, size - left))

    async def _left(self) -> int | None:
        left = await self._relief.left() if self._relief else None
        return None if left is None else left - sum(one.size for one in self._held)

    async def _refusal(self, size: int, relieved: Relieved) -> OutOfSpace:
        free = await self.available()
        reserved = sum(one.left for one in self._held)
        return OutOfSpace(
            f"{size} bytes are needed and {free} are free for them ({reserved} are reserved for running transfers,"
            f" {self._spare} are kept for the database); of what is held {relieved.pinned} bytes are pinned and"
            f" {relieved.in_use} in use; unpin something, raise CACHE_MAX_BYTES, or free space in the data directory",
            needed=size,
            free=free,
            pinned=relieved.pinned,
            in_use=relieved.in_use,
        )
