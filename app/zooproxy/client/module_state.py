"""State dicts into modules and out of them, by mmengine's rules (``mmengine/runner/checkpoint.py``, 0.10.7)."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any, Callable, NamedTuple, Optional

#: (pattern, replacement) pairs for ``re.sub`` on each key, one after the other.
ReviseKeys = Sequence[tuple[str, str]]

Unwrap = Callable[[Any], Any]


class IncompatibleKeys(NamedTuple):
    """What hooks of a module are given, and may change in place."""

    missing_keys: list[str]
    unexpected_keys: list[str]

    def __repr__(self) -> str:
        if not self.missing_keys and not self.unexpected_keys:
            return "<All keys matched successfully>"
        return f"IncompatibleKeys(missing_keys={self.missing_keys!r}, unexpected_keys={self.unexpected_keys!r})"


def load_into(module: Any, state_dict: Mapping[str, Any], unwrap: Unwrap) -> str:
    """Loads ``state_dict`` into ``module`` and answers mmengine's report, empty where everything matched."""
    loading = _Loading(unwrap, getattr(state_dict, "_metadata", None), [], [], [])
    copied = OrderedDict(state_dict)  # modules take entries out of what they are given
    copied._metadata = loading.metadata  # type: ignore[attr-defined]
    loading.into(module, copied, "")
    return loading.report()


class _Loading(NamedTuple):
    """One walk through a module tree, and what did not fit so far."""

    unwrap: Unwrap
    metadata: Optional[Mapping[str, Any]]
    missing: list[str]
    unexpected: list[str]
    mismatches: list[str]

    def into(self, module: Any, state_dict: dict[str, Any], prefix: str) -> None:
        """Loads the entries under ``prefix`` into ``module`` and below; hooks of torch run as torch runs them."""
        module = self.unwrap(module)
        versions = {} if self.metadata is None else self.metadata.get(prefix[:-1], {})
        if _is_on_meta(module):
            versions = {**versions, "assign_to_params_buffers": True}  # load_state_dict(assign=True) of torch >= 2.1
        # Module._load_from_state_dict, not load_state_dict: this keeps the checkpoint's versions and its own report.
        module._load_from_state_dict(  # noqa: SLF001
            state_dict, prefix, versions, True, self.missing, self.unexpected, self.mismatches
        )
        for name, child in module._modules.items():  # noqa: SLF001
            if child is not None:
                below = f"{prefix}{name}."
                self.into(child, {key: value for key, value in state_dict.items() if key.startswith(below)}, below)
        for hook in getattr(module, "_load_state_dict_post_hooks", {}).values():
            if hook(module, IncompatibleKeys(self.missing, self.unexpected)) is not None:
                raise AssertionError("a load_state_dict post hook returned a value; it has to change the keys in place")

    def report(self) -> str:
        missing = [key for key in self.missing if "num_batches_tracked" not in key]
        lines = list(self.mismatches)
        if self.unexpected:
            lines.append(f"unexpected key in source state_dict: {', '.join(self.unexpected)}\n")
        if missing:
            lines.append(f"missing keys in source state_dict: {', '.join(missing)}\n")
        return "\n".join(["The model and loaded state dict do not match exactly\n", *lines]) if lines else ""


def _is_on_meta(module: Any) -> bool:
    """Whether the module's own parameters have no memory yet, so that copying into them would lose the values."""
    own = [*module._parameters.values(), *module._buffers.values()]  # noqa: SLF001
    return any(tensor is not None and tensor.device.type == "meta" for tensor in own)


def revised(state_dict: Mapping[Any, Any], revise_keys: ReviseKeys) -> OrderedDict[Any, Any]:
    """``state_dict`` with its keys changed; ``_metadata`` stays as it was."""
    changed = OrderedDict(state_dict)
    for pattern, replacement in revise_keys:
        changed = OrderedDict((re.sub(pattern, replacement, key), value) for key, value in changed.items())
    changed._metadata = getattr(state_dict, "_metadata", OrderedDict())  # type: ignore[attr-defined]
    return changed


def on_cpu(value: Any) -> Any:
    """``value`` with everything that has a ``cpu`` method there; containers keep their types."""
    if isinstance(value, dict):
        moved = type(value)()
        for key, item in value.items():
            moved[key] = on_cpu(item)
        return moved
    if isinstance(value, tuple) and hasattr(value, "_fields"):
        return type(value)(*map(on_cpu, value))
    if isinstance(value, (tuple, list)):
        return type(value)(map(on_cpu, value))
    return value.cpu() if hasattr(value, "cpu") else value
