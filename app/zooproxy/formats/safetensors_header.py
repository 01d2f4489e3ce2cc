"""The header of safetensors files (github.com/huggingface/safetensors, README "Format"; tensor.rs, ``Metadata``).

::

    8 bytes    length of the header, little-endian
    header     JSON: name -> {"dtype", "shape", "data_offsets": [begin, end]}, "__metadata__" -> {text: text};
               starts with "{", may end in blanks
    data       the tensors, without holes and without overlaps; offsets count from here
"""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Mapping
from typing import Any, BinaryIO, Final

from zooproxy.errors import LimitExceeded, MalformedCheckpoint, UnsupportedFormat
from zooproxy.formats import limits
from zooproxy.formats.contents import Contents, Pickled, contents_of
from zooproxy.formats.pickle_values import StorageNode, TensorNode
from zooproxy.formats.quoting import quoted
from zooproxy.formats.zip_directory import read_exactly
from zooproxy.wire.tensors import DTYPE_SIZES, Storage, row_major

METADATA: Final = "__metadata__"

#: From the wire's dtypes to the format's; a dtype that is missing here does not exist there.
DTYPES: Final[Mapping[str, str]] = {
    "bool": "BOOL",
    "uint8": "U8",
    "int8": "I8",
    "float8_e4m3fn": "F8_E4M3",
    "float8_e4m3fnuz": "F8_E4M3FNUZ",
    "float8_e5m2": "F8_E5M2",
    "float8_e5m2fnuz": "F8_E5M2FNUZ",
    "float8_e8m0fnu": "F8_E8M0",
    "int16": "I16",
    "uint16": "U16",
    "float16": "F16",
    "bfloat16": "BF16",
    "int32": "I32",
    "uint32": "U32",
    "float32": "F32",
    "int64": "I64",
    "uint64": "U64",
    "float64": "F64",
    "complex64": "C64",
}
_MEMBERS = frozenset({"dtype", "shape", "data_offsets"})
_FROM_FORMAT: Final[Mapping[str, str]] = {name: dtype for dtype, name in DTYPES.items()}


def encode_header(header: Mapping[str, Any]) -> bytes:
    """The length and the header, padded with blanks so that the data starts at a multiple of 8."""
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text


def looks_like_header(head: bytes) -> bool:
    """Whether a file that starts with ``head`` (9 bytes or more) can be a safetensors file."""
    return head[8:9] == b"{" and int.from_bytes(head[:8], "little") <= limits.SAFETENSORS_HEADER


def check_extent(file: BinaryIO, size: int) -> None:
    """Checks that the tensors of a file of ``size`` bytes fill it to its end.

    Raises:
        MalformedCheckpoint: the header is no JSON of this shape, or points elsewhere than to the file's end.
    """
    header, data = _parsed(file, size)
    try:
        end = max((entry["data_offsets"][1] for name, entry in header.items() if name != METADATA), default=0)
        matches = end == size - data
    except (LookupError, TypeError) as error:
        raise MalformedCheckpoint("the safetensors header is malformed") from error
    if not matches:
        raise MalformedCheckpoint("the safetensors header points to another end than the file's: it is cut short")


def read_safetensors(file: BinaryIO, size: int) -> Contents:
    """A bare state dict, its tensors in the header's order, each with a storage of its own.

    Checked as the reference implementation checks: no holes, no overlaps, no trailing bytes, ``__metadata__`` of text.

    Raises:
        MalformedCheckpoint: the header is no JSON of this shape, or contradicts itself or the file's length.
        UnsupportedFormat: a dtype that this version does not know.
        LimitExceeded: it asks for more than ``limits`` allow.
    """
    header, data = _parsed(file, size)
    _check_metadata(header.pop(METADATA, {}))
    places: dict[str, Storage] = {}
    root = {name: _tensor(name, entry, data, places) for name, entry in header.items()}
    end = data
    for place in sorted(places.values(), key=lambda place: (place.offset, place.size)):
        if place.offset != end:
            raise MalformedCheckpoint(
                "the safetensors header leaves holes between its tensors, or lays one over another"
            )
        end += place.size
    if end != size:
        raise MalformedCheckpoint("the safetensors header points to another end than the file's: it is cut short")
    return dataclasses.replace(contents_of(Pickled(root), lambda node: places[node.key]), kind="state_dict")


def _parsed(file: BinaryIO, size: int) -> tuple[dict[str, Any], int]:
    """The header and the byte at which the data starts."""
    length = int.from_bytes(read_exactly(file, 0, 8), "little")
    if length > limits.SAFETENSORS_HEADER_READ:
        raise LimitExceeded(f"the safetensors header takes {length:,} bytes, more than is read here")
    if 8 + length > size:
        raise MalformedCheckpoint("the safetensors header runs past the end of the file: it is cut short")
    text = read_exactly(file, 8, length)
    if text.count(b"{") > limits.TENSORS + 2:
        raise LimitExceeded(f"the safetensors header has more than {limits.TENSORS:,} tensors")
    try:
        header = json.loads(text, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise MalformedCheckpoint("the safetensors header is malformed") from error
    if type(header) is not dict:
        raise MalformedCheckpoint("the safetensors header is no JSON object")
    return header, 8 + length


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        raise ValueError("a name occurs twice")
    return made


def _check_metadata(metadata: Any) -> None:
    if type(metadata) is not dict or not all(type(value) is str for value in metadata.values()):
        raise MalformedCheckpoint("the safetensors header's __metadata__ maps names to something other than text")


def _tensor(name: str, entry: Any, data: int, places: dict[str, Storage]) -> TensorNode:
    if type(entry) is not dict or not _MEMBERS.issubset(entry):
        raise MalformedCheckpoint(f"the safetensors header describes {quoted(name)} in another form than the format's")
    dtype = _FROM_FORMAT.get(entry["dtype"]) if type(entry["dtype"]) is str else None
    if dtype is None:
        raise UnsupportedFormat(
            f"the tensor {quoted(name)} is of a dtype that this version does not know; "
            "variant=raw serves the file as published"
        )
    offsets = _naturals(entry["data_offsets"])
    shape = _naturals(entry["shape"])
    nbytes = math.prod(shape) * DTYPE_SIZES[dtype]
    if len(offsets) != 2 or offsets[1] - offsets[0] != nbytes or len(shape) > limits.DIMENSIONS:
        raise MalformedCheckpoint(f"the safetensors header gives {quoted(name)} another length than its shape has")
    places[name] = Storage(data + offsets[0], nbytes)
    return TensorNode(StorageNode(name, dtype, nbytes), dtype, 0, shape, row_major(shape))


def _naturals(values: Any) -> tuple[int, ...]:
    if type(values) is not list or not all(type(value) is int and 0 <= value <= limits.INTEGER for value in values):
        raise MalformedCheckpoint("the safetensors header has a shape or an offset that is no natural number")
    return tuple(values)
