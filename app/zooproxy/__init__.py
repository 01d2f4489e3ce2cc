"""zooproxy: a caching proxy between a cluster and the hosts that publish model weights.

Importing this package costs nothing; what a training job needs is loaded when it is first touched.
"""

from __future__ import annotations

import importlib

TYPE_CHECKING = False  # typing's own is True for checkers alone too, and importing it takes longer than all of this
if TYPE_CHECKING:
    from typing import Any

    from zooproxy.client.checkpoint import load_checkpoint
    from zooproxy.client.comparing import compare
    from zooproxy.client.hooks import install, uninstall
    from zooproxy.client.loader import load

__version__ = "0.1.0"
__all__ = ["__version__", "compare", "install", "load", "load_checkpoint", "uninstall"]

_HOMES = {
    "compare": "zooproxy.client.comparing",
    "install": "zooproxy.client.hooks",
    "load": "zooproxy.client.loader",
    "load_checkpoint": "zooproxy.client.checkpoint",
    "uninstall": "zooproxy.client.hooks",
}


def __getattr__(name: str) -> Any:
    home = _HOMES.get(name)
    if home is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(home), name)
