"""Following a fill that another process leads: its file is read as it grows, its signs of life are watched."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass
from typing import BinaryIO

from zooproxy.cache.blobs import BlobStore
from zooproxy.cache.leases import Lease, Leases
from zooproxy.cache.watermark import watermark
from zooproxy.errors import BlobAbsent
from zooproxy.provide.growing import Growing


@dataclass(frozen=True, slots=True)
class Pulse:
    """In seconds: how often an owner gives a sign of life, after how long without one a waiter takes over,

    how often a waiter looks at the file that grows and, more rarely, at the lease.
    """

    beat_seconds: float = 2.0
    dead_seconds: float = 10.0
    look_seconds: float = 0.05
    ask_seconds: float = 0.25


async def watch(
    lease: Lease, leases: Leases, store: BlobStore, growing: Growing, pulse: Pulse
) -> tuple[int, int] | None:
    """Returns when the lease is free or gone (None), or when its owner is dead: the last sign of life of it."""
    seen, since = lease.sign_of_life, time.monotonic()
    watched = _Watched(store, growing)
    current: Lease | None = lease
    try:
        while current is not None and current.owner is not None:
            if not await store.is_written(current.owner):
                return current.sign_of_life
            if current.sign_of_life != seen:
                seen, since = current.sign_of_life, time.monotonic()
            elif time.monotonic() - since > pulse.dead_seconds:
                return seen
            await watched.turn_to(current)
            ask_at = time.monotonic() + pulse.ask_seconds
            while time.monotonic() < ask_at:
                await asyncio.sleep(pulse.look_seconds)
                watched.look()
            current = await leases.find(lease.url)
        return None
    finally:
        watched.close()


class _Watched:
    def __init__(self, store: BlobStore, growing: Growing) -> None:
        self._store = store
        self._growing = growing
        self._name: str | None = None
        self._file: BinaryIO | None = None
        self._length: int | None = None

    async def turn_to(self, lease: Lease) -> None:
        staged = lease.staged
        if staged is None or staged.partial == self._name:
            return
        try:
            file, shown = await self._store.peek(staged.partial), await self._store.peek(staged.partial)
        except BlobAbsent:
            return  # replaced or published since the row was read: the next look at the row tells
        self.close()
        self._name, self._file, self._length = staged.partial, file, staged.length
        self._growing.trying(staged.candidate, 1)
        self._growing.begin(staged.partial, shown, staged.length, watermark(file.fileno(), staged.length))

    def look(self) -> None:
        if self._file is not None:
            size = watermark(self._file.fileno(), self._length)
            if size > self._growing.size:
                self._growing.advance(size)

    def close(self) -> None:
        if self._file is not None:
            self._file.close()
            self._file = None
