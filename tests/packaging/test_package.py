"""Rules about the package as a whole."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import zooproxy
from zooproxy.serving.settings import Settings

ROOT = Path(__file__).parents[2]
CLIENTS_ROOMS = ("cli", "client", "names", "formats", "wire")
PY39 = [
    *sorted(file for room in CLIENTS_ROOMS for file in (ROOT / "app" / "zooproxy" / room).rglob("*.py")),
    *(ROOT / "app" / "zooproxy" / name for name in ("__init__.py", "digest.py", "errors.py", "mmengine.py")),
]


def python(script: str) -> str:
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout


def test_the_exported_names_are_these() -> None:
    assert zooproxy.__all__ == ["__version__", "compare", "install", "load", "load_checkpoint", "uninstall"]
    assert all(getattr(zooproxy, name) for name in zooproxy.__all__)
    with pytest.raises(AttributeError, match="has no attribute 'lod'"):
        zooproxy.lod  # noqa: B018  # looked up, that is the test


def test_importing_the_package_loads_nothing_of_it() -> None:
    loaded = python("import sys, zooproxy; print(*(name for name in sys.modules if name.startswith('zooproxy.')))")
    assert loaded.split() == []


def test_the_server_imports_no_torch_and_no_client() -> None:
    loaded = python("import sys, zooproxy.serving.server; print(*sys.modules)").split()
    assert "zooproxy.serving.wiring" in loaded
    assert not {name for name in loaded if name.partition(".")[0] in {"torch", "numpy", "mmengine"}}
    assert not {name for name in loaded if name.startswith("zooproxy.client")}


@pytest.mark.parametrize("file", PY39, ids=lambda file: str(file.relative_to(ROOT)))
def test_what_the_client_needs_is_python_3_9(file: Path) -> None:
    tree = ast.parse(file.read_text(), feature_version=(3, 9))
    imported = {name.name for node in tree.body if isinstance(node, ast.ImportFrom) for name in node.names}
    assert len(tree.body) == 1 or "annotations" in imported  # a docstring alone annotates nothing


def test_readme_tells_of_known_settings_what_they_default_to() -> None:
    rows = re.findall(r"^\| (`(?!ZOOPROXY).+?) \| (`.+?) \|", (ROOT / "README.md").read_text(), re.MULTILINE)
    told = {
        name: default
        for names, defaults in rows
        for name, default in zip(re.findall("`([A-Z_0-9]+)`", names), re.findall("`(.+?)`", defaults), strict=True)
    }
    assert len(told) > 5
    for name, default in told.items():
        assert default == written(Settings.model_fields[name.lower()].default), name


def written(default: object) -> str:
    """As an operator would write it."""
    if isinstance(default, bool):
        return str(default).lower()
    return f"{default:g}" if isinstance(default, float) else str(default)
