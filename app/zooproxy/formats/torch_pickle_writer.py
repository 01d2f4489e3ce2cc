"""A pickle that ``torch.load(weights_only=True)`` admits (torch/_weights_only_unpickler.py), protocol 2.

What becomes of a value of the tree:

===============================  ==================================================================================
value                            in the pickle
===============================  ==================================================================================
None, bool, int, float, str,     themselves; an integer beyond 255 bytes as its decimal digits (torch 1.13 itself has no
list, tuple, dict, OrderedDict   opcode for a float in what it admits; torch 2.0 has)
complex, bytes, set              a call of ``builtins.complex``, ``_codecs.encode``, ``builtins.set`` (torch 2.1 and up)
frozenset                        a set
a tensor                         itself: ties, strides and offsets as in the source; no Parameter, no gradient
a quantised, sparse or nested    itself, by the call that torch made
tensor, a conj or neg view
a dtype                          itself
an object of a known type        see ``zooproxy.wire.standard_types``
``Inert``                        a dict: ``{"__type__": its name}`` and what it has of ``args``, ``state``, ``items``
===============================  ==================================================================================
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Callable, Final, Union

from zooproxy.errors import UnsupportedFormat
from zooproxy.formats.quoting import quoted
from zooproxy.formats.tensor_names import Path, dotted
from zooproxy.formats.torch_rebuilds import QUANTISED_STORAGES, is_odd_tensor
from zooproxy.wire.plain import Inert, TensorRef
from zooproxy.wire.standard_types import DEQUE, DEVICE, NAMESPACE, TEXTS, TIMEDELTA, array_parts, revived
from zooproxy.wire.tensors import DTYPE_SIZES, Tensor, TensorIndex, row_major
from zooproxy.wire.unusual_tensors import LAYOUT, META, NESTED, QUANTISED, SPARSE, VIEW

_STORAGES: Final[Mapping[str, str]] = {
    "bool": "BoolStorage",
    "uint8": "ByteStorage",
    "int8": "CharStorage",
    "int16": "ShortStorage",
    "int32": "IntStorage",
    "int64": "LongStorage",
    "float16": "HalfStorage",
    "bfloat16": "BFloat16Storage",
    "float32": "FloatStorage",
    "float64": "DoubleStorage",
    "complex64": "ComplexFloatStorage",
    "complex128": "ComplexDoubleStorage",
}
#: Names that stand for themselves; ``weights_only`` admits each.
_NAMES: Final = frozenset(
    {f"torch.{dtype}" for dtype in DTYPE_SIZES}
    | {"torch.qint8", "torch.quint8", "torch.qint32"}
    | {f"torch.per_{what}" for what in ("tensor_affine", "tensor_symmetric", "channel_affine", "channel_symmetric")}
    | {"torch.per_channel_affine_float_qparams"}
)
#: Calls whose arguments are tensors and atoms.
_CALLS: Final = frozenset({SPARSE, NESTED, META, LAYOUT})
_UNTYPED = "torch.storage.UntypedStorage"
_LONGEST_LONG = 255
_MEMOISED_TEXT = 64


@dataclass(frozen=True)
class TorchPickle:
    """A pickle and the storages that it refers to, by key: as storages of the index, or as bytes of their own."""

    data: bytes
    storages: Mapping[str, Union[int, bytes]]


def write_torch_pickle(index: TensorIndex) -> TorchPickle:
    """The pickle of the index's tree.

    Raises:
        UnsupportedFormat: a tensor of a kind that ``weights_only`` has no call for; it is named.
    """
    writer = _Writer(index)
    writer.write(index.tree, None)
    storages: dict[str, Union[int, bytes]] = {str(key): number for number, (key, _) in writer.keys.items()}
    return TorchPickle(bytes(writer.out) + b".", {**storages, **writer.arrays})


class _Writer:
    def __init__(self, index: TensorIndex) -> None:
        self.out = bytearray(b"\x80\x02")
        #: storage of the index -> (key, name of its type)
        self.keys: dict[int, tuple[int, str]] = {}
        #: key -> bytes of storages that lie nowhere in the blob
        self.arrays: dict[str, bytes] = {}
        self._index = index
        self._memo: dict[Any, int] = {}

    def write(self, value: Any, path: Path) -> None:
        write = _WRITERS.get(type(value))
        if write is None:  # the reader's trees hold nothing else
            raise UnsupportedFormat(f"{quoted(dotted(path))} is a value that a torch file cannot hold")
        write(self, value, path)

    def _recalled(self, key: Any) -> bool:
        """Recalls what ``key`` stands for, if it was written before."""
        number = self._memo.get(key)
        if number is not None:
            self.out += b"h%c" % number if number < 256 else b"j" + struct.pack("<I", number)
        return number is not None

    def _remember(self, key: Any) -> None:
        number = self._memo[key] = len(self._memo)
        self.out += b"q%c" % number if number < 256 else b"r" + struct.pack("<I", number)

    # -- atoms --------------------------------------------------------------------------------------------

    def write_constant(self, value: Any, _: Path) -> None:
        self.out += {None: b"N", True: b"\x88", False: b"\x89"}[value]

    def write_integer(self, value: int, path: Path) -> None:
        if 0 <= value < 256:
            self.out += b"K%c" % value
        elif -(2**31) <= value < 2**31:
            self.out += b"J" + struct.pack("<i", value)
        else:
            raw = value.to_bytes(value.bit_length() // 8 + 1, "little", signed=True)
            if len(raw) > _LONGEST_LONG:
                self.write_text(str(value), path)
            else:
                self.out += b"\x8a%c" % len(raw) + raw

    def write_float(self, value: float, _: Path) -> None:
        self.out += b"G" + struct.pack(">d", value)

    def write_text(self, value: str, _: Path) -> None:
        if len(value) <= _MEMOISED_TEXT and self._recalled(value):
            return
        raw = value.encode("utf-8", "surrogatepass")
        self.out += b"X" + struct.pack("<I", len(raw)) + raw
        if len(value) <= _MEMOISED_TEXT:
            self._remember(value)

    def write_complex(self, value: complex, path: Path) -> None:
        self._call("builtins.complex", (value.real, value.imag), path)

    def write_octets(self, value: bytes, path: Path) -> None:
        self._call("_codecs.encode", (value.decode("latin-1"), "latin1"), path)

    # -- containers ---------------------------------------------------------------------------------------

    def write_list(self, value: Any, path: Path) -> None:
        self.out += b"]("
        self._each(value, path)
        self.out += b"e"

    def write_tuple(self, value: Any, path: Path) -> None:
        if not value:
            self.out += b")"
            return
        self.out += b"("
        self._each(value, path)
        self.out += b"t"

    def write_set(self, value: Any, path: Path) -> None:
        members = sorted(value, key=lambda member: (type(member).__name__, str(member)))
        self._call("builtins.set", (members,), path)

    def _each(self, values: Any, path: Path) -> None:
        for at, value in enumerate(values):
            self.write(value, (at, path))

    def write_dictionary(self, value: dict[Any, Any], path: Path) -> None:
        self.out += b"}"
        self._items(value, path)

    def write_ordered(self, value: OrderedDict[Any, Any], path: Path) -> None:
        self._call("collections.OrderedDict", (), path)
        self._items(value, path)
        metadata = getattr(value, "_metadata", None)
        if metadata is not None:
            self.write_dictionary({"_metadata": metadata}, path)
            self.out += b"b"

    def _items(self, value: Mapping[Any, Any], path: Path) -> None:
        if not value:
            return
        self.out += b"("
        for key, item in value.items():
            self.write(key, path)
            self.write(item, (key, path))
        self.out += b"u"

    # -- tensors and calls --------------------------------------------------------------------------------

    def _name(self, dotted_name: str) -> None:
        if not self._recalled(("name", dotted_name)):
            module, _, name = dotted_name.rpartition(".")
            self.out += f"c{module}\n{name}\n".encode()
            self._remember(("name", dotted_name))

    def _call(self, function: str, args: Any, path: Path) -> None:
        self._name(function)
        self.write_tuple(args, path)
        self.out += b"R"

    def write_tensor(self, value: TensorRef, path: Path) -> None:
        if self._recalled(("tensor", value.position)):
            return
        row = self._index.tensors[value.position]
        wanted = f"torch.{_STORAGES[row.dtype]}" if row.dtype in _STORAGES else _UNTYPED
        kind = self.keys.get(row.storage, (0, wanted))[1]
        typed = kind == wanted != _UNTYPED  # as in torch, the first type of a storage decides
        self._name("torch._utils._rebuild_tensor_v2" if typed else "torch._utils._rebuild_tensor_v3")
        self.out += b"("
        self._view(row, kind, path)
        self.out += b"\x89"
        self._call("collections.OrderedDict", (), path)
        if not typed:
            self._name(f"torch.{row.dtype}")
        self.out += b"tR"
        self._remember(("tensor", value.position))

    def _view(self, row: Tensor, kind: str, path: Path) -> None:
        """Storage, offset, shape and stride."""
        key, kept = self.keys.setdefault(row.storage, (len(self.keys), kind))
        if kept != kind:
            raise UnsupportedFormat(f"{quoted(dotted(path))} shares its memory with a tensor of another kind")
        self.out += b"("
        self.write_text("storage", path)
        self._name(kind)
        self.write_text(str(key), path)
        self.write_text("cpu", path)
        size = self._index.storages[row.storage].size
        self.write_integer(size // _ELEMENT_SIZES[kind], path)
        self.out += b"tQ"
        self.write_integer(row.offset, path)
        self.write_tuple(row.shape, path)
        self.write_tuple(row.stride, path)

    def write_inert(self, value: Inert, path: Path) -> None:
        if value.args is None and value.type_name in _NAMES:
            self._name(value.type_name)
        elif (array := array_parts(value)) is not None:
            self._array(*array, path)
        elif value.type_name in _PLAIN and (value.type_name == DEVICE or revived(value) is not value):
            self.write(_PLAIN[value.type_name](value), path)
        elif value.type_name in _CALLS:
            self._call(value.type_name, value.args, path)
        elif is_odd_tensor(value.type_name):
            self._odd_tensor(value, path)
        else:
            parts = {"args": value.args, "state": value.state, "items": value.items}
            self.write_dictionary(
                {"__type__": value.type_name, **{name: part for name, part in parts.items() if part}}, path
            )

    def _array(self, dtype: str, shape: tuple[int, ...], data: bytes, path: Path) -> None:
        """An array that lies nowhere in the blob, as a tensor with a storage of its own."""
        key = f"array{len(self.arrays)}"
        self.arrays[key] = data
        kind = f"torch.{_STORAGES[dtype]}" if dtype in _STORAGES else _UNTYPED
        self._name("torch._utils._rebuild_tensor_v3" if kind == _UNTYPED else "torch._utils._rebuild_tensor_v2")
        self.out += b"(("
        self.write_text("storage", path)
        self._name(kind)
        self.write_text(key, path)
        self.write_text("cpu", path)
        self.write_integer(len(data) // _ELEMENT_SIZES[kind], path)
        self.out += b"tQK\0"
        self.write_tuple(shape, path)
        self.write_tuple(row_major(shape), path)
        self.out += b"\x89"
        self._call("collections.OrderedDict", (), path)
        if kind == _UNTYPED:
            self._name(f"torch.{dtype}")
        self.out += b"tR"

    def _odd_tensor(self, value: Inert, path: Path) -> None:
        first = value.args[0] if isinstance(value.args, tuple) and len(value.args) == 2 else None
        row = self._index.tensors[first.position] if isinstance(first, TensorRef) else None
        if row is not None and value.type_name == QUANTISED and row.dtype in QUANTISED_STORAGES:
            self._name(QUANTISED)
            self.out += b"("
            self._view(row, f"torch.{QUANTISED_STORAGES[row.dtype]}", path)
            self.write(value.args[1], path)
            self.out += b"\x89"
            self._call("collections.OrderedDict", (), path)
        elif row is not None and value.type_name == VIEW and row.dtype in _STORAGES:
            self._name(VIEW)
            self.out += b"("
            self._view(row, f"torch.{_STORAGES[row.dtype]}", path)
            self.out += b"\x89"
            self._call("collections.OrderedDict", (), path)
            self.write(value.args[1], path)
        else:
            raise UnsupportedFormat(
                f"{quoted(dotted(path))} is a tensor ({quoted(value.type_name)}) that torch.load(weights_only=True) "
                "has no form for; variant=raw serves the file as published"
            )
        self.out += b"tR"


def _device(value: Inert) -> Any:
    """``cuda:0``; whatever else is called a device stays what it is."""
    if type(value.args) is tuple and [type(part) for part in value.args] in ([str], [str, int]):
        return ":".join(map(str, value.args))
    return value.args


#: What stands for objects of known types.
_PLAIN: Final[Mapping[str, Callable[[Inert], Any]]] = {
    **dict.fromkeys((*TEXTS, DEQUE), lambda value: value.args[0]),
    TIMEDELTA: lambda value: revived(value).total_seconds(),
    NAMESPACE: lambda value: value.state,
    DEVICE: _device,
}
_ELEMENT_SIZES: Final[Mapping[str, int]] = {
    _UNTYPED: 1,
    **{f"torch.{name}": DTYPE_SIZES[dtype] for dtype, name in (*_STORAGES.items(), *QUANTISED_STORAGES.items())},
}
_WRITERS: Final[Mapping[type, Callable[[_Writer, Any, Path], None]]] = {
    type(None): _Writer.write_constant,
    bool: _Writer.write_constant,
    int: _Writer.write_integer,
    float: _Writer.write_float,
    complex: _Writer.write_complex,
    str: _Writer.write_text,
    bytes: _Writer.write_octets,
    list: _Writer.write_list,
    tuple: _Writer.write_tuple,
    set: _Writer.write_set,
    frozenset: _Writer.write_set,
    dict: _Writer.write_dictionary,
    OrderedDict: _Writer.write_ordered,
    TensorRef: _Writer.write_tensor,
    Inert: _Writer.write_inert,
}
