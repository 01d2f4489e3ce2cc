"""What the pickle machine builds: Python's own containers and atoms, and these stand-ins for everything else."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Optional


@dataclass(frozen=True)
class Global:
    """A name that the pickle would import, ``module.name``. Nothing is imported."""

    name: str


@dataclass(eq=False)
class StorageNode:
    """One storage of the checkpoint, as its persistent id tells: ``size`` bytes, ``dtype`` without the ``torch.``.

    ``within``: the storage that this one is a part of, and the element at which it starts there. ``start``: the byte of
    the pickle at which its bytes lie, where they lie inside of it.
    """

    key: str
    dtype: str
    size: int
    within: Optional[tuple[StorageNode, int]] = None
    start: Optional[int] = None


@dataclass(eq=False)
class TensorNode:
    """A view of a storage; offset, shape and stride in elements of ``dtype``, checked against the storage."""

    storage: StorageNode
    dtype: str
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


class Placeholder:
    """An object of a type that is not plain, while it is being built; it hashes by identity, as objects do.

    ``known``: nothing is lost with its type (``zooproxy.wire.standard_types``).
    """

    __slots__ = ("args", "items", "known", "state", "type_name")

    def __init__(
        self, type_name: str, args: Any, state: Any = None, items: Optional[list[Any]] = None, *, known: bool = False
    ) -> None:
        self.type_name = type_name
        self.args = args
        self.state = state
        self.items = items
        self.known = known


@dataclass(eq=False)
class SetNode:
    """A set, or a frozenset; its members in the order in which they came, so that the same bytes read the same."""

    __slots__ = ("frozen", "members")

    frozen: bool
    members: dict[Any, None]


@dataclass(frozen=True)
class Elided:
    """A string too long to take out: ``length`` bytes at ``start`` of the pickle; ``type_name`` str or bytes.

    ``encoded``: bytes that lie there as the UTF-8 of their latin-1 text, as protocol 2 writes them.
    """

    type_name: str
    start: int
    length: int
    encoded: bool = False
