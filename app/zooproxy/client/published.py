"""A published file, whole and proven, read here: its own index, its tensors where the file has them."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import Any, Optional

from zooproxy.client.assembly import tensors_of, tree_with_tensors
from zooproxy.client.byte_order import in_native_order
from zooproxy.client.plan import whole_plan
from zooproxy.client.storages import Buffer, MapLocation
from zooproxy.digest import Sha256
from zooproxy.formats.forms import Form, selected
from zooproxy.formats.reader import read_tensor_index
from zooproxy.formats.variants import refuse_odd_tensors
from zooproxy.names.reference import ZooReference, parse
from zooproxy.names.zoos import RECIPE_OF_ZOO
from zooproxy.wire.tensors import TensorIndex


@dataclass(frozen=True)
class Published:
    """A file's bytes in memory that tensors may view, and their digest (or what stands for it)."""

    buffer: Buffer
    sha256: Sha256

    def part(self, ref: str, form: Form) -> TensorIndex:
        """The index of what ``form`` selects, with the recipe of the reference's zoo; ranges of the file.

        Where its numbers are of another byte order, they are turned in the buffer, which must be the caller's own.

        Raises:
            FormatError: it cannot be read, or nothing is left of it.
            UnsupportedFormat: it has a tensor that nobody can rebuild, or numbers of another byte order that cannot
                be turned.
        """
        view = self.buffer.view
        index = read_tensor_index(io.BufferedReader(_ViewFile(view)), len(view), self.sha256)
        part = selected(index, form, recipe_of(ref))
        refuse_odd_tensors(part, but_described=True)
        return in_native_order(part, view)

    def value(self, ref: str, form: Form, map_location: MapLocation) -> Any:
        """What ``form`` selects, as tensors in the tree of plain values; raises as ``part``."""
        part = self.part(ref, form)
        return tree_with_tensors(part.tree, tensors_of(part, whole_plan(part), self.buffer, map_location))


def recipe_of(ref: str) -> Optional[str]:
    """What the zoo of a reference does to its state dicts.

    Raises:
        BadReference: the text is none.
    """
    reference = parse(ref)
    return RECIPE_OF_ZOO.get(reference.zoo) if isinstance(reference, ZooReference) else None


class _ViewFile(io.RawIOBase):
    """Memory as a file that is read; ``io.BytesIO`` would copy it."""

    def __init__(self, view: memoryview) -> None:
        super().__init__()
        self._view = view
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        taken = self._view[self._at : self._at + len(buffer)]
        buffer[: len(taken)] = taken
        self._at += len(taken)
        return len(taken)

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        base = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: len(self._view)}[whence]
        self._at = max(0, base + offset)
        return self._at
