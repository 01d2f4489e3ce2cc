"""The state dict inside a pickled module: names, values and order as ``Module.state_dict`` gives them
(torch/nn/modules/module.py, ``_save_to_state_dict``), from state that needs no class.

Hooks and a class's own ``__getstate__`` do not run, and versions (``_metadata``) are in the classes alone. A submodule
whose state dict its class makes in a way of its own (torch's quantised layers do) stands whole under its own name, as
an inert object: nothing of it is left out unseen.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any, Optional

from zooproxy.errors import LimitExceeded
from zooproxy.formats import limits
from zooproxy.formats.pickle_values import Placeholder, SetNode, TensorNode

_SCRIPTED = "__torch__."
_QUANTISED = (
    "torch.ao.nn.quantized.",
    "torch.ao.nn.intrinsic.quantized.",
    "torch.nn.quantized.",
    "torch.nn.intrinsic.q",
)


def module_state_dict(root: Any) -> Optional[OrderedDict[str, Any]]:
    """The state dict of a module, pickled by ``torch.save`` or ``torch.jit.save``; None where ``root`` is none.

    Raises:
        LimitExceeded: its modules nest deeper than ``limits.MODULE_DEPTH``, or have too many tensors.
    """
    collect = _collector(root)
    if collect is None:
        return None
    found: OrderedDict[str, Any] = OrderedDict()
    _Walk(found).into(root, "", 0)
    return found


#: Tensors, and what may be modules, by name.
_Parts = tuple[list[tuple[str, Any]], list[tuple[str, Any]]]


class _Walk:
    def __init__(self, found: OrderedDict[str, Any]) -> None:
        self._found = found
        self._visits = 0

    def into(self, module: Any, prefix: str, depth: int) -> bool:
        """Collects from ``module``; False where it is none."""
        collect = _collector(module)
        if collect is None:
            return False
        self._visits += 1
        if depth > limits.MODULE_DEPTH or self._visits > limits.TENSORS:
            raise LimitExceeded(
                f"the modules nest deeper than {limits.MODULE_DEPTH} levels, or are more than {limits.TENSORS:,}"
            )
        tensors, children = collect(module.state)
        self._found.update((prefix + name, value) for name, value in tensors)
        if len(self._found) > limits.TENSORS:
            raise LimitExceeded(f"the checkpoint has more than {limits.TENSORS:,} tensors")
        for name, child in children:
            if not self.into(child, f"{prefix}{name}.", depth + 1) and collect is _eager:
                self._found[f"{prefix}{name}"] = child
        return True


def _collector(module: Any) -> Any:
    if type(module) is not Placeholder or type(module.state) is not dict:
        return None
    if module.type_name.startswith(_SCRIPTED):
        return _scripted
    if module.type_name.startswith(_QUANTISED):
        return None
    parts = (module.state.get(name) for name in ("_parameters", "_buffers", "_modules"))
    return _eager if all(isinstance(part, dict) for part in parts) else None


def _eager(state: dict[Any, Any]) -> _Parts:
    skipped = state.get("_non_persistent_buffers_set")
    transient = skipped.members if type(skipped) is SetNode else ()
    buffers = [(name, value) for name, value in _named(state["_buffers"]) if name not in transient]
    return _named(state["_parameters"]) + buffers, _named(state["_modules"])


def _named(values: dict[Any, Any]) -> list[tuple[str, Any]]:
    return [(name, value) for name, value in values.items() if type(name) is str and value is not None]


def _scripted(state: dict[Any, Any]) -> _Parts:
    """A scripted module's attributes: its tensors are its parameters and buffers."""
    named = _named(state)
    return [pair for pair in named if type(pair[1]) is TensorNode], named
