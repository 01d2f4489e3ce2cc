"""What no byte range expresses, made once: tensors laid out anew, in another byte order or another dtype.

The result is plain data with a tensor index of its own that any format can be written from: 64 digits that name what
was done, so that no two derivations share a blob; then storage after storage, each at a multiple of 64. numpy moves the
bytes; nothing here knows torch.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from math import prod
from typing import TYPE_CHECKING, Any, Final

from zooproxy.digest import Hasher, Sha256
from zooproxy.errors import LimitExceeded
from zooproxy.formats import limits
from zooproxy.formats.contents import Bytes
from zooproxy.formats.forms import Recast
from zooproxy.wire.tensors import DTYPE_SIZES, Storage, Tensor, TensorIndex, row_major

if TYPE_CHECKING:
    import numpy

_ALIGNMENT: Final = 64
_BLOCK: Final = 16 << 20  # bytes of a source that are in memory at once, or one row of it
_FLOATS: Final[Mapping[str, str]] = {"float16": "f2", "float32": "f4", "float64": "f8"}
_RAW: Final[Mapping[int, str]] = {1: "u1", 2: "u2", 4: "u4", 8: "u8"}


@dataclass(frozen=True, slots=True)
class _Piece:
    """One storage of the result: elements of ``dtype`` from byte ``start`` of the blob, to be written as ``target``."""

    dtype: str
    target: str
    start: int
    shape: tuple[int, ...]
    stride: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        return prod(self.shape) * DTYPE_SIZES[self.target]


class Derivation:
    """Lays the tensors of ``index`` out anew. ``data`` is the blob; ``blocks`` once, with a name, then ``result``.

    Raises:
        LimitExceeded: written out, overlapping tensors grow out of proportion.
    """

    def __init__(self, index: TensorIndex, recast: Recast, data: Bytes) -> None:
        self._index = index
        self._recast = recast
        self._data = data
        self._pieces: dict[Any, tuple[int, _Piece]] = {}
        #: storage -> the dtypes of its tensors, before and after
        self._changes: dict[int, set[tuple[str, str]]] = {}
        for tensor in index.tensors:
            self._changes.setdefault(tensor.storage, set()).add((tensor.dtype, recast.target(tensor)))
        self._tensors = [self._placed(tensor) for tensor in index.tensors]
        self._storages: list[Storage] = []
        total = sum(piece.nbytes for _, piece in self._pieces.values())
        self.most = len(Sha256.of(b"")) + total + _ALIGNMENT * len(self._pieces)  # bytes that ``blocks`` gives
        if total > index.size * limits.RENDITION_FACTOR + limits.RENDITION_EXTRA:
            raise LimitExceeded(
                f"written out, the checkpoint's tensors take {total:,} bytes, more than {limits.RENDITION_FACTOR} times"
                " the file; variant=raw serves it as published"
            )

    def _placed(self, tensor: Tensor) -> Tensor:
        """The tensor over its new storage: of its own if it is laid out anew, else the old one's counterpart."""
        old = self._index.storages[tensor.storage]
        size = DTYPE_SIZES[tensor.dtype]
        target = self._recast.target(tensor)
        if self._recast.contiguous or len(self._changes[tensor.storage]) > 1:
            start = old.offset + tensor.offset * size
            piece = _Piece(tensor.dtype, target, start, tensor.shape, tensor.stride)
            number, _ = self._pieces.setdefault(piece, (len(self._pieces), piece))
            return replace(tensor, dtype=target, storage=number, offset=0, stride=row_major(tensor.shape))
        piece = _Piece(tensor.dtype, target, old.offset, (old.size // size,), (1,))
        number, _ = self._pieces.setdefault(tensor.storage, (len(self._pieces), piece))
        return replace(tensor, dtype=target, storage=number)

    def blocks(self, name: Sha256) -> Iterator[bytes]:
        """The data, in blocks of about 16 MiB."""
        yield name.encode()
        at = len(name)
        for _, piece in self._pieces.values():
            padding = -at % _ALIGNMENT
            yield bytes(padding)
            at += padding
            hasher, crc32 = Hasher(), 0
            for block in self._converted(piece):
                hasher.update(block)
                crc32 = zlib.crc32(block, crc32)
                yield block
            self._storages.append(Storage(at, piece.nbytes, crc32, hasher.digest()))
            at += piece.nbytes

    def _converted(self, piece: _Piece) -> Iterator[bytes]:
        if not piece.nbytes:
            return
        elements = self._view(piece)
        row = piece.nbytes // len(elements)
        step = max(1, _BLOCK // max(1, row))
        for first in range(0, len(elements), step):
            yield _cast(elements[first : first + step], piece.dtype, piece.target).tobytes()

    def _view(self, piece: _Piece) -> numpy.ndarray[Any, Any]:
        """The elements as they lie, as integers of their size in this machine's byte order; at least one dimension."""
        import numpy

        size = DTYPE_SIZES[piece.dtype]
        parts = 2 if piece.dtype.startswith("complex") else 1
        order = "<" if self._index.byteorder == "little" else ">"
        shape, strides = piece.shape or (1,), tuple(step * size for step in piece.stride) or (size,)
        if parts == 2:
            shape, strides = (*shape, 2), (*strides, size // 2)
        return numpy.ndarray(shape, f"{order}{_RAW[size // parts]}", self._data, piece.start, strides)

    def result(self, blob: Sha256, size: int) -> TensorIndex:
        """The index of what ``blocks`` gave, whose digest and length are these."""
        return replace(
            self._index,
            blob=blob,
            size=size,
            container="derived",
            byteorder="little",
            storages=tuple(self._storages),
            tensors=tuple(self._tensors),
        )


def _cast(raw: numpy.ndarray[Any, Any], dtype: str, target: str) -> numpy.ndarray[Any, Any]:
    """Integers that hold ``dtype``, as little-endian integers that hold ``target``, rounded as torch rounds.

    torch goes through float32 (c10/util/Half.h, BFloat16.h), to nearest, ties to even.
    """
    import numpy

    raw = raw.astype(raw.dtype.newbyteorder("<"), copy=False)
    if dtype == target:
        return raw
    raw = numpy.ascontiguousarray(raw)
    if dtype == "bfloat16":
        single = (raw.astype("<u4") << 16).view("<f4")
    else:
        with numpy.errstate(over="ignore"):
            single = raw.view(f"<{_FLOATS[dtype]}").astype("<f4")
    if target == "float32":
        return single
    if target == "float16":
        with numpy.errstate(over="ignore"):
            return single.astype("<f2")
    bits = single.view("<u4")
    rounded = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype("<u2")
    return numpy.where(numpy.isnan(single), numpy.uint16(0x7FC0), rounded).astype("<u2")
