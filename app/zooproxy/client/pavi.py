"""SenseTime's pavi storage, spoken to with the pavi package where a site has it and no proxy is named."""

from __future__ import annotations

import importlib
import tempfile
from pathlib import Path
from typing import Any

from zooproxy.client.local import read_local
from zooproxy.client.storages import MapLocation


def load(path: str, map_location: MapLocation) -> Any:
    """The checkpoint at ``path`` (without ``pavi://``).

    Raises:
        ImportError: the pavi package is not installed.
        FileNotFoundError: pavi delivered nothing.
    """
    modelcloud, _ = _package()
    model = modelcloud.get(path)
    with tempfile.TemporaryDirectory() as folder:
        downloaded = Path(folder) / model.name
        model.download(str(downloaded))
        return read_local(downloaded, map_location)


def save(data: bytes, path: str) -> None:
    """Writes ``data`` at ``path`` (without ``pavi://``); its training model is made where there is none.

    Raises:
        ImportError: the pavi package is not installed.
    """
    modelcloud, exception = _package()
    folder, _, name = path.rpartition("/")
    root = modelcloud.Folder()
    try:
        model = modelcloud.get(folder)
    except exception.NodeNotFoundError:
        model = root.create_training_model(folder)
    with tempfile.TemporaryDirectory() as temporary:
        file = Path(temporary) / name
        file.write_bytes(data)
        model.create_file(str(file), name=name)


def _package() -> tuple[Any, Any]:
    try:
        pavi = importlib.import_module("pavi")
    except ImportError as error:
        raise ImportError("Please install pavi to load checkpoint from modelcloud.") from error
    return pavi.modelcloud, pavi.exception
