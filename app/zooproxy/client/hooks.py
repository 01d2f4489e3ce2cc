"""``zooproxy.install``: puts the proxy behind the checkpoint registries of mmengine and of mmcv 1.x."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from typing import Any, Final, Optional

from zooproxy.client import checkpoint
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


def install(registries: Sequence[str] = REGISTRIES) -> list[str]:
    """Makes every scheme of each registry that can be imported load through the proxy; local files are left alone.

    Doing it twice changes nothing. The proxy's address is read at each load, not here.

    Returns:
        The modules whose registry was changed.

    Raises:
        ImportError: no registry can be imported; the message says why for each.
    """
    reasons = {name: _install_into(name) for name in registries}
    installed = [name for name, reason in reasons.items() if reason is None]
    if not installed:
        told = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
        raise ImportError(
            "neither mmengine nor mmcv 1.x can be imported, so there is no registry to install into; "
            f"zooproxy.load_checkpoint(model, ref) needs neither. ({told})"
        )
    return installed


def _install_into(name: str) -> Optional[str]:
    """None where it was done, else the reason why not."""
    try:
        registry: Any = importlib.import_module(name).CheckpointLoader
    except (ImportError, AttributeError, RuntimeError, OSError) as error:  # a torchvision of another torch raises any
        return str(error)
    # With force: a clash without it raises, and leaves the registry half filled and unsorted.
    for prefix, loader in PREFIXES.items():
        registry.register_scheme(prefix, loader, force=True)
    return None
