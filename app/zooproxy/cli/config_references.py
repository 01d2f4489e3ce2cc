"""The references that a training config names, read without running it.

An OpenMMLab config is Python (or YAML, or JSON): its string literals are looked at, whatever they are assigned to, and
so are those of the configs that its ``_base_`` names. What is built at run time (f-strings) is not seen.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from zooproxy.errors import SettingsError
from zooproxy.names.mentions import SUFFIXES
from zooproxy.names.reference import OBJECT_SCHEMES
from zooproxy.names.zoos import ZOO_OF_SCHEME

#: How published checkpoints end; a URL that ends otherwise is a data set or a page.
WEIGHTS: Final = (".pth", ".pt", ".pth.tar", ".pkl", ".ckpt", ".bin", ".safetensors", ".th")
_NAMES = re.compile(rf"(?:{'|'.join(map(re.escape, (*ZOO_OF_SCHEME, 'pavi')))})://\S+\Z")
_FILES = re.compile(rf"(?:https?|(?:[\w.-]+:)?(?:{'|'.join(OBJECT_SCHEMES)}))://\S+\Z")
_QUOTED = re.compile(r"""["']?([\w.+-]+(?::[\w.+-]+)?://[^\s"',\]}]+)""")
_MOST_FILES = 100


def references_in(config: Path) -> list[str]:
    """Every reference in ``config`` and its bases, each once, in the order in which they stand.

    Raises:
        SettingsError: a file cannot be read, or is no config.
    """
    found: dict[str, None] = {}
    waiting, seen = [config], set()
    while waiting:
        path = waiting.pop(0)
        if path.resolve() in seen:
            continue
        seen.add(path.resolve())
        if len(seen) > _MOST_FILES:
            raise SettingsError(f"{config} names more than {_MOST_FILES} configs as its bases")
        texts, bases = _read(path)
        found.update(dict.fromkeys(text for text in texts if is_weights(text)))
        waiting += bases
    return list(found)


def config_files(paths: Iterable[Path]) -> Iterator[Path]:
    """Files that are named, and those of folders by suffix; caches and hidden folders inside of these are left out.

    Raises:
        SettingsError: there is no such file or folder.
    """
    for path in paths:
        if path.is_dir():
            for inner in sorted(path.rglob("*")):
                below = inner.relative_to(path).parts
                hidden = any((part.startswith(".") and part != ".mim") or part == "__pycache__" for part in below)
                if inner.suffix.lower() in SUFFIXES and not hidden and inner.is_file():
                    yield inner
        elif path.exists():
            yield path
        else:
            raise SettingsError(f"there is no file or folder {path}")


def is_weights(text: str) -> bool:
    """Whether a string of a config names a checkpoint."""
    if _NAMES.match(text):
        return True
    return _FILES.match(text) is not None and text.partition("?")[0].lower().endswith(WEIGHTS)


def _read(path: Path) -> tuple[list[str], list[Path]]:
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"the config {path} cannot be read") from error
    if path.suffix != ".py":
        return _QUOTED.findall(text), []
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise SettingsError(f"the config {path} is no Python") from error
    return list(_strings(tree)), [path.parent / base for base in _bases(tree)]


def _strings(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def _bases(tree: ast.Module) -> Iterator[str]:
    """Relative paths only: ``mmdet::…`` names a config of an installed package, which need not be installed here."""
    for statement in tree.body:
        if isinstance(statement, ast.Assign) and any(_is_base(target) for target in statement.targets):
            yield from (text for text in _strings(statement.value) if "::" not in text and text.endswith(".py"))


def _is_base(target: ast.expr) -> bool:
    return isinstance(target, ast.Name) and target.id == "_base_"
