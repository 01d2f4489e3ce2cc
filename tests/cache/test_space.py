"""Room that is set aside before the first byte."""

from __future__ import annotations

import pytest

from zooproxy.cache.space import Space
from zooproxy.errors import OutOfSpace


async def test_what_fits_is_reserved_and_what_does_not_is_refused_with_the_figures() -> None:
    space = Space(lambda: 100, spare=10)
    await space.reserve(60)
    with pytest.raises(OutOfSpace, match="40 bytes are needed and 30 are free") as refused:
        await space.reserve(40)
    assert refused.value.extras == {"needed_bytes": 40, "free_bytes": 30, "pinned_bytes": 0, "in_use_bytes": 0}
    await space.reserve(30)


async def test_bytes_written_are_counted_by_the_disk_and_not_twice() -> None:
    free = 100
    space = Space(lambda: free, spare=0)
    room = await space.reserve(60)
    room.used(50)
    free = 50
    await space.reserve(40)
    room.used(50)
    assert room.left == 0


async def test_released_room_is_free_again() -> None:
    space = Space(lambda: 100, spare=0)
    room = await space.reserve(100)
    room.release()
    await space.reserve(100)
    room.release()
