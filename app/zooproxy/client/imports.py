"""Installs the hooks when a program imports what they hook, and not before: a program without torch stays without."""

from __future__ import annotations

import importlib.abc
import importlib.util
import logging
import os
import sys
from collections.abc import Mapping, Sequence
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import ModuleType
from typing import Any, Optional

TARGETS = ("mmengine.runner", "mmcv.runner", "torch.hub")


def watch(targets: Sequence[str] = TARGETS) -> None:
    """From now on, each of ``targets`` is hooked as soon as it has been imported."""
    sys.meta_path.insert(0, _Finder(set(targets)))


def environment_with_hooks(environ: Mapping[str, str] = os.environ) -> dict[str, str]:
    """``environ`` in which every Python, and every Python that it starts, watches its imports."""
    startup = str(Path(__file__).parent / "startup")
    path = [entry for entry in environ.get("PYTHONPATH", "").split(os.pathsep) if entry and entry != startup]
    return {**environ, "PYTHONPATH": os.pathsep.join([startup, *path])}


class _Finder(importlib.abc.MetaPathFinder):
    def __init__(self, waiting: set[str]) -> None:
        self._waiting = waiting

    def find_spec(
        self,
        fullname: str,
        path: Optional[Sequence[str]],  # noqa: ARG002  # the base class's signature
        target: Optional[ModuleType] = None,  # noqa: ARG002
    ) -> Optional[ModuleSpec]:
        if fullname not in self._waiting:
            return None
        self._waiting.discard(fullname)  # and so the search below does not come back here
        spec = importlib.util.find_spec(fullname)
        if spec is not None and spec.loader is not None:
            spec.loader = _Then(spec.loader)
        return spec


class _Then(importlib.abc.Loader):
    """Loads as ``loader`` does, and hooks the module once it is there."""

    def __init__(self, loader: Any) -> None:
        self._loader = loader

    def create_module(self, spec: ModuleSpec) -> Optional[ModuleType]:
        created: Optional[ModuleType] = self._loader.create_module(spec)
        return created

    def exec_module(self, module: ModuleType) -> None:
        module.__loader__ = self._loader
        if module.__spec__ is not None:
            module.__spec__.loader = self._loader
        self._loader.exec_module(module)
        from zooproxy.client.hooks import install

        try:
            install([module.__name__])
        except ImportError as error:
            logging.getLogger("zooproxy").warning("%s is not hooked: %s", module.__name__, error)
