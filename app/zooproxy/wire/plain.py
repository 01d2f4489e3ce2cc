"""Plain values, the tree around a checkpoint's tensors, and the one JSON form in which they travel.

====================================  =========================================================
value                                 JSON
====================================  =========================================================
None, bool, str                       itself
int                                   itself; ``{"$int": "…"}`` from 2**53 on (JSON readers round)
float                                 itself; ``{"$float": "nan" | "inf" | "-inf"}``
complex                               ``{"$complex": [real, imaginary]}``, each as a float
bytes, bytearray                      ``{"$bytes": base64}``
list                                  array
tuple, set, frozenset                 ``{"$tuple": […]}``, ``{"$set": […]}``, ``{"$frozenset": […]}``
dict, keys str, none starting "$"     object
dict, any other                       ``{"$dict": [[key, value], …]}``
OrderedDict                           ``{"$odict": [[key, value], …]}``, with ``"$metadata"`` where
                                      it has a ``_metadata`` attribute (torch's state dicts)
TensorRef                             ``{"$tensor": position}``
Inert                                 ``{"$inert": "module.Name", "args": …, "state": …, "items": …}``
====================================  =========================================================

Order is kept everywhere. Shared values are written once per use, under a budget of nodes and of depth: a small
file can describe a tree of any size (the "billion laughs").
"""

from __future__ import annotations

import base64
import json
import math
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any, Callable, Optional

from zooproxy.errors import LimitExceeded, MalformedCheckpoint

MAX_NODES = 4_000_000
MAX_DEPTH = 100
_EXACT = 2**53


@dataclass(frozen=True)
class TensorRef:
    """A leaf that stands for a tensor: its position in ``TensorIndex.tensors``."""

    position: int


@dataclass(frozen=True)
class Inert:
    """What is left of an object whose type is not plain: its type's name and the plain values it was built from.

    Nothing of the type was imported or called. ``args`` are the constructor's, ``state`` what ``BUILD`` would have
    set, ``items`` what was appended (a list) or stored (a list of pairs).
    """

    type_name: str
    args: Any = ()
    state: Any = None
    items: Any = None


def to_json(value: Any, *, max_nodes: int = MAX_NODES) -> Any:
    """``value`` in the JSON form above, as objects that ``json.dumps`` takes.

    Raises:
        LimitExceeded: more than ``max_nodes`` nodes or ``MAX_DEPTH`` levels (a cycle ends here too).
        MalformedCheckpoint: a value of a type that the table above does not list.
    """
    return _Encoder(max_nodes).encode(value, 0)


class _Encoder:
    def __init__(self, max_nodes: int) -> None:
        self._max_nodes = max_nodes
        self._left = max_nodes

    def encode(self, value: Any, depth: int) -> Any:
        self._left -= 1
        if self._left < 0:
            raise LimitExceeded(f"the plain values unfold to more than {self._max_nodes:,} nodes")
        if depth > MAX_DEPTH:
            raise LimitExceeded(f"the plain values nest deeper than {MAX_DEPTH} levels")
        if value is None or value is True or value is False:
            return value
        encode = _ENCODERS.get(type(value))
        if encode is None:
            raise MalformedCheckpoint(f"no plain form is known for a {type(value).__name__}")
        return encode(self, value, depth + 1)

    def each(self, values: Any, depth: int) -> list[Any]:
        return [self.encode(value, depth) for value in values]

    def pairs(self, mapping: Any, depth: int) -> list[Any]:
        return [[self.encode(key, depth), self.encode(value, depth)] for key, value in mapping.items()]

    def dictionary(self, value: dict[Any, Any], depth: int) -> Any:
        if all(type(key) is str and not key.startswith("$") for key in value):
            return {key: self.encode(item, depth) for key, item in value.items()}
        return {"$dict": self.pairs(value, depth)}

    def ordered(self, value: OrderedDict[Any, Any], depth: int) -> Any:
        encoded: dict[str, Any] = {"$odict": self.pairs(value, depth)}
        metadata = getattr(value, "_metadata", None)
        if metadata is not None:
            encoded["$metadata"] = self.encode(metadata, depth)
        return encoded

    def inert(self, value: Inert, depth: int) -> Any:
        encoded = {"$inert": value.type_name, "args": self.encode(value.args, depth)}
        encoded["state"] = self.encode(value.state, depth)
        encoded["items"] = self.encode(value.items, depth)
        return encoded


def _encode_int(_: _Encoder, value: int, __: int) -> Any:
    return value if -_EXACT < value < _EXACT else {"$int": str(value)}


def _encode_float(_: _Encoder, value: float, __: int) -> Any:
    return value if math.isfinite(value) else {"$float": str(value)}


def _encode_complex(encoder: _Encoder, value: complex, _: int) -> Any:
    return {"$complex": [_encode_float(encoder, value.real, 0), _encode_float(encoder, value.imag, 0)]}


def _unordered(tag: str) -> Callable[[_Encoder, Any, int], Any]:
    """Members sorted by their JSON: Python's own order differs from process to process."""
    return lambda encoder, value, depth: {tag: sorted(encoder.each(value, depth), key=json.dumps)}


_ENCODERS: dict[type, Callable[[_Encoder, Any, int], Any]] = {
    str: lambda _, value, __: value,
    int: _encode_int,
    float: _encode_float,
    complex: _encode_complex,
    bytes: lambda _, value, __: {"$bytes": base64.b64encode(value).decode()},
    bytearray: lambda _, value, __: {"$bytes": base64.b64encode(value).decode()},
    list: lambda encoder, value, depth: encoder.each(value, depth),
    tuple: lambda encoder, value, depth: {"$tuple": encoder.each(value, depth)},
    set: _unordered("$set"),
    frozenset: _unordered("$frozenset"),
    dict: _Encoder.dictionary,
    OrderedDict: _Encoder.ordered,
    TensorRef: lambda _, value, __: {"$tensor": value.position},
    Inert: _Encoder.inert,
}


#: What a leaf for a tensor becomes, by its position; and what an ``Inert`` becomes.
_Leaves = tuple[Callable[[int], Any], Callable[[Inert], Any]]


def from_json(
    encoded: Any,
    tensor: Optional[Callable[[int], Any]] = None,
    inert: Optional[Callable[[Inert], Any]] = None,
) -> Any:
    """The value that ``to_json`` wrote.

    Each tensor leaf becomes ``tensor(position)``, by default a ``TensorRef``; each ``Inert`` becomes ``inert`` of it,
    by default itself.

    Raises:
        MalformedCheckpoint: JSON that ``to_json`` does not write.
        LimitExceeded: it nests deeper than Python can follow.
    """
    try:
        return _decode(encoded, (tensor or TensorRef, inert or _itself))
    except RecursionError as error:
        raise LimitExceeded(f"the plain values nest deeper than {MAX_DEPTH} levels") from error


def _itself(value: Inert) -> Any:
    return value


def _decode(encoded: Any, leaves: _Leaves) -> Any:
    if isinstance(encoded, list):
        return [_decode(item, leaves) for item in encoded]
    if not isinstance(encoded, dict):
        return encoded
    tag = next(iter(encoded), "")
    if not tag.startswith("$"):
        return {key: _decode(item, leaves) for key, item in encoded.items()}
    decode = _DECODERS.get(tag)
    if decode is None:
        raise MalformedCheckpoint("the plain values carry a tag that this version does not know")
    try:
        return decode(encoded, leaves)
    except (KeyError, TypeError, ValueError) as error:
        raise MalformedCheckpoint(f"the plain values carry a malformed {tag}") from error


def _typed(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise TypeError(f"not of type {kind.__name__}")
    return value


def _decode_pairs(pairs: Any, leaves: _Leaves) -> list[tuple[Any, Any]]:
    return [(_decode(key, leaves), _decode(value, leaves)) for key, value in pairs]


def _decode_complex(encoded: dict[str, Any], leaves: _Leaves) -> complex:
    real, imaginary = encoded["$complex"]
    return complex(_decode(real, leaves), _decode(imaginary, leaves))


def _decode_ordered(encoded: dict[str, Any], leaves: _Leaves) -> OrderedDict[Any, Any]:
    value: OrderedDict[Any, Any] = OrderedDict(_decode_pairs(encoded["$odict"], leaves))
    if "$metadata" in encoded:
        value._metadata = _decode(encoded["$metadata"], leaves)  # type: ignore[attr-defined]  # as torch does
    return value


_DECODERS: dict[str, Callable[[dict[str, Any], _Leaves], Any]] = {
    "$int": lambda encoded, _: int(encoded["$int"]),
    "$float": lambda encoded, _: float(encoded["$float"]),
    "$complex": _decode_complex,
    "$bytes": lambda encoded, _: base64.b64decode(encoded["$bytes"], validate=True),
    "$tuple": lambda encoded, leaves: tuple(_decode(item, leaves) for item in encoded["$tuple"]),
    "$set": lambda encoded, leaves: {_decode(item, leaves) for item in encoded["$set"]},
    "$frozenset": lambda encoded, leaves: frozenset(_decode(item, leaves) for item in encoded["$frozenset"]),
    "$dict": lambda encoded, leaves: dict(_decode_pairs(encoded["$dict"], leaves)),
    "$odict": _decode_ordered,
    "$tensor": lambda encoded, leaves: leaves[0](_typed(encoded["$tensor"], int)),
    "$inert": lambda encoded, leaves: leaves[1](
        Inert(
            _typed(encoded["$inert"], str),
            _decode(encoded["args"], leaves),
            _decode(encoded["state"], leaves),
            _decode(encoded["items"], leaves),
        )
    ),
}
