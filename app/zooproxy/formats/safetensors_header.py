"""The header of safetensors files (github.com/huggingface/safetensors, README "Format"; tensor.rs, ``Metadata``).

::

    8 bytes    length of the header, little-endian
    header     JSON: name -> {"dtype", "shape", "data_offsets": [begin, end]}, "__metadata__" -> {text: text};
               starts with "{", may end in blanks
    data       the tensors, without holes and without overlaps; offsets count from here
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, BinaryIO, Final

from zooproxy.errors import MalformedCheckpoint
from zooproxy.formats import limits
from zooproxy.formats.zip_directory import read_exactly

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
    length = int.from_bytes(read_exactly(file, 0, 8), "little")
    if length > limits.SAFETENSORS_HEADER_SNIFFED:
        raise MalformedCheckpoint(f"the safetensors header takes {length:,} bytes, more than is read here")
    if 8 + length > size:
        raise MalformedCheckpoint("the safetensors header runs past the end of the file: it is cut short")
    try:
        header = json.loads(read_exactly(file, 8, length))
        ends = [entry["data_offsets"][1] for name, entry in header.items() if name != METADATA]
        data = max(ends, default=0)
        matches = data == size - 8 - length
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError) as error:
        raise MalformedCheckpoint("the safetensors header is malformed") from error
    if not matches:
        raise MalformedCheckpoint("the safetensors header points to another end than the file's: it is cut short")
