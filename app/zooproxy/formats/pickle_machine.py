"""The state of a pickle machine that executes nothing.

It builds containers, atoms and the stand-ins of ``pickle_values``. What ``REDUCE`` would call is looked up in a table
of rebuild functions that the caller gives; any other name becomes a ``Placeholder``. There is no import, no ``getattr``
and no call of anything that the pickle names.

``pickle_opcodes`` holds the opcodes; here are the stack, the memo and what opcodes do to values.
"""

from __future__ import annotations

import mmap
from collections import OrderedDict
from collections.abc import Mapping
from typing import Any, Callable, Union

from zooproxy.errors import LimitExceeded, MalformedCheckpoint
from zooproxy.formats import limits
from zooproxy.formats.pickle_values import Elided, Global, Placeholder, SetNode, TensorNode

#: Builds what a call of a known name with these arguments would have built.
Rebuild = Callable[["tuple[Any, ...]"], Any]

_ATOMS = frozenset({str, int, float, bool, bytes, complex, type(None), Placeholder, TensorNode, Global})


class PickleMachine:
    """What one pickle in ``data`` has built so far.

    Args:
        rebuilds: by name, what stands for a call of that name; a name that is missing makes a ``Placeholder``.
        persistent_load: what stands for a persistent id.
    """

    def __init__(
        self, data: Union[bytes, mmap.mmap], rebuilds: Mapping[str, Rebuild], persistent_load: Callable[[Any], Any]
    ) -> None:
        self.data = data
        self.rebuilds = rebuilds
        self.persistent_load = persistent_load
        self.stack: list[Any] = []
        self.marked: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        #: where strings lie, by identity: an array's bytes are then a range of the file, and need not be kept
        self.origins: dict[int, tuple[Any, int]] = {}
        self._strings_left = limits.STRINGS
        self._objects_left = limits.OBJECTS
        self._tuple_keys_left = limits.TUPLE_KEYS

    def pop_mark(self) -> list[Any]:
        items = self.stack
        self.stack = self.marked.pop()
        return items

    def line(self, at: int, limit: int = limits.LINE) -> tuple[bytes, int]:
        """The argument that ends at a newline, and the position after it."""
        end = self.data.find(b"\n", at, at + limit)
        if end < 0:
            raise MalformedCheckpoint(f"the pickle has a line that does not end within {limit:,} bytes")
        if limit > limits.LINE:
            self._charge_bytes(end - at)
        return self.data[at:end], end + 1

    def take(self, type_name: str, start: int, length: int, limit: int = limits.STRING_IN_PLACE) -> Any:
        """The bytes of a string, or an ``Elided`` where they are more than ``limit``."""
        if start + length > len(self.data):
            raise MalformedCheckpoint("the pickle ends inside a string")
        if length > limit:
            return Elided(type_name, start, length)
        self._charge_bytes(length)
        return self.data[start : start + length]

    def locate(self, found: Any, start: int) -> Any:
        """``found`` itself, after a note that its bytes lie at ``start``."""
        if len(self.origins) < limits.TENSORS:
            self.origins[id(found)] = (found, start)
        return found

    def charge_text(self, text: str) -> str:
        """One character beyond ASCII can widen all others to four bytes."""
        if not text.isascii():
            self._charge_bytes(3 * len(text))
        return text

    def _charge_bytes(self, count: int) -> None:
        self._strings_left -= count
        if self._strings_left < 0:
            raise LimitExceeded(f"the pickle's strings take more than {limits.STRINGS:,} bytes")

    def charge_object(self) -> None:
        self._objects_left -= 1
        if self._objects_left < 0:
            raise LimitExceeded(f"the pickle builds more than {limits.OBJECTS:,} objects")

    def placeholder(self, type_name: str, args: Any) -> Placeholder:
        self.charge_object()
        return Placeholder(type_name, args)

    def check_key(self, key: Any) -> None:
        """Hashes no structure deep or long: atoms, stand-ins, and flat tuples of them."""
        kind = type(key)
        if kind in _ATOMS:
            if kind is int and not -limits.INTEGER <= key <= limits.INTEGER:
                raise LimitExceeded("the pickle has a mapping or a set with an integer of more than 63 bits")
            return
        if kind is not tuple or len(key) > limits.TUPLE_KEY_LENGTH or not all(type(item) in _ATOMS for item in key):
            raise MalformedCheckpoint(
                "the pickle has a mapping or a set with a key that is neither an atom nor a short tuple"
            )
        self._tuple_keys_left -= 1
        if self._tuple_keys_left < 0:
            raise LimitExceeded(f"the pickle hashes more than {limits.TUPLE_KEYS:,} tuples")

    def set_items(self, target: Any, items: list[Any]) -> None:
        if len(items) % 2:
            raise MalformedCheckpoint("the pickle gives a mapping a key without a value")
        pairs = zip(items[::2], items[1::2])
        if isinstance(target, dict):
            for key, value in pairs:
                self.check_key(key)
                target[key] = value
        elif isinstance(target, Placeholder):
            target.items = target.items or []
            target.items.extend(pairs)
        else:
            raise MalformedCheckpoint("the pickle stores an item in something that is no mapping")

    def extend(self, target: Any, items: list[Any]) -> None:
        if isinstance(target, Placeholder):
            target.items = target.items or []
            target.items.extend(items)
        elif isinstance(target, list):
            target.extend(items)
        else:
            raise MalformedCheckpoint("the pickle appends to something that is no list")

    def new_set(self, members: list[Any], *, frozen: bool) -> SetNode:
        self.charge_object()
        made = SetNode(frozen, {})
        self.add_members(made, members)
        return made

    def add_members(self, target: SetNode, members: list[Any]) -> None:
        for member in members:
            self.check_key(member)
        target.members.update(dict.fromkeys(members))

    def ordered(self, pairs: Any) -> OrderedDict[Any, Any]:
        """``OrderedDict(pairs)``, as older Pythons pickle it."""
        self.charge_object()
        made: OrderedDict[Any, Any] = OrderedDict()
        for pair in pairs:
            if type(pair) not in (list, tuple) or len(pair) != 2:
                raise MalformedCheckpoint("the pickle makes an ordered mapping of something that is no list of pairs")
            self.set_items(made, list(pair))
        return made

    def call(self, function: Any, args: Any) -> Any:
        if not isinstance(args, tuple):
            raise MalformedCheckpoint("the pickle calls something with arguments that are no tuple")
        if isinstance(function, Placeholder):
            return self.placeholder(function.type_name, args)
        if not isinstance(function, Global):
            raise MalformedCheckpoint("the pickle calls something that is no type and no function")
        if function.name == "collections.OrderedDict" and len(args) <= 1 and all(type(arg) is list for arg in args):
            return self.ordered(args[0] if args else ())
        if function.name in _SETS and len(args) == 1 and type(args[0]) in (list, tuple):
            return self.new_set(list(args[0]), frozen=not function.name.endswith(".set"))
        rebuild = self.rebuilds.get(function.name)
        return self.placeholder(function.name, args) if rebuild is None else rebuild(args)

    def instance(self, kind: Any, args: Any, keywords: Any = None) -> Any:
        """``kind.__new__(kind, *args)``: an ordered mapping, else a stand-in."""
        if isinstance(kind, Global) and kind.name == "collections.OrderedDict":
            return self.ordered(())
        if not isinstance(kind, (Global, Placeholder)) or not isinstance(args, tuple):
            raise MalformedCheckpoint("the pickle makes an instance of something that is no type")
        name = kind.name if isinstance(kind, Global) else kind.type_name
        return self.placeholder(name, (*args, keywords) if keywords else args)


_SETS = frozenset({"builtins.set", "builtins.frozenset"})
