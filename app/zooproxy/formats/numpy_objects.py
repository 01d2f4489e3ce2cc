"""numpy's scalars and arrays as they are pickled (numpy/_core/src/multiarray: methods.c, ``array_reduce``;
scalartypes.c, ``gentype_reduce``; descriptor.c, ``arraydescr_reduce``).

::

    scalar(dtype, bytes)
    _reconstruct(ndarray, (0,), b'b')   then BUILD (1, shape, dtype, column-major?, bytes)
    _frombuffer(bytes, dtype, shape, 'C' | 'F')                                          protocol 5
    dtype('f8', False, True)            then BUILD (3, '<' | '>' | '|', …)
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, Final, Optional, Union

from zooproxy.formats import limits
from zooproxy.formats.pickle_values import Elided, Placeholder
from zooproxy.wire.tensors import DTYPE_SIZES, row_major

_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray")
_SCALARS: Final = frozenset(f"{module}.scalar" for module in _MODULES)
_ARRAYS: Final = frozenset(f"{module}._reconstruct" for module in _MODULES)
_BUFFERS: Final = frozenset({"numpy.core.numeric._frombuffer", "numpy._core.numeric._frombuffer"})

#: What an array of numbers is called whose bytes are too many to be taken out of a text.
UNREAD_ARRAY: Final = "numpy.ndarray, not read"

#: From numpy's codes to the wire's dtype, and what ``struct`` calls one element.
_CODES: Final[Mapping[str, tuple[str, str]]] = {
    "b1": ("bool", "?"),
    "u1": ("uint8", "B"),
    "i1": ("int8", "b"),
    "u2": ("uint16", "H"),
    "i2": ("int16", "h"),
    "u4": ("uint32", "I"),
    "i4": ("int32", "i"),
    "u8": ("uint64", "Q"),
    "i8": ("int64", "q"),
    "f2": ("float16", "e"),
    "f4": ("float32", "f"),
    "f8": ("float64", "d"),
    "c8": ("complex64", "2f"),
    "c16": ("complex128", "2d"),
}


@dataclass(frozen=True)
class NumpyArray:
    """An array: ``stride`` in elements, ``data`` its bytes or where they lie, ``swapped`` if they are big-endian.

    ``pickled`` is what the pickle had for its bytes; the machine knows where that lies.
    """

    dtype: str
    shape: tuple[int, ...]
    stride: tuple[int, ...]
    data: Union[bytes, Elided]
    swapped: bool
    pickled: Any

    @property
    def size(self) -> int:
        """In bytes."""
        return prod(self.shape) * DTYPE_SIZES[self.dtype]


def dtype_of(code: str, order: str) -> Optional[tuple[str, str, bool]]:
    """The wire's dtype, its code for ``struct``, and whether its bytes are big-endian; None where there is none."""
    found = _CODES.get(code)
    return None if found is None else (*found, order == ">" and DTYPE_SIZES[found[0]] > 1)


def numpy_object(value: Placeholder) -> Any:
    """A scalar as a plain value, an array as ``NumpyArray``; ``value`` itself if it is neither."""
    if value.type_name in _SCALARS and len(value.args) == 2:
        return _scalar(value)
    if value.type_name in _ARRAYS and type(value.state) is tuple and len(value.state) == 5:
        _, shape, dtype, column_major, data = value.state
        return _array(value, data, dtype, shape, column_major is True)
    if value.type_name in _BUFFERS and len(value.args) == 4:
        data, dtype, shape, order = value.args
        return _array(value, data, dtype, shape, order == "F")
    return value


def _described(dtype: Any) -> Optional[tuple[str, str, bool]]:
    if type(dtype) is not Placeholder or dtype.type_name != "numpy.dtype" or not dtype.args:
        return None
    code, state = dtype.args[0], dtype.state
    if type(code) is not str or type(state) is not tuple or len(state) < 2 or type(state[1]) is not str:
        return None
    return dtype_of(code, state[1])


def _scalar(value: Placeholder) -> Any:
    dtype, data = value.args
    if type(data) is str:  # Python 2's
        data = data.encode("utf-8", "surrogatepass")
    if type(data) is not bytes:
        return value
    described = _described(dtype)
    if described is None:
        return _text_scalar(value, dtype, data)
    _, code, swapped = described
    if struct.calcsize(f"<{code}") != len(data):
        return value
    parts = struct.unpack((">" if swapped else "<") + code, data)
    return complex(*parts) if len(parts) == 2 else parts[0]


def _text_scalar(value: Placeholder, dtype: Any, data: bytes) -> Any:
    """``numpy.str_`` and ``numpy.bytes_``."""
    code = dtype.args[0] if type(dtype) is Placeholder and dtype.args else None
    if type(code) is not str or not code[1:].isdecimal():
        return value
    if code.startswith("S"):
        return data
    if code.startswith("U") and type(dtype.state) is tuple and len(dtype.state) > 1:
        try:
            return data.decode("utf-32-be" if dtype.state[1] == ">" else "utf-32-le").rstrip("\0")
        except UnicodeDecodeError:
            return value
    return value


def _array(value: Placeholder, data: Any, dtype: Any, shape: Any, column_major: bool) -> Any:
    described = _described(dtype)
    pickled = data
    if type(data) is str:  # Python 2's
        data = data.encode("utf-8", "surrogatepass")
    if described is None or type(data) not in (bytes, Elided) or not _is_shape(shape):
        return value
    name, _, swapped = described
    stride = tuple(reversed(row_major(shape[::-1]))) if column_major else row_major(shape)
    array = NumpyArray(name, shape, stride, data, swapped, pickled)
    given = data.length if type(data) is Elided else len(data)
    encoded = type(data) is Elided and data.encoded
    return array if array.size == given or (encoded and array.size <= given) else value


def _is_shape(shape: Any) -> bool:
    return (
        type(shape) is tuple
        and len(shape) <= limits.DIMENSIONS
        and all(type(length) is int and 0 <= length <= limits.INTEGER for length in shape)
    )


def ordered_bytes(array: NumpyArray, data: bytes) -> bytes:
    """The array's bytes, row-major and little-endian."""
    size = DTYPE_SIZES[array.dtype]
    if array.swapped:
        part = size // 2 if array.dtype.startswith("complex") else size
        data = b"".join(data[at : at + part][::-1] for at in range(0, len(data), part))
    if array.stride == row_major(array.shape):
        return data
    places = [0]
    for length, step in zip(array.shape, array.stride):
        places = [place + index * step for place in places for index in range(length)]
    return b"".join(data[place * size : (place + 1) * size] for place in places)
