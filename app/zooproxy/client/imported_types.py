"""Objects of types that the program has imported itself: found, never imported.

Enums and named tuples, of which no code runs: a pickle does not tell them from any other type that is called with such
arguments; the type does. And mmengine's history of a logged value, which each checkpoint of its Runner holds and each
resumed run goes on with: it is made by its constructor, from numbers.
"""

from __future__ import annotations

import enum
import sys
from types import ModuleType
from typing import TYPE_CHECKING, Any, Final

from zooproxy.wire.plain import Inert

if TYPE_CHECKING:
    import torch
    from typing_extensions import TypeGuard

_HISTORY: Final = "mmengine.logging.history_buffer.HistoryBuffer"


def in_its_own_type(value: Inert) -> Any:
    """The Enum's member, the named tuple or the history that ``value`` stands for; else ``value`` itself."""
    if value.type_name == _HISTORY:
        return _history(_imported(_HISTORY), value)
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


def _history(kind: Any, value: Inert) -> Any:
    """``statistics_methods`` in its state, which is code, stays behind: the type has its own."""
    state = value.state if type(value.state) is dict else {}
    logged, counts, most = (state.get(name) for name in ("_log_history", "_count_history", "max_length"))
    if not isinstance(kind, type) or not _is_column(logged) or not _is_column(counts) or type(most) is not int:
        return value
    if not len(logged) == len(counts) <= most:
        return value
    try:
        return kind(logged.numpy(), counts.numpy(), most)
    except (TypeError, RuntimeError):  # numbers that numpy does not have, or that lie elsewhere
        return value


def _is_column(value: Any) -> TypeGuard[torch.Tensor]:
    import torch

    return isinstance(value, torch.Tensor) and value.dim() == 1


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
