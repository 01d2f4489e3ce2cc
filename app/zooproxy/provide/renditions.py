"""Renditions that were composed lately: what a variant costs beyond raw is paid once."""

from __future__ import annotations

from collections import OrderedDict
from typing import Final

from zooproxy.digest import Sha256
from zooproxy.formats.forms import Form
from zooproxy.formats.segments import Literal, Rendition

#: Bytes of generated segments, all renditions together, and what a segment costs beside its bytes.
MEMORY: Final = 16 << 20
_SEGMENT: Final = 200

#: A blob, a form of it, and the recipe of the zoo that it was asked for from.
Key = tuple[Sha256, Form, str | None]


class Renditions:
    """The least recently used leave first."""

    def __init__(self, memory: int = MEMORY) -> None:
        self._recent: OrderedDict[Key, tuple[Rendition, int]] = OrderedDict()
        self._room = memory

    def get(self, key: Key) -> Rendition | None:
        found = self._recent.get(key)
        if found is None:
            return None
        self._recent.move_to_end(key)
        return found[0]

    def put(self, key: Key, rendition: Rendition) -> None:
        cost = sum(_SEGMENT + (len(part) if isinstance(part, Literal) else 0) for part in rendition.segments)
        if cost > self._room:
            return
        self._recent[key] = (rendition, cost)
        while sum(cost for _, cost in self._recent.values()) > self._room:
            self._recent.popitem(last=False)
