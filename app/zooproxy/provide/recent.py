"""What was made lately, within a bounded memory: the least recently used leave first."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Recent(Generic[Key, Value]):
    """``room``: what all that is kept may cost together, in bytes. For one event loop."""

    def __init__(self, room: int) -> None:
        self._kept: OrderedDict[Key, tuple[Value, int]] = OrderedDict()
        self._room = room
        self._used = 0

    def get(self, key: Key) -> Value | None:
        found = self._kept.get(key)
        if found is None:
            return None
        self._kept.move_to_end(key)
        return found[0]

    def put(self, key: Key, value: Value, cost: int) -> None:
        """Replaces what was kept under ``key``. What costs more than all of the room is not kept."""
        self._used -= self._kept.pop(key, (None, 0))[1]
        if cost > self._room:
            return
        self._kept[key] = (value, cost)
        self._used += cost
        while self._used > self._room:
            self._used -= self._kept.popitem(last=False)[1][1]
