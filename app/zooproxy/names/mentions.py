"""Checkpoint references in OpenMMLab configs: Python by its syntax tree, never executed; YAML; JSON.

Mentioned is what stands under a key or a variable that takes a checkpoint (``load_from``, ``pretrained``, the
``checkpoint`` of an ``init_cfg``, …), and anywhere else any text with a zoo's scheme, or a URL of a checkpoint's file.
"""

from __future__ import annotations

import ast
import json
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final, Optional
from urllib.parse import urlsplit

from zooproxy.errors import UnreadableConfig
from zooproxy.names.reference import OBJECT_SCHEMES
from zooproxy.names.zoos import ZOO_OF_SCHEME

MAX_CONFIG_BYTES: Final = 4 * 2**20
#: Keys and variables whose text is a checkpoint, whatever it looks like.
KEYS: Final = frozenset(
    {"load_from", "resume_from", "pretrained", "checkpoint", "checkpoint_file", "checkpoint_path", "teacher_ckpt"}
)
SUFFIXES: Final = (".py", ".yml", ".yaml", ".json")
_EXTENSIONS: Final = (".pth", ".pt", ".pkl", ".ckpt", ".bin", ".safetensors", ".pth.tar", ".caffemodel")
_SCHEME = re.compile(r"(?:[^/\s:]*:)?(?P<scheme>[a-z][a-z0-9+.-]*)://\S", re.IGNORECASE)


@dataclass(frozen=True)
class Mention:
    """A text that stands for a checkpoint; ``line`` counts from 1. Without a scheme it is a path on some machine."""

    text: str
    line: int

    @property
    def is_path(self) -> bool:
        return "://" not in self.text


def mentions(name: str, content: bytes) -> list[Mention]:
    """What the config of that file name mentions, in the order of its lines.

    Raises:
        UnreadableConfig: too long, not UTF-8, or not what its suffix says.
    """
    if len(content) > MAX_CONFIG_BYTES:
        raise UnreadableConfig(f"it has more than {MAX_CONFIG_BYTES:,} bytes")
    try:
        text = content.decode("utf-8-sig")
        found = {".py": _of_python, ".json": _of_json}.get(name[name.rfind(".") :].lower(), _of_yaml)(text)
        return sorted(set(found), key=lambda mention: (mention.line, mention.text))
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise UnreadableConfig("it is not what its name's ending says, or too deeply nested") from error


def _of_python(text: str) -> Iterator[Mention]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of odd escapes and the like: the config's own business
        tree = ast.parse(text)
    prose = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        for key, value in _named(node):
            said = _said(value)
            if said is not None and key in KEYS and _is_file_like(said):
                yield Mention(said, value.lineno)
        if isinstance(node, (ast.Constant, ast.BinOp)) and id(node) not in prose:
            said = _said(node)
            if said is not None and is_reference(said):
                yield Mention(said, node.lineno)


def _named(node: ast.AST) -> Iterator[tuple[Optional[str], ast.expr]]:
    """Values by the keyword, the literal key, the variable or the attribute that they are given to."""
    if isinstance(node, ast.keyword):
        yield node.arg, node.value
    elif isinstance(node, ast.Dict):
        for key, value in zip(node.keys, node.values):  # of one length, by the grammar; Python 3.9
            yield (_said(key) if key is not None else None), value
    elif isinstance(node, ast.Assign):
        for target in node.targets:
            yield _target(target), node.value


def _target(node: ast.expr) -> Optional[str]:
    if isinstance(node, ast.Subscript):
        return _said(node.slice)
    return node.id if isinstance(node, ast.Name) else None


def _said(node: ast.AST) -> Optional[str]:
    """Literal text, put together with ``+`` or not; None for everything else."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else None
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.Add):
        left, right = _said(node.left), _said(node.right)
        return None if left is None or right is None else left + right
    return None


def _of_json(text: str) -> Iterator[Mention]:
    def walk(value: Any, key: Optional[str]) -> Iterator[str]:
        if isinstance(value, dict):
            for name, inner in value.items():
                yield from walk(inner, name)
        elif isinstance(value, list):
            for inner in value:
                yield from walk(inner, key)
        elif isinstance(value, str) and _is_mentioned(value, key):
            yield value

    lines = text.splitlines()
    for said in walk(json.loads(text), None):
        spellings = (json.dumps(said), json.dumps(said, ensure_ascii=False), json.dumps(said).replace("/", "\\/"))
        yield Mention(said, next((at for at, line in enumerate(lines, 1) if any(s in line for s in spellings)), 1))


def _of_yaml(text: str) -> Iterator[Mention]:
    try:
        import yaml  # type: ignore[import-untyped]  # its stubs are a package of their own
    except ModuleNotFoundError as error:
        raise UnreadableConfig("YAML is read with PyYAML: pip install 'zooproxy[server]'") from error
    try:
        nodes = list(yaml.compose_all(text, Loader=yaml.SafeLoader))
    except yaml.YAMLError as error:
        raise UnreadableConfig("it is no YAML") from error
    seen: set[int] = set()

    def walk(node: Any, key: Optional[str]) -> Iterator[Mention]:
        if isinstance(node, yaml.ScalarNode):
            if node.tag == "tag:yaml.org,2002:str" and _is_mentioned(node.value, key):
                yield Mention(node.value, node.start_mark.line + 1)
        elif node is not None and id(node) not in seen:  # an anchor may stand in many places, its own inside included
            seen.add(id(node))
            for inner in node.value:
                if isinstance(node, yaml.MappingNode):
                    yield from walk(inner[1], inner[0].value if isinstance(inner[0], yaml.ScalarNode) else None)
                else:
                    yield from walk(inner, key)

    for node in nodes:
        yield from walk(node, None)


def _is_mentioned(text: str, key: Optional[str]) -> bool:
    return is_reference(text) or (key in KEYS and _is_file_like(text))


def is_reference(text: str) -> bool:
    """Whether text is a reference by its looks: a zoo's scheme, or a URL or an object with a checkpoint's extension."""
    match = _SCHEME.match(text)
    scheme = match["scheme"].lower() if match and "\n" not in text else None
    if scheme in ("http", "https", *OBJECT_SCHEMES):
        return _path(text).endswith(_EXTENSIONS)
    return scheme is not None and (scheme in ZOO_OF_SCHEME or scheme == "pavi")


def _is_file_like(text: str) -> bool:
    """What a checkpoint's key may hold besides a reference: an unknown scheme, or a path to a file."""
    return bool(text.strip()) and ("://" in text or text.lower().endswith(_EXTENSIONS))


def _path(url: str) -> str:
    try:
        return urlsplit(url).path.lower()
    except ValueError:
        return ""
