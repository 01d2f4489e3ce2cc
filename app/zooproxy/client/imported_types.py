"""Enums and named tuples of types that the program has imported itself: found, never imported; none of their code runs.

A pickle does not tell an Enum or a named tuple from any other type that is called with such arguments; the type does.
"""

from __future__ import annotations

import enum
import sys
from types import ModuleType
from typing import Any

from zooproxy.wire.plain import Inert


def in_its_own_type(value: Inert) -> Any:
    """The Enum's member or the named tuple that ``value`` stands for; else ``value`` itself."""
    if value.state is not None or value.items is not None:
        return value
    if value.args is None:
        owner, _, name = value.type_name.rpartition(".")
        kind = _imported(owner)
        return kind._member_map_.get(name, value) if isinstance(kind, enum.EnumMeta) else value
    kind = _imported(value.type_name)
    if isinstance(kind, enum.EnumMeta):
        return _member(kind, value)
    fields = getattr(kind, "_fields", None) if isinstance(kind, type) and issubclass(kind, tuple) else None
    if type(fields) is tuple and type(value.args) is tuple and len(fields) == len(value.args):
        return tuple.__new__(kind, value.args)
    return value


def _member(kind: enum.EnumMeta, value: Inert) -> Any:
    try:
        (given,) = value.args
        return kind._value2member_map_.get(given, value)
    except (TypeError, ValueError):  # another number of arguments, or one that cannot be looked up
        return value


def _imported(dotted: str) -> Any:
    """What the program has under that name, looked up without attribute hooks; None where it has nothing."""
    parts = dotted.split(".")
    for length in range(len(parts) - 1, 0, -1):
        module = sys.modules.get(".".join(parts[:length]))
        if isinstance(module, ModuleType):
            found: Any = module
            for part in parts[length:]:
                found = vars(found).get(part) if isinstance(found, (ModuleType, type)) else None
            return found
    return None
