"""Reads files with the standard library alone: ``python -I -S reading.py APP FOLDER`` (see test_pythons).

Prints JSON: what became of each file, and the modules that were loaded from elsewhere than the standard library.
"""

from __future__ import annotations

import importlib
import json
import os
import pkgutil
import sys
from pathlib import Path

PARSERS = ("names", "formats", "wire", "digest", "errors")


def main(app: str, folder: str) -> None:
    sys.path.insert(0, app)
    for parser in PARSERS:
        module = importlib.import_module(f"zooproxy.{parser}")
        for found in pkgutil.walk_packages(getattr(module, "__path__", ()), f"{module.__name__}."):
            importlib.import_module(found.name)
    outcomes = {path.name: outcome(path) for path in sorted(Path(folder).iterdir())}
    print(json.dumps({"outcomes": outcomes, "foreign": foreign(app)}))


def outcome(path: Path) -> object:
    """The tensor index as JSON, or the error; then what each rendition looks like."""
    from zooproxy.digest import Sha256
    from zooproxy.errors import ZooproxyError
    from zooproxy.formats.forms import Form, rendition, selected
    from zooproxy.formats.reader import read_tensor_index, with_digests
    from zooproxy.wire.tensors import tensor_index_from_json, tensor_index_to_json

    try:
        with path.open("rb") as file:
            index = with_digests(read_tensor_index(file, path.stat().st_size, Sha256("0" * 64)), file)
    except ZooproxyError as error:
        return [type(error).__name__, str(error)]
    encoded = json.loads(json.dumps(tensor_index_to_json(index)))
    assert tensor_index_to_json(tensor_index_from_json(encoded)) == encoded
    made = []
    for form in (Form("full"), Form("full", "pth")):
        try:
            made.append(rendition(selected(index, form, None), form).fingerprint)
        except ZooproxyError as error:
            made.append(type(error).__name__)
    return [encoded, made]


def foreign(app: str) -> list[str]:
    """Loaded modules that lie neither below ``app`` nor in the standard library."""
    homes = (app, str(Path(os.__file__).parent))
    files = {name: getattr(module, "__file__", None) for name, module in list(sys.modules.items())}
    return [name for name, file in files.items() if file and not file.startswith(homes) and name != "__main__"]


if __name__ == "__main__":
    main(*sys.argv[1:])
