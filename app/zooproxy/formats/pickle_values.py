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

    ``within``: the storage that this one is a part of, and the element at which it starts there.
    """

    key: str
    dtype: str
    size: int
    within: Optional[tuple[StorageNode, int]] = None


@dataclass(eq=False)
class TensorNode:
    """A view of a storage; offset, shape and stride in elements of ``dtype``, checked against the storage."""

    storage: StorageNode
    dtype: str
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]


@dataclass(eq=False)
class Placeholder:
    """An object of a type that is not plain, while it is being built; it hashes by identity, as objects do."""

    __slots__ = ("args", "items", "state", "type_name")

    type_name: str
    args: Any
    state: Any
    items: Optional[list[Any]]


@dataclass(eq=False)
class SetNode:
    """A set, or a frozenset; its members in the order in which they came, so that the same bytes read the same."""

    __slots__ = ("frozen", "members")

    frozen: bool
    members: dict[Any, None]


@dataclass(frozen=True)
class Elided:
    """A string too long to take out: ``length`` bytes at ``start`` of the pickle; ``type_name`` str or bytes."""

    type_name: str
    start: int
    length: int
