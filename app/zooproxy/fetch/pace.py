"""Reading ahead of the disk, at no less than a minimum rate.

The network is read by a task of its own into a small buffer, so that disk and network work at the same time; whoever
writes takes all that has come meanwhile at once, and where that is little waits a moment for more: a hand-over to the
thread that writes costs as much as the writing of a small block. A body that drips (one byte before each read
time-out) is told from one that flows by the bytes of a window of time.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from dataclasses import dataclass, field
from typing import Final

from zooproxy.errors import UpstreamStalled

BUFFER: Final = 4 << 20  # bytes read ahead of the disk, per fill
TAKEN: Final = 1 << 20  # bytes handed on at once, at most by one network read more
GATHERED: Final = 0.005  # seconds that the first of them waits for the last; the very first waits for none


@dataclass(frozen=True, slots=True)
class MinimumRate:
    """``rate`` bytes per second over each ``window`` of seconds; a rate of 0 allows any."""

    rate: int = 16 << 10
    window: float = 60.0


class Bandwidth:
    """A cap on all transfers together, in bytes per second; 0 is none."""

    def __init__(self, rate: int = 0) -> None:
        self._rate = rate
        self._free_at = 0.0

    def change(self, rate: int) -> None:
        """From the next bytes on, for transfers that run too."""
        self._rate = rate

    async def take(self, size: int) -> None:
        """Returns when ``size`` bytes may have been transferred; each caller queues behind those before it."""
        if not self._rate:
            return
        now = time.monotonic()
        self._free_at = max(self._free_at, now) + size / self._rate
        await asyncio.sleep(self._free_at - now)


@dataclass(frozen=True, slots=True)
class Pace:
    """How slow a transfer may be, how fast all may be, and how many bytes of it may wait for the disk."""

    minimum: MinimumRate = field(default_factory=MinimumRate)
    bandwidth: Bandwidth = field(default_factory=Bandwidth)
    buffer: int = BUFFER


class _Buffer:
    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._share = min(TAKEN, limit)
        self._blocks: list[bytes] = []
        self._size = 0
        self._ended = False
        self._filled = asyncio.Event()
        self._enough = asyncio.Event()
        self._begun = False
        self._room = asyncio.Event()

    async def put(self, block: bytes) -> bool:
        """Whether there was room at once."""
        at_once = self._size < self._limit
        while self._size >= self._limit:
            self._room.clear()
            await self._room.wait()
        self._blocks.append(block)
        self._size += len(block)
        self._filled.set()
        if self._size >= self._share:
            self._enough.set()
        return at_once

    def end(self) -> None:
        self._ended = True
        self._filled.set()
        self._enough.set()

    async def take(self) -> bytes:
        """At least one byte; none at the end."""
        while not self._blocks and not self._ended:
            self._filled.clear()
            await self._filled.wait()
        await self._gather()
        taken, size = 0, 0
        while taken < len(self._blocks) and size < self._share:
            size += len(self._blocks[taken])
            taken += 1
        joined = self._blocks[0] if taken == 1 else b"".join(self._blocks[:taken])
        del self._blocks[:taken]
        self._size -= size
        self._room.set()
        return joined

    async def _gather(self) -> None:
        if self._begun and self._size < self._share and not self._ended:
            self._enough.clear()
            late = asyncio.get_running_loop().call_later(GATHERED, self._enough.set)
            await self._enough.wait()
            late.cancel()
        self._begun = True


async def read_ahead(
    blocks: AsyncIterator[bytes],
    url: str,
    pace: Pace,
    clock: Callable[[], float] = time.monotonic,
) -> AsyncGenerator[bytes]:
    """``blocks`` in larger blocks, as they come.

    Raises:
        UpstreamStalled: fewer bytes in a window than the minimum; what had come has been yielded.
        FetchError: what ``blocks`` raises, likewise at its end.
    """
    buffer = _Buffer(pace.buffer)

    async def pump() -> None:
        watch = _Watch(url, pace.minimum, clock)
        try:
            async for block in blocks:
                if not block:
                    continue
                watch.saw(len(block))
                await pace.bandwidth.take(len(block))
                if not await buffer.put(block):
                    watch.restart()  # it was the disk that was slow
        finally:
            buffer.end()

    reading = asyncio.create_task(pump())
    try:
        while block := await buffer.take():
            yield block
        await reading
    finally:
        reading.cancel()
        await asyncio.gather(reading, return_exceptions=True)


class _Watch:
    def __init__(self, url: str, minimum: MinimumRate, clock: Callable[[], float]) -> None:
        self._url = url
        self._minimum = minimum
        self._clock = clock
        self.restart()

    def restart(self) -> None:
        self._since = self._clock()
        self._seen = 0

    def saw(self, size: int) -> None:
        self._seen += size
        elapsed = self._clock() - self._since
        if elapsed < self._minimum.window:
            return
        if self._seen < self._minimum.rate * elapsed:
            message = f"{self._seen} bytes came in {elapsed:.0f} s; a transfer may not be slower than that for so long"
            raise UpstreamStalled(message, url=self._url)
        self.restart()
