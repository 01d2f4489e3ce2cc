"""The tensor index: what a blob holds, as one value type and one JSON form (``GET /v1/tensors``).

A storage is a run of bytes in the blob; a tensor is a strided view of one storage, as in torch: its offset and
strides count *elements* of its own dtype, so ties, strides and order survive whoever rebuilds it. ``tree`` holds
the plain values around the tensors, a ``TensorRef`` where each tensor stood.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Optional

from zooproxy.digest import Sha256
from zooproxy.errors import MalformedCheckpoint
from zooproxy.wire import plain

#: Bytes per element. Names are torch's own without the ``torch.``.
DTYPE_SIZES: Final[Mapping[str, int]] = {
    "bool": 1,
    "uint8": 1,
    "int8": 1,
    "float8_e4m3fn": 1,
    "float8_e4m3fnuz": 1,
    "float8_e5m2": 1,
    "float8_e5m2fnuz": 1,
    "float8_e8m0fnu": 1,
    "int16": 2,
    "uint16": 2,
    "float16": 2,
    "bfloat16": 2,
    "int32": 4,
    "uint32": 4,
    "float32": 4,
    "complex32": 4,
    "int64": 8,
    "uint64": 8,
    "float64": 8,
    "complex64": 8,
    "complex128": 16,
}


def row_major(shape: tuple[int, ...]) -> tuple[int, ...]:
    """The strides, in elements, of a tensor of that shape whose last dimension lies closest."""
    stride: list[int] = []
    step = 1
    for length in reversed(shape):
        stride.append(step)
        step *= max(1, length)
    return tuple(reversed(stride))


@dataclass(frozen=True)
class Storage:
    """``size`` bytes of the blob from byte ``offset`` on, with their digests as far as they are known."""

    offset: int
    size: int
    crc32: Optional[int] = None
    sha256: Optional[Sha256] = None


@dataclass(frozen=True)
class Tensor:
    """A view of ``storages[storage]``; ``offset``, ``shape`` and ``stride`` in elements of ``dtype``."""

    name: str
    dtype: str
    storage: int
    offset: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def count(self) -> int:
        """Number of elements."""
        count = 1
        for length in self.shape:
            count *= length
        return count

    @property
    def nbytes(self) -> int:
        """Bytes of the elements, each counted once per index (a stride of 0 repeats them)."""
        return self.count * DTYPE_SIZES[self.dtype]

    @property
    def is_contiguous(self) -> bool:
        """Row-major without holes, by torch's rule: the stride of a dimension of length 1 does not matter."""
        if 0 in self.shape:
            return True
        expected = 1
        for length, step in zip(reversed(self.shape), reversed(self.stride)):
            if length != 1 and step != expected:
                return False
            expected *= length
        return True


@dataclass(frozen=True)
class TensorIndex:
    """What a blob, or a variant of it, holds.

    Attributes:
        blob: sha256 of the stored bytes that all offsets refer to.
        size: length of the blob, bytes.
        container: ``torch-zip``, …: how the blob is laid out.
        kind: ``state_dict`` (a bare state dict), ``wrapped`` (a mapping with a ``state_dict``), ``mapping``, ``other``.
        byteorder: ``little`` or ``big``.
        storages, tensors: as above; ``tensors`` in the order in which the checkpoint lists them.
        tree: the plain values with a ``TensorRef`` per tensor.
        dropped: names of the types that became ``Inert``, sorted.
    """

    blob: Sha256
    size: int
    container: str
    kind: str
    byteorder: str
    storages: tuple[Storage, ...]
    tensors: tuple[Tensor, ...]
    tree: Any
    dropped: tuple[str, ...]

    @property
    def is_proven(self) -> bool:
        """Whether the sha256 of every storage is known."""
        return all(storage.sha256 is not None for storage in self.storages)


def tensor_index_to_json(index: TensorIndex) -> dict[str, Any]:
    """The index as objects that ``json.dumps`` takes. A storage is ``[offset, size, crc32, sha256]``."""
    return {
        "blob": index.blob,
        "size": index.size,
        "container": index.container,
        "kind": index.kind,
        "byteorder": index.byteorder,
        "storages": [[storage.offset, storage.size, storage.crc32, storage.sha256] for storage in index.storages],
        "tensors": [
            {
                "name": tensor.name,
                "dtype": tensor.dtype,
                "storage": tensor.storage,
                "offset": tensor.offset,
                "shape": list(tensor.shape),
                "stride": list(tensor.stride),
            }
            for tensor in index.tensors
        ],
        "tree": plain.to_json(index.tree),
        "dropped": list(index.dropped),
    }


def tensor_index_from_json(encoded: Mapping[str, Any]) -> TensorIndex:
    """The index that ``tensor_index_to_json`` wrote.

    Raises:
        MalformedCheckpoint: members are missing or of the wrong kind.
    """
    try:
        return TensorIndex(
            blob=Sha256(encoded["blob"]),
            size=encoded["size"],
            container=encoded["container"],
            kind=encoded["kind"],
            byteorder=encoded["byteorder"],
            storages=tuple(_storage_from_json(row) for row in encoded["storages"]),
            tensors=tuple(_tensor_from_json(row, len(encoded["storages"])) for row in encoded["tensors"]),
            tree=plain.from_json(encoded["tree"]),
            dropped=tuple(encoded["dropped"]),
        )
    except (KeyError, TypeError, ValueError) as error:
        raise MalformedCheckpoint("this is no tensor index of version 1") from error


def _storage_from_json(row: Any) -> Storage:
    offset, size, crc32, sha256 = row
    return Storage(
        _natural(offset),
        _natural(size),
        None if crc32 is None else _natural(crc32),
        None if sha256 is None else Sha256(sha256),
    )


def _tensor_from_json(row: Mapping[str, Any], storages: int) -> Tensor:
    tensor = Tensor(
        row["name"],
        row["dtype"],
        _natural(row["storage"]),
        _natural(row["offset"]),
        tuple(map(_natural, row["shape"])),
        tuple(map(_natural, row["stride"])),
    )
    if tensor.storage >= storages or tensor.dtype not in DTYPE_SIZES or len(tensor.shape) != len(tensor.stride):
        raise ValueError("a tensor that no storage holds")
    return tensor


def _natural(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise ValueError("not a natural number")
    return value
