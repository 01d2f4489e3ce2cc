"""From what a pickle machine built to a tensor index: names, kind, and the tree of plain values.

What becomes of a value in the tree (``zooproxy.wire.plain`` has the JSON of each):

===============================  ==================================================================================
value                            in the tree
===============================  ==================================================================================
containers, atoms                themselves; a mapping with a key that is no atom: ``Inert("builtins.dict")``, its items
a tensor                         a ``TensorRef``; one row of the index per place where it stands
a tensor of an unusual kind      ``Inert`` named after torch's rebuild function: see ``zooproxy.wire.unusual_tensors``
an object of a known type        see ``zooproxy.wire.standard_types``
an object of any other type      ``Inert``: its type's name, arguments, state, items
a type or function               ``Inert`` with ``args`` None: the name itself, nothing was called
text over 1 MiB, bytes over 64   ``Inert("builtins.str" | "builtins.bytes")``, its length in bytes as ``state``
KiB, text that is not Unicode
a place that leads back into     ``Inert`` of the type's name, empty: the tree has no cycles
itself
===============================  ==================================================================================

Names: a tensor that is a value of the state dict has its key; any other tensor the keys and positions that lead to
it from the root, joined by dots (``optimizer.state.0.exp_avg``). A name that is taken gets ``#2``, ``#3``, …

Kinds: ``wrapped``, a mapping whose ``state_dict`` is a mapping; ``state_dict``, a mapping whose keys are text and whose
values are tensors, at least one, or numbers, text and None (``…_extra_state`` may hold anything); ``mapping``, any
other mapping; ``module``, a whole module, of which the tree is the state dict; ``other``, anything else.
"""

from __future__ import annotations

import mmap
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Callable, Optional, Union

from zooproxy.errors import LimitExceeded
from zooproxy.formats import limits
from zooproxy.formats.known_objects import known_object
from zooproxy.formats.numpy_objects import UNREAD_ARRAY, NumpyArray, numpy_object, ordered_bytes
from zooproxy.formats.pickle_values import Elided, Global, Placeholder, SetNode, StorageNode, TensorNode
from zooproxy.formats.tensor_names import Path, TensorNames, is_unicode
from zooproxy.formats.torch_rebuilds import is_odd_tensor
from zooproxy.wire.plain import MAX_DEPTH, Inert, TensorRef
from zooproxy.wire.standard_types import NDARRAY
from zooproxy.wire.tensors import Tensor

_ATOMS = frozenset({str, int, float, bool, bytes, complex, type(None)})
_LEAF_WEIGHT = 64
_CONTAINER_WEIGHT = 256
_STATE_DICT = "state_dict"


def kind_of(root: Any) -> str:
    """The checkpoint's kind, by the rule above."""
    if not isinstance(root, dict):
        return "other"
    if isinstance(root.get(_STATE_DICT), dict):
        return "wrapped"
    tensors = [value for value in root.values() if _is_tensor(value)]
    if tensors and all(type(key) is str and _fits_state_dict(key, value) for key, value in root.items()):
        return _STATE_DICT
    return "mapping"


def _is_tensor(value: Any) -> bool:
    return type(value) is TensorNode or (type(value) is Placeholder and is_odd_tensor(value.type_name))


def _fits_state_dict(key: str, value: Any) -> bool:
    return _is_tensor(value) or type(value) in _ATOMS or key.endswith("_extra_state")


class Outline:
    """The tree of one checkpoint under construction; ``tensors`` and ``storages`` fill up while it grows."""

    def __init__(self, data: Union[bytes, mmap.mmap], origins: Optional[Mapping[int, tuple[Any, int]]] = None) -> None:
        self.tensors: list[Tensor] = []
        self.storages: dict[StorageNode, int] = {}
        self.dropped: set[str] = set()
        self._data = data
        self._origins = origins or {}
        self._made: list[Any] = []  # what stands for known objects: kept, because ``_done`` goes by identity
        self._names = TensorNames()
        self._weight = 0
        self._virtual_bytes = 0
        self._done: dict[int, tuple[Any, int]] = {}
        self._open: set[int] = set()
        self._in_place: dict[int, StorageNode] = {}

    def draw(self, root: Any) -> Any:
        """The plain tree of ``root``; the state dict's own tensors come first in ``tensors``.

        Raises:
            LimitExceeded: the tree nests or unfolds too far, or has too many or too large tensors.
            MalformedCheckpoint: a tensor's name is no Unicode text.
        """
        kind = kind_of(root)
        if kind == "wrapped":
            # Drawn first, from a root of its own, so that its tensors get its keys wherever else they occur.
            self._draw(root[_STATE_DICT], None, 1)
        return self._draw(root, None, 0)

    def _draw(self, value: Any, path: Path, depth: int) -> Any:
        draw = _DRAW.get(type(value))
        if draw is None:
            return self._leaf(value, path)
        done = self._done.get(id(value))
        if done is not None:
            self._charge(done[1])
            return done[0]
        if id(value) in self._open:
            return self._inert(_type_name(value))
        if depth >= MAX_DEPTH:
            raise LimitExceeded(f"the checkpoint nests deeper than {MAX_DEPTH} levels")
        before = self._weight
        self._charge(_CONTAINER_WEIGHT)
        self._open.add(id(value))
        drawn = draw(self, value, path, depth + 1)
        self._open.remove(id(value))
        self._done[id(value)] = (drawn, self._weight - before)
        return drawn

    def _charge(self, weight: int) -> None:
        self._weight += weight
        if self._weight > limits.TREE_WEIGHT:
            raise LimitExceeded(f"the values around the tensors unfold to more than {limits.TREE_WEIGHT:,} bytes")

    # -- leaves -------------------------------------------------------------------------------------------

    def _leaf(self, value: Any, path: Path) -> Any:
        kind = type(value)
        if kind is TensorNode:
            return self._tensor(value, path)
        if kind is str:
            return self._text(value)
        if kind is bytes:
            self._charge(2 * len(value))
        if kind is Global:
            return self._inert(value.name, args=None)
        if kind is StorageNode:
            return self._inert("torch.storage.UntypedStorage", args=(value.key, value.dtype, value.size))
        if kind is Elided:
            return self._elided(value)
        self._charge(_LEAF_WEIGHT)
        return value

    def _text(self, value: str) -> Any:
        self._charge(_LEAF_WEIGHT + len(value))
        if is_unicode(value):
            return value
        return self._inert("builtins.str", state=len(value.encode("utf-8", "surrogatepass")))

    def _elided(self, value: Elided) -> Any:
        if value.type_name == "builtins.str" and value.length <= limits.TEXT_IN_TREE:
            try:
                return self._text(self._data[value.start : value.start + value.length].decode())
            except UnicodeDecodeError:
                pass
        return self._inert(value.type_name, state=value.length)

    def _inert(self, type_name: str, args: Any = (), state: Any = None, items: Any = None) -> Inert:
        self.dropped.add(type_name)
        return self._known(type_name, args, state, items)

    def _known(self, type_name: str, args: Any = (), state: Any = None, items: Any = None) -> Inert:
        self._charge(_LEAF_WEIGHT + len(type_name))
        return Inert(type_name, args, state, items)

    def _tensor(self, node: TensorNode, path: Path) -> TensorRef:
        position = len(self.tensors)
        if position >= limits.TENSORS:
            raise LimitExceeded(f"the checkpoint has more than {limits.TENSORS:,} tensors")
        storage = self.storages.setdefault(node.storage, len(self.storages))
        tensor = Tensor(self._names.claim(path), node.dtype, storage, node.offset, node.shape, node.stride)
        self._virtual_bytes += tensor.nbytes
        if self._virtual_bytes > limits.VIRTUAL_BYTES:
            raise LimitExceeded(f"the tensors' shapes amount to more than {limits.VIRTUAL_BYTES:,} bytes")
        self._charge(_LEAF_WEIGHT)
        self.tensors.append(tensor)
        return TensorRef(position)

    # -- containers ---------------------------------------------------------------------------------------

    def _each(self, values: Any, path: Path, depth: int) -> list[Any]:
        return [self._draw(value, (index, path), depth) for index, value in enumerate(values)]

    def draw_list(self, value: list[Any], path: Path, depth: int) -> Any:
        return self._each(value, path, depth)

    def draw_tuple(self, value: tuple[Any, ...], path: Path, depth: int) -> Any:
        return tuple(self._each(value, path, depth))

    def draw_set(self, value: SetNode, path: Path, depth: int) -> Any:
        members = self._each(value.members, path, depth)
        if all(map(_is_plain_key, value.members)):
            return frozenset(members) if value.frozen else set(members)
        return self._inert(_type_name(value), items=members)

    def draw_dict(self, value: dict[Any, Any], path: Path, depth: int) -> Any:
        items = self._pairs(value, path, depth)
        return dict(items) if all(map(_is_plain_key, value)) else self._inert("builtins.dict", items=items)

    def _pairs(self, value: dict[Any, Any], path: Path, depth: int) -> list[tuple[Any, Any]]:
        drawn = []
        for key, item in value.items():
            if type(key) is str:
                drawn.append((self._text(key), self._draw(item, (key, path), depth)))
            else:
                drawn.append((self._draw(key, path, depth), self._draw(item, (key, path), depth)))
        return drawn

    def draw_ordered(self, value: OrderedDict[Any, Any], path: Path, depth: int) -> Any:
        items = self._pairs(value, path, depth)
        if not all(map(_is_plain_key, value)):
            return self._inert("collections.OrderedDict", items=items)
        drawn: OrderedDict[Any, Any] = OrderedDict(items)
        metadata = getattr(value, "_metadata", None)
        if metadata is not None:
            drawn._metadata = self._draw(metadata, ("_metadata", path), depth)  # type: ignore[attr-defined]
        return drawn

    def draw_placeholder(self, value: Placeholder, path: Path, depth: int) -> Any:
        stands_for = numpy_object(value)
        stands_for = known_object(value) if stands_for is value else stands_for
        if isinstance(stands_for, NumpyArray):
            return self._array(stands_for, path)
        self._made.append(stands_for)
        if type(stands_for) is not Placeholder:
            return self._draw(stands_for, path, depth)
        # args in a tuple of their own, so that an argument's place shows in its name and nothing else does
        args = self._draw(stands_for.args, ("args", path), depth)
        state = self._draw(stands_for.state, path, depth)
        items = None if stands_for.items is None else self._draw(stands_for.items, path, depth)
        return (self._known if stands_for.known else self._inert)(stands_for.type_name, args, state, items)

    def _array(self, array: NumpyArray, path: Path) -> Any:
        """A tensor where the bytes lie in the file as they are; else the bytes, row-major and little-endian."""
        raw = array.data
        lies = (
            raw.start
            if type(raw) is Elided and not raw.encoded
            else self._origins.get(id(array.pickled), (None, None))[1]
        )
        if lies is not None and not array.swapped:
            node = self._in_place.setdefault(lies, StorageNode("", array.dtype, array.size, start=lies))
            if node.size == array.size:
                return self._tensor(TensorNode(node, array.dtype, 0, array.shape, array.stride), path)
        data = self._bytes_of(raw, array.size)
        if data is None:
            return self._inert(UNREAD_ARRAY, state=array.size)
        self._charge(2 * len(data))
        return self._known(NDARRAY, (array.dtype, array.shape, ordered_bytes(array, data)))

    def _bytes_of(self, raw: Union[bytes, Elided], size: int) -> Optional[bytes]:
        if type(raw) is bytes:
            return raw
        if size > limits.TEXT_IN_TREE or not isinstance(raw, Elided):
            return None
        data = self._data[raw.start : raw.start + raw.length]
        try:
            data = data.decode().encode("latin-1") if raw.encoded else data
        except UnicodeError:
            return None
        return data if len(data) == size else None


def _is_plain_key(key: Any) -> bool:
    if type(key) is str:
        return is_unicode(key)
    if type(key) is tuple:
        return all(map(_is_plain_key, key))
    return type(key) in _ATOMS


def _type_name(value: Any) -> str:
    if isinstance(value, Placeholder):
        return value.type_name
    if isinstance(value, SetNode):
        return "builtins.frozenset" if value.frozen else "builtins.set"
    return f"{type(value).__module__}.{type(value).__name__}"


_DRAW: dict[type, Callable[[Outline, Any, Path, int], Any]] = {
    list: Outline.draw_list,
    tuple: Outline.draw_tuple,
    SetNode: Outline.draw_set,
    dict: Outline.draw_dict,
    OrderedDict: Outline.draw_ordered,
    Placeholder: Outline.draw_placeholder,
}
