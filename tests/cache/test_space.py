"""Room that is set aside before the first byte."""

from __future__ import annotations

import pytest

from zooproxy.cache.space import Space
from zooproxy.errors import OutOfSpace


def test_what_fits_is_reserved_and_what_does_not_is_refused_with_the_figures() -> None:
    space = Space(lambda: 100, spare=10)
    space.reserve(60)
    with pytest.raises(OutOfSpace, match="40 bytes and 30 are free") as refused:
        space.reserve(40)
    assert refused.value.extras == {"needed_bytes": 40, "free_bytes": 30}
    space.reserve(30)


def test_bytes_written_are_counted_by_the_disk_and_not_twice() -> None:
    free = 100
    space = Space(lambda: free, spare=0)
    room = space.reserve(60)
    room.used(50)
    free = 50
    space.reserve(40)
    room.used(50)
    assert room.left == 0


def test_released_room_is_free_again() -> None:
    space = Space(lambda: 100, spare=0)
    room = space.reserve(100)
    room.release()
    space.reserve(100)
    room.release()
