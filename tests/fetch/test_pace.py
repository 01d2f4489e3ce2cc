"""Reading ahead, and telling a drip from a flow."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest

from zooproxy.errors import UpstreamStalled, UpstreamTruncated
from zooproxy.fetch.pace import BUFFER, TAKEN, Bandwidth, MinimumRate, Pace, read_ahead

ANY = MinimumRate(0)


async def flow(*blocks: bytes) -> AsyncIterator[bytes]:
    for block in blocks:
        yield block


async def collect(blocks: AsyncIterator[bytes], minimum: MinimumRate = ANY, **options) -> list[bytes]:
    return [block async for block in read_ahead(blocks, "http://x/", Pace(minimum), **options)]


async def test_what_has_come_is_handed_on_at_once_and_in_order() -> None:
    pieces = [bytes([number]) * 1000 for number in range(200)]
    assert b"".join(await collect(flow(*pieces, b""))) == b"".join(pieces)


async def test_blocks_handed_on_are_bounded_and_reading_waits_for_the_disk() -> None:
    read = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal read
        while True:
            read += 1 << 16
            yield bytes(1 << 16)

    ahead = read_ahead(endless(), "http://x/", Pace(ANY))
    for _ in range(3):
        assert len(await anext(ahead)) <= TAKEN + (1 << 16)
        await asyncio.sleep(0)
    for _ in range(1000):
        await asyncio.sleep(0)
    assert read <= BUFFER + 4 * (TAKEN + (1 << 16))
    await ahead.aclose()


async def test_a_failure_comes_after_the_bytes_before_it() -> None:
    async def breaking() -> AsyncIterator[bytes]:
        yield b"abc"
        raise UpstreamTruncated("cut", url="http://x/", expected=9, received=3)

    ahead = read_ahead(breaking(), "http://x/", Pace(ANY))
    assert await anext(ahead) == b"abc"
    with pytest.raises(UpstreamTruncated):
        await anext(ahead)


async def test_a_drip_is_stalled_although_no_read_ever_waits_long() -> None:
    now = 0.0

    async def drip() -> AsyncIterator[bytes]:
        nonlocal now
        while True:
            now += 0.5
            yield b"x"

    with pytest.raises(UpstreamStalled, match="120 bytes came in 60 s"):
        await collect(drip(), MinimumRate(16 << 10, 60.0), clock=lambda: now)


async def test_a_flow_that_keeps_the_rate_in_every_window_is_no_stall() -> None:
    now = 0.0

    async def steady() -> AsyncIterator[bytes]:
        nonlocal now
        for _ in range(300):
            now += 1.0
            yield bytes(20 << 10)

    assert sum(map(len, await collect(steady(), MinimumRate(16 << 10, 60.0), clock=lambda: now))) == 300 * (20 << 10)


async def test_transfers_share_the_bandwidth() -> None:
    bandwidth = Bandwidth(1_000_000)
    loop = asyncio.get_running_loop()
    begun = loop.time()

    async def transfer() -> None:
        async for _ in read_ahead(flow(bytes(50_000), bytes(50_000)), "http://x/", Pace(ANY, bandwidth)):
            pass

    await asyncio.gather(transfer(), transfer())
    assert loop.time() - begun >= 0.19
