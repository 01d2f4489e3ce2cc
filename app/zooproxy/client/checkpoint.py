"""mmengine's ``load_checkpoint`` and ``load_state_dict``, through the proxy and without mmengine.

The contract is ``mmengine/runner/checkpoint.py`` of mmengine 0.10.7: arguments, results, reports and errors. One thing
is put right: a strict mismatch raises on every rank of a distributed job, not on rank 0 alone while the others go on.
"""

from __future__ import annotations

import logging
import re
import sys
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple, Optional

from zooproxy.client.loader import load
from zooproxy.client.log import Destination, write
from zooproxy.client.schemes import PREFIXES
from zooproxy.client.storages import MapLocation
from zooproxy.errors import MalformedReference

if TYPE_CHECKING:
    import torch

#: (pattern, replacement) pairs for ``re.sub`` on each key, one after the other.
ReviseKeys = Sequence[tuple[str, str]]

_STRIP_MODULE: ReviseKeys = ((r"^module\.", ""),)


def load_checkpoint(  # mmengine's signature
    model: torch.nn.Module,
    filename: str,
    map_location: MapLocation = None,
    strict: bool = False,
    logger: Destination = None,
    revise_keys: ReviseKeys = _STRIP_MODULE,
) -> Any:
    """Loads the checkpoint that ``filename`` names into ``model``; mmengine's function of this name.

    Args:
        model: a module; wrappers (data parallel, test-time augmentation) are looked through.
        filename: a reference with a scheme, such as ``torchvision://resnet50``.
        map_location: see ``zooproxy.load``; None leaves tensors on the CPU.
        strict: raise where keys or shapes do not match, instead of reporting it.
        logger: None prints; ``'silent'``, ``'current'``, a logger's name or a ``logging.Logger``.
        revise_keys: changes to the keys of the state dict, by default the removal of ``module.``.

    Returns:
        The checkpoint as loaded, keys unrevised.

    Raises:
        MalformedReference: ``filename`` has no scheme.
        RuntimeError: ``strict`` and a mismatch; or the checkpoint is no mapping.
        ZooproxyError: what ``zooproxy.load`` raises.
    """
    if "://" not in filename:
        raise MalformedReference(
            "a reference begins with a scheme, as in torchvision://resnet50; "
            "a local file needs no proxy: load it with torch.load or mmengine's load_checkpoint"
        )
    write(f"Loads checkpoint by {_backend(filename)} backend from path: {filename}", logger)
    checkpoint = load(filename, map_location)
    if not isinstance(checkpoint, dict):
        raise RuntimeError(f"No state_dict found in checkpoint file {filename}")
    state_dict = checkpoint.get("state_dict", checkpoint)
    if not isinstance(state_dict, dict):
        raise RuntimeError(f"The state_dict in checkpoint file {filename} is no mapping of names to tensors")
    load_state_dict(model, _revised(state_dict, revise_keys), strict, logger)
    return checkpoint


def _backend(filename: str) -> str:
    """What mmengine would log: its loader's name without ``load_from_``."""
    for prefix, loader in PREFIXES.items():
        if re.match(prefix, filename):
            return loader.__name__[10:]
    return "zooproxy"


def _revised(state_dict: Mapping[Any, Any], revise_keys: ReviseKeys) -> OrderedDict[Any, Any]:
    revised = OrderedDict(state_dict)
    for pattern, replacement in revise_keys:
        revised = OrderedDict((re.sub(pattern, replacement, key), value) for key, value in revised.items())
    revised._metadata = getattr(state_dict, "_metadata", OrderedDict())  # type: ignore[attr-defined]
    return revised


def load_state_dict(
    module: torch.nn.Module, state_dict: Mapping[str, Any], strict: bool = False, logger: Destination = None
) -> None:
    """Loads ``state_dict`` into ``module`` and reports on rank 0 what did not match; mmengine's function of this name.

    A missing ``num_batches_tracked`` is never reported.

    Raises:
        RuntimeError: ``strict`` and a mismatch; the message lists it.
    """
    loading = _Loading(getattr(state_dict, "_metadata", None), [], [], [])
    copied = OrderedDict(state_dict)  # modules take entries out of what they are given
    copied._metadata = loading.metadata  # type: ignore[attr-defined]
    loading.into(module, copied, "")
    report = loading.report()
    if report and strict:
        raise RuntimeError(report)
    if report and _rank() == 0:
        write(report, logger, logging.WARNING)


class _IncompatibleKeys(NamedTuple):
    """What hooks of a module are given, and may change in place."""

    missing_keys: list[str]
    unexpected_keys: list[str]


class _Loading(NamedTuple):
    """One walk through a module tree, and what did not fit so far."""

    metadata: Optional[Mapping[str, Any]]
    missing: list[str]
    unexpected: list[str]
    mismatches: list[str]

    def into(self, module: Any, state_dict: dict[str, Any], prefix: str) -> None:
        """Loads the entries under ``prefix`` into ``module`` and below; hooks of torch run as torch runs them."""
        module = _unwrapped(module)
        versions = {} if self.metadata is None else self.metadata.get(prefix[:-1], {})
        # Module._load_from_state_dict, not load_state_dict: this keeps the checkpoint's versions and its own report.
        module._load_from_state_dict(  # noqa: SLF001
            state_dict, prefix, versions, True, self.missing, self.unexpected, self.mismatches
        )
        for name, child in module._modules.items():  # noqa: SLF001
            if child is not None:
                below = f"{prefix}{name}."
                self.into(child, {key: value for key, value in state_dict.items() if key.startswith(below)}, below)
        for hook in getattr(module, "_load_state_dict_post_hooks", {}).values():
            if hook(module, _IncompatibleKeys(self.missing, self.unexpected)) is not None:
                raise AssertionError("a load_state_dict post hook returned a value; it has to change the keys in place")

    def report(self) -> str:
        """The report as mmengine words it; empty where everything matched."""
        missing = [key for key in self.missing if "num_batches_tracked" not in key]
        lines = list(self.mismatches)
        if self.unexpected:
            lines.append(f"unexpected key in source state_dict: {', '.join(self.unexpected)}\n")
        if missing:
            lines.append(f"missing keys in source state_dict: {', '.join(missing)}\n")
        return "\n".join(["The model and loaded state dict do not match exactly\n", *lines]) if lines else ""


def _unwrapped(module: Any) -> Any:
    """What a wrapper wraps: torch's, and where mmengine is in use its registered wrappers and TTA models too."""
    from torch.nn.parallel import DataParallel, DistributedDataParallel

    mmengine_model = sys.modules.get("mmengine.model")
    if mmengine_model is not None:
        wrapped = mmengine_model.is_model_wrapper(module) or isinstance(module, mmengine_model.BaseTTAModel)
    else:
        wrapped = isinstance(module, (DataParallel, DistributedDataParallel))
    return module.module if wrapped else module


def _rank() -> int:
    import torch.distributed

    if torch.distributed.is_available() and torch.distributed.is_initialized():
        return int(torch.distributed.get_rank())
    return 0
