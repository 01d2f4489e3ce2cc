"""``zooproxy.install``: puts the proxy behind the checkpoint registries of mmengine and mmcv 1.x, and behind torch.hub.

What was there before is kept on what was changed, and ``uninstall`` puts it back. Both may be called any number of
times. The proxy's address is read at each load, not here.
"""

from __future__ import annotations

import importlib
import logging
import sys
from collections.abc import Mapping, Sequence
from types import ModuleType
from typing import Any, Final, Optional

from zooproxy.client import checkpoint, hub
from zooproxy.names.zoos import MMCLS, OPENMMLAB, TORCHVISION, ZOO_OF_SCHEME

#: Prefixes exactly as mmengine 0.10.7 and mmcv 1.x register them (``runner/checkpoint.py`` in both), the regular
#: expressions included: one that differs would stand beside the original, not replace it. Bare ``s3://`` is what mmcv
#: before 1.3.9 has. Never ``''``: local files stay with the registry's owner. The zoos that neither knows come last.
PREFIXES: Final[Mapping[str, checkpoint.Loader]] = {
    "http://": checkpoint.load_from_http,
    "https://": checkpoint.load_from_http,
    "pavi://": checkpoint.load_from_pavi,
    "s3://": checkpoint.load_from_ceph,
    r"(\S+\:)?s3://": checkpoint.load_from_ceph,
    r"(\S+\:)?petrel://": checkpoint.load_from_ceph,
    "modelzoo://": checkpoint.load_from_torchvision,
    "torchvision://": checkpoint.load_from_torchvision,
    "open-mmlab://": checkpoint.load_from_openmmlab,
    "openmmlab://": checkpoint.load_from_openmmlab,
    "mmcls://": checkpoint.load_from_mmcls,
    **{
        f"{scheme}://": checkpoint.load_from_zoo
        for scheme, zoo in ZOO_OF_SCHEME.items()
        if zoo not in (TORCHVISION, OPENMMLAB, MMCLS)
    },
}

#: Modules that hold a ``CheckpointLoader``: mmengine's, and that of mmcv 1.x (mmcv 2 has none).
REGISTRIES: Final = ("mmengine.runner", "mmcv.runner")
TORCH_HUB: Final = "torch.hub"

_KEPT: Final = "_before_zooproxy"


def install(targets: Sequence[str] = (*REGISTRIES, TORCH_HUB)) -> list[str]:
    """Makes every scheme of each registry, and the weights that torch.hub downloads, come through the proxy.

    Local files are left alone, and so is every URL of torch.hub that names no weights.

    Returns:
        The modules that were changed, of those that can be imported.

    Raises:
        ImportError: none can be imported; the message says why for each.
    """
    reasons = {name: _install_into(name) for name in targets}
    installed = [name for name, reason in reasons.items() if reason is None]
    if not installed:
        told = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
        raise ImportError(
            "neither mmengine nor mmcv 1.x can be imported, so there is no registry to install into; "
            f"zooproxy.load_checkpoint(model, ref) needs neither. ({told})"
        )
    return installed


def uninstall(targets: Sequence[str] = (*REGISTRIES, TORCH_HUB)) -> list[str]:
    """Puts back what ``install`` changed; answers the modules in which there was something to put back."""
    return [name for name in targets if name in sys.modules and _restore(sys.modules[name])]


def _install_into(name: str) -> Optional[str]:
    """None where it was done, else the reason why not."""
    try:
        module = importlib.import_module(name)
        if name == TORCH_HUB:
            _replace_everywhere({hub.original(stand_in): stand_in for stand_in in hub.STAND_INS})
            return None
        registry: Any = module.CheckpointLoader
    except (ImportError, AttributeError, RuntimeError, OSError) as error:  # a torchvision of another torch raises any
        return str(error)
    kept = registry.__dict__.get(_KEPT, {})
    before = {prefix: registry._schemes.get(prefix) for prefix in PREFIXES}  # noqa: SLF001  # nothing public tells
    setattr(registry, _KEPT, {**before, **kept})
    # With force: a clash without it raises, and leaves the registry half filled and unsorted.
    for prefix, loader in PREFIXES.items():
        registry.register_scheme(prefix, loader, force=True)
    return None


def _restore(module: ModuleType) -> bool:
    if module.__name__ == TORCH_HUB:
        return _replace_everywhere({stand_in: hub.original(stand_in) for stand_in in hub.STAND_INS})
    registry: Any = getattr(module, "CheckpointLoader", None)
    kept: Optional[dict[str, Any]] = getattr(registry, _KEPT, None)
    if kept is None:
        return False
    # A scheme that somebody else has registered since is theirs.
    ours = {prefix: before for prefix, before in kept.items() if registry._schemes.get(prefix) is PREFIXES[prefix]}  # noqa: SLF001
    schemes = {prefix: loader for prefix, loader in registry._schemes.items() if prefix not in ours}  # noqa: SLF001
    registry._schemes = type(registry._schemes)(schemes)  # noqa: SLF001
    for prefix, before in ours.items():
        if before is not None:
            registry.register_scheme(prefix, before, force=True)
    delattr(registry, _KEPT)
    return True


def _replace_everywhere(replacements: Mapping[Any, Any]) -> bool:
    """Replaces functions by identity in every module that holds them: ``from torch.hub import …`` copied them there.

    Keys that are already replaced, and functions that were never replaced (None), are left out.
    """
    wanted = {id(old): new for old, new in replacements.items() if new is not None and old is not new}
    changed = False
    for module in list(sys.modules.values()):
        names = getattr(module, "__dict__", {})
        if module is hub or not isinstance(names, dict):
            continue
        for name, value in list(names.items()):
            if id(value) in wanted:
                names[name] = wanted[id(value)]
                changed = True
    logging.getLogger("zooproxy").debug("torch.hub %s", "changed" if changed else "left as it is")
    return changed
