"""The few names that torch's pickles call, and what stands for each call (torch/_utils.py, torch/_tensor.py).

Anything else stays a ``Placeholder``, a tensor of an unusual kind included; ``is_odd_tensor`` tells those, so that
whoever selects one is told.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, Optional, Union

from zooproxy.errors import LimitExceeded, MalformedCheckpoint
from zooproxy.formats import limits
from zooproxy.formats.numpy_objects import UNREAD_ARRAY
from zooproxy.formats.pickle_machine import Rebuild
from zooproxy.formats.pickle_values import Elided, Global, Placeholder, StorageNode, TensorNode
from zooproxy.wire.tensors import DTYPE_SIZES
from zooproxy.wire.unusual_tensors import QUANTISED, VIEW

_STORAGE_DTYPES: Final[Mapping[str, str]] = {
    "BoolStorage": "bool",
    "ByteStorage": "uint8",
    "CharStorage": "int8",
    "ShortStorage": "int16",
    "IntStorage": "int32",
    "LongStorage": "int64",
    "HalfStorage": "float16",
    "BFloat16Storage": "bfloat16",
    "FloatStorage": "float32",
    "DoubleStorage": "float64",
    "ComplexFloatStorage": "complex64",
    "ComplexDoubleStorage": "complex128",
    "UntypedStorage": "uint8",
    "QInt8Storage": "int8",  # quantised: what lies there are integers, and ``_rebuild_qtensor`` says what they mean
    "QUInt8Storage": "uint8",
    "QInt32Storage": "int32",
}
_STORAGE_MODULES = ("torch", "torch.cuda", "torch.storage")

#: From the name that a persistent id gives to a storage's type, to the dtype of its elements.
STORAGE_TYPES: Final[Mapping[str, str]] = {
    f"{module}.{name}": dtype for module in _STORAGE_MODULES for name, dtype in _STORAGE_DTYPES.items()
}

#: Subclasses of Tensor that change nothing about the values.
_TRANSPARENT = frozenset(
    {
        "torch.Tensor",
        "torch.nn.parameter.Parameter",
        "torch.nn.parameter.Buffer",
        "torch.nn.Parameter",
        "torch.nn.Buffer",
    }
)

#: Of quantised tensors, from the dtype of the integers to the storage's name.
QUANTISED_STORAGES: Final[Mapping[str, str]] = {
    "int8": "QInt8Storage",
    "uint8": "QUInt8Storage",
    "int32": "QInt32Storage",
}

_REBUILD_PREFIXES = ("torch._utils._rebuild", "torch._tensor._rebuild", "torch.tensor._rebuild")


def is_odd_tensor(type_name: str) -> bool:
    """Whether a stand-in of this name is a tensor: sparse, quantised, nested, meta, a conj or neg view, a subclass; or
    an array of numpy's that could not be read."""
    return type_name.startswith(_REBUILD_PREFIXES) or type_name == UNREAD_ARRAY


def make_storage(type_name: str, key: str, count: Any) -> Union[StorageNode, Placeholder]:
    """A storage of ``count`` elements; a stand-in where its type is not known (quantised ones).

    Raises:
        MalformedCheckpoint: the count makes no sense.
    """
    dtype = STORAGE_TYPES.get(type_name)
    if dtype is None:
        return Placeholder(type_name, (key, count))
    return StorageNode(key, dtype, _natural(count) * DTYPE_SIZES[dtype])


def make_storage_view(root: StorageNode, key: str, offset: Any, count: Any) -> StorageNode:
    """``count`` elements of ``root`` from element ``offset`` on: older files name parts of storages.

    Raises:
        MalformedCheckpoint: they do not lie within ``root``.
    """
    start = _natural(offset)
    size = _natural(count) * DTYPE_SIZES[root.dtype]
    if start * DTYPE_SIZES[root.dtype] + size > root.size:
        raise MalformedCheckpoint("the pickle has a part of a storage that reaches past the storage's end")
    return StorageNode(key, root.dtype, size, (root, start))


def _natural(value: Any) -> int:
    if type(value) is not int or value < 0:
        raise MalformedCheckpoint("the pickle has a tensor or a storage with a size that is no natural number")
    if value > limits.INTEGER:
        raise LimitExceeded("the pickle has a tensor or a storage with a size of more than 63 bits")
    return value


def _naturals(values: Any) -> tuple[int, ...]:
    if type(values) not in (tuple, list):
        raise MalformedCheckpoint("the pickle has a tensor whose shape is no tuple")
    if len(values) > limits.DIMENSIONS:
        raise LimitExceeded(f"the pickle has a tensor of more than {limits.DIMENSIONS} dimensions")
    for value in values:
        if type(value) is not int or not 0 <= value <= limits.INTEGER:
            _natural(value)  # says what is wrong with it
    return tuple(values)


def _make_tensor(storage: StorageNode, dtype: str, args: tuple[Any, ...]) -> TensorNode:
    """A tensor from ``(storage, offset, size, stride, …)``, within its storage."""
    offset, shape, stride = args[1:4]
    tensor = TensorNode(storage, dtype, _natural(offset), _naturals(shape), _naturals(stride))
    if len(tensor.shape) != len(tensor.stride):
        raise MalformedCheckpoint("the pickle has a tensor with more dimensions than strides, or fewer")
    if _end(tensor) * DTYPE_SIZES[dtype] > storage.size:
        raise MalformedCheckpoint("the pickle has a tensor that reaches past the end of its storage")
    if storage.within is None:
        return tensor
    root, start = storage.within
    return TensorNode(root, dtype, start + tensor.offset, tensor.shape, tensor.stride)


def _stored(args: tuple[Any, ...]) -> Optional[StorageNode]:
    """The storage that comes first, None where its type is not known."""
    if type(args[0]) is StorageNode:
        return args[0]
    if type(args[0]) is Placeholder:
        return None
    raise MalformedCheckpoint("the pickle has a tensor without a storage")


def _end(tensor: TensorNode) -> int:
    """The element after the last that the tensor reaches."""
    if 0 in tensor.shape:
        return 0
    return tensor.offset + sum((length - 1) * step for length, step in zip(tensor.shape, tensor.stride)) + 1


def _bits_set(metadata: Any = None) -> bool:
    """Whether a tensor's metadata sets the conj or the neg bit; anything unknown counts as set."""
    return bool(metadata) and (type(metadata) is not dict or any(value is not False for value in metadata.values()))


def _rebuild_tensor(args: tuple[Any, ...]) -> Any:
    """``(storage, offset, size, stride)``"""
    _, _, _, _ = args
    return _rebuild_tensor_v2((*args, False, None))


def _rebuild_tensor_v2(args: tuple[Any, ...]) -> Any:
    """``(storage, offset, size, stride, requires_grad, backward_hooks[, metadata])``"""
    storage = _stored(args)
    if storage is None:
        return Placeholder(VIEW, args)
    tensor = _make_tensor(storage, storage.dtype, args)
    return Placeholder(VIEW, (tensor, *args[6:])) if _bits_set(*args[6:]) else tensor


def _rebuild_tensor_v3(args: tuple[Any, ...]) -> Any:
    """``(storage, offset, size, stride, requires_grad, backward_hooks, dtype[, metadata])``, its storage in bytes."""
    storage = _stored(args)
    dtype = _dtype_name(args[6])
    if storage is None or dtype is None or _bits_set(*args[7:]):
        return Placeholder("torch._utils._rebuild_tensor_v3", args)
    return _make_tensor(storage, dtype, args)


def _rebuild_qtensor(args: tuple[Any, ...]) -> Any:
    """``(storage, offset, size, stride, (scheme, scale, zero point …), requires_grad, backward_hooks)``

    Becomes a stand-in of ``(the integers as a tensor, (scheme, …))``.
    """
    storage = _stored(args)
    if storage is None or storage.dtype not in QUANTISED_STORAGES or type(args[4]) is not tuple:
        return Placeholder(QUANTISED, args)
    return Placeholder(QUANTISED, (_make_tensor(storage, storage.dtype, args), args[4]))


def _dtype_name(value: Any) -> Optional[str]:
    """The dtype that a name such as ``torch.uint16`` stands for, None where it is not one of the wire's."""
    if type(value) is not Global or not value.name.startswith("torch."):
        raise MalformedCheckpoint("the pickle has a tensor whose dtype is no dtype")
    name = value.name[len("torch.") :]
    return name if name in DTYPE_SIZES else None


def _rebuild_parameter(args: tuple[Any, ...]) -> Any:
    """``(data, requires_grad, backward_hooks)``: the data."""
    data, _, _ = args
    return _require_tensor(data)


def _rebuild_parameter_with_state(args: tuple[Any, ...]) -> Any:
    """``(data, requires_grad, backward_hooks, state)``: the data; Python attributes of a parameter are not kept."""
    data, _, _, _ = args
    return _require_tensor(data)


def _require_tensor(data: Any) -> Any:
    if type(data) is TensorNode or (type(data) is Placeholder and is_odd_tensor(data.type_name)):
        return data
    raise MalformedCheckpoint("the pickle has a parameter without a tensor")


def _rebuild_from_type_v2(args: tuple[Any, ...]) -> Any:
    """``(function, type, args, state)``: what the function gives, if the type adds nothing to it."""
    function, kind, inner, _ = args
    rebuild = TENSOR_REBUILDS.get(function.name) if type(function) is Global else None
    if rebuild is None or type(kind) is not Global or kind.name not in _TRANSPARENT or type(inner) is not tuple:
        return Placeholder("torch._tensor._rebuild_from_type_v2", args)
    return rebuild(inner)


def _size(args: tuple[Any, ...]) -> Any:
    """``torch.Size``: a plain tuple loses nothing."""
    return _naturals(args[0] if args else ())


def _codecs_encode(args: tuple[Any, ...]) -> Any:
    """``_codecs.encode(text, 'latin1')``: how protocol 2 writes bytes."""
    text, encoding = args if len(args) == 2 else (None, None)
    if encoding in ("latin1", "latin-1") and type(text) is str:
        return text.encode("latin-1")
    if encoding in ("latin1", "latin-1") and type(text) is Elided:
        return Elided("builtins.bytes", text.start, text.length, encoded=True)
    return Placeholder("_codecs.encode", args)


def _bytes(type_name: str) -> Rebuild:
    """``bytes()`` and ``bytearray(…)``: how protocol 2 writes empty bytes, and every protocol below 5 a bytearray."""

    def rebuild(args: tuple[Any, ...]) -> Any:
        if not args:
            return b""
        if len(args) == 1 and type(args[0]) in (bytes, Elided):
            return args[0]
        made = _codecs_encode(args)
        return Placeholder(type_name, args) if type(made) is Placeholder else made

    return rebuild


def _default_dict(args: tuple[Any, ...]) -> Any:
    """``defaultdict(factory)``: a plain dict; only its factory is lost."""
    if len(args) > 1:
        return Placeholder("collections.defaultdict", args)
    return {}


def _attribute(args: tuple[Any, ...]) -> Any:
    """``getattr(owner, name)``: a dotted name as protocols below 4 write it (a nested class), or an Enum's member."""
    owner, name = args if len(args) == 2 else (None, None)
    if type(owner) is Global and type(name) is str and name.isidentifier():
        if len(owner.name) + len(name) >= limits.GLOBAL_NAME:
            raise LimitExceeded(f"the pickle imports a name of more than {limits.GLOBAL_NAME} characters")
        return Global(f"{owner.name}.{name}")
    return Placeholder("builtins.getattr", args)


def _reconstructed(args: tuple[Any, ...]) -> Any:
    """``copyreg._reconstructor(type, base, value)``: how protocols 0 and 1 make an instance (Lib/copyreg.py)."""
    kind, base, value = args if len(args) == 3 else (None, None, None)
    if type(kind) is not Global or type(base) is not Global:
        return Placeholder("copyreg._reconstructor", args)
    if base.name == "builtins.object":
        return Placeholder(kind.name, ())
    items = base.name == "builtins.tuple" and type(value) is tuple
    return Placeholder(kind.name, value if items else (value,))


def _complex(args: tuple[Any, ...]) -> Any:
    if len(args) == 2 and all(type(arg) is float for arg in args):
        return complex(*args)
    return Placeholder("builtins.complex", args)


def _checked(rebuild: Rebuild) -> Rebuild:
    """Translates a call with the wrong number of arguments."""

    def call(args: tuple[Any, ...]) -> Any:
        try:
            return rebuild(args)
        except (ValueError, IndexError, TypeError) as error:
            raise MalformedCheckpoint("the pickle rebuilds a tensor from arguments that do not fit") from error

    return call


TENSOR_REBUILDS: Final[Mapping[str, Rebuild]] = {
    "torch._utils._rebuild_tensor": _rebuild_tensor,
    VIEW: _rebuild_tensor_v2,
    "torch._utils._rebuild_tensor_v3": _rebuild_tensor_v3,
    QUANTISED: _rebuild_qtensor,
    "torch._utils._rebuild_parameter": _rebuild_parameter,
    "torch._utils._rebuild_parameter_with_state": _rebuild_parameter_with_state,
}

#: Every name that is understood; the pickle machine itself knows OrderedDict, set and frozenset.
REBUILDS: Final[Mapping[str, Rebuild]] = {
    name: _checked(rebuild)
    for name, rebuild in {
        **TENSOR_REBUILDS,
        "torch._tensor._rebuild_from_type_v2": _rebuild_from_type_v2,
        "torch.tensor._rebuild_from_type_v2": _rebuild_from_type_v2,  # its home until torch 1.9
        "torch.Size": _size,
        "_codecs.encode": _codecs_encode,
        "builtins.bytes": _bytes("builtins.bytes"),
        "builtins.bytearray": _bytes("builtins.bytearray"),
        "collections.defaultdict": _default_dict,
        "builtins.complex": _complex,
        "builtins.getattr": _attribute,
        "copyreg._reconstructor": _reconstructed,
    }.items()
}
