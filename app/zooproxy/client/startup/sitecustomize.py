"""Found first on the path of every Python that ``zooproxy run`` starts; runs the site's own module of this name too."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import sys
from pathlib import Path

_HERE = Path(__file__).resolve().parent


def _run_the_sites_own() -> None:
    others = [folder for folder in sys.path if Path(folder or ".").resolve() != _HERE]
    spec = importlib.machinery.PathFinder.find_spec("sitecustomize", others)
    if spec is not None and spec.loader is not None:
        module = importlib.util.module_from_spec(spec)
        sys.modules["sitecustomize"] = module
        spec.loader.exec_module(module)


try:
    from zooproxy.client.imports import watch
except ImportError:  # a Python of another environment, which has no zooproxy: it runs as ever
    pass
else:
    watch()
_run_the_sites_own()
