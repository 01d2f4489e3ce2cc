"""Renditions that were composed lately: what a variant costs beyond raw is paid once."""

from __future__ import annotations

from typing import Final

from zooproxy.digest import Sha256
from zooproxy.formats.forms import Form
from zooproxy.formats.segments import Literal, Rendition
from zooproxy.provide.recent import Recent

#: Bytes of generated segments, all renditions together, and what a segment costs beside its bytes.
MEMORY: Final = 16 << 20
_SEGMENT: Final = 200

#: A blob, a form of it, and the recipe of the zoo that it was asked for from.
Key = tuple[Sha256, Form, str | None]


class Renditions:
    """The least recently used leave first."""

    def __init__(self, memory: int = MEMORY) -> None:
        self._recent: Recent[Key, Rendition] = Recent(memory)

    def get(self, key: Key) -> Rendition | None:
        return self._recent.get(key)

    def put(self, key: Key, rendition: Rendition) -> None:
        cost = sum(_SEGMENT + (len(part) if isinstance(part, Literal) else 0) for part in rendition.segments)
        self._recent.put(key, rendition, cost)
