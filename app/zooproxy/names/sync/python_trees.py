"""torchvision's weights as its source says them: syntax trees, nothing imported or executed."""

from __future__ import annotations

import ast
import math
import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, Optional

from zooproxy.errors import UnreadablePackage

_PAPER = re.compile(r"`(?P<title>[^`<]+?)\s*<(?P<url>https?://[^>\s]+)>`_")
_MAX_SPREADS: Final = 8  # dictionaries spread into one another


@dataclass(frozen=True)
class Weights:
    """One member of a weights class: its URL and the literal values of its ``meta``."""

    url: str
    meta: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class WeightsClass:
    """A ``WeightsEnum``: each member by name, and each alias' member by name."""

    name: str
    members: Mapping[str, Weights] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        """mmengine's key for this class."""
        return self.name.replace("_Weights", "").lower()

    @property
    def default(self) -> Optional[str]:
        """The member that ``DEFAULT`` is; None where there is none, as for a class without weights."""
        member = self.aliases.get("DEFAULT", "DEFAULT")
        return member if member in self.members else None


@dataclass(frozen=True)
class Builder:
    """A function under ``@register_model()``: its registered name, its module's path, what its ``weights`` are."""

    name: str
    path: str
    annotated: tuple[str, ...]
    paper_title: Optional[str]
    paper_url: Optional[str]


@dataclass(frozen=True)
class Module:
    classes: tuple[WeightsClass, ...]
    builders: tuple[Builder, ...]


def read_module(path: str, text: str) -> Module:
    """The weights classes and registered builders of one module.

    Raises:
        UnreadablePackage: no Python, or written in a way that is not understood.
    """
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise UnreadablePackage(f"{path} is not Python that can be parsed") from error
    return Module(tuple(_weights_classes(path, tree)), tuple(_builders(path, tree)))


def _weights_classes(path: str, module: ast.Module) -> Iterator[WeightsClass]:
    shared = dict(_shared_values(module))
    for node in module.body:
        if isinstance(node, ast.ClassDef) and any(_name(base) == "WeightsEnum" for base in node.bases):
            yield _weights_class(path, node, shared)


def _shared_values(module: ast.Module) -> Iterator[tuple[str, ast.expr]]:
    for node in module.body:
        if isinstance(node, ast.Assign) and len(node.targets) == 1 and isinstance(node.targets[0], ast.Name):
            yield node.targets[0].id, node.value


def _weights_class(path: str, node: ast.ClassDef, shared: Mapping[str, ast.expr]) -> WeightsClass:
    members: dict[str, Weights] = {}
    aliases: dict[str, str] = {}
    for statement in node.body:
        if not isinstance(statement, ast.Assign) or not isinstance(statement.targets[0], ast.Name):
            continue
        member, value = statement.targets[0].id, statement.value
        if isinstance(value, ast.Name):
            aliases[member] = aliases.get(value.id, value.id)
        elif isinstance(value, ast.Call) and _name(value.func) == "Weights":
            members[member] = Weights(_url(value, f"{path}: {node.name}.{member}"), _meta(value, shared))
    return WeightsClass(node.name, members, aliases)


def _url(call: ast.Call, where: str) -> str:
    """The first argument of ``Weights(url, transforms, meta)``, given by position or by name."""
    given = [keyword.value for keyword in call.keywords if keyword.arg == "url"] or call.args[:1]
    if given and isinstance(given[0], ast.Constant) and isinstance(given[0].value, str):
        return given[0].value
    raise UnreadablePackage(f"{where} does not give its URL as plain text")


def _meta(call: ast.Call, shared: Mapping[str, ast.expr]) -> dict[str, Any]:
    given = [keyword.value for keyword in call.keywords if keyword.arg == "meta"] or call.args[2:3]
    return _members(given[0], shared, _MAX_SPREADS) if given else {}


def _members(node: ast.expr, shared: Mapping[str, ast.expr], depth: int) -> dict[str, Any]:
    """The entries of a dictionary whose keys and values are literals, ``**`` of a module's own names included."""
    if isinstance(node, ast.Name):
        node = shared.get(node.id, node)
    if not isinstance(node, ast.Dict) or depth == 0:
        return {}
    members: dict[str, Any] = {}
    for key, value in zip(node.keys, node.values):  # of one length, by the grammar; Python 3.9
        if key is None:
            members.update(_members(value, shared, depth - 1))
        elif isinstance(key, ast.Constant) and isinstance(key.value, str):
            found = _literal(value, shared, depth)
            if found is not None:
                members[key.value] = found
    return members


def _literal(node: ast.expr, shared: Mapping[str, ast.expr], depth: int) -> Any:
    """Text, a number (NaN where it is none) or a dictionary of them; None for anything else."""
    if isinstance(node, ast.Constant) and isinstance(node.value, (str, int, float)):
        return node.value
    if isinstance(node, ast.Call) and _name(node.func) == "float":
        return math.nan
    return _members(node, shared, depth - 1) if isinstance(node, ast.Dict) else None


def _builders(path: str, module: ast.Module) -> Iterator[Builder]:
    for node in module.body:
        if isinstance(node, ast.FunctionDef):
            for decorator in node.decorator_list:
                if isinstance(decorator, ast.Call) and _name(decorator.func) == "register_model":
                    paper = _PAPER.search(" ".join((ast.get_docstring(node) or "").split()))
                    title, url = (paper["title"], paper["url"]) if paper else (None, None)
                    name = _registered_name(decorator, node)
                    yield Builder(name, path, tuple(_annotated_weights(node)), title, url)


def _registered_name(decorator: ast.Call, function: ast.FunctionDef) -> str:
    given = decorator.args[:1] or [keyword.value for keyword in decorator.keywords if keyword.arg == "name"]
    if given and isinstance(given[0], ast.Constant) and isinstance(given[0].value, str):
        return given[0].value
    return function.name


def _annotated_weights(function: ast.FunctionDef) -> Iterable[str]:
    """In the order written, as torchvision's ``_get_enum_from_fn`` takes the first weights class."""
    arguments = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    annotations = [argument.annotation for argument in arguments if argument.arg == "weights"]
    return [
        node.id
        for annotation in annotations
        if annotation
        for node in ast.walk(annotation)
        if isinstance(node, ast.Name)
    ]


def _name(node: ast.expr) -> str:
    """The last part of a dotted name; empty for anything else."""
    if isinstance(node, ast.Attribute):
        return node.attr
    return node.id if isinstance(node, ast.Name) else ""
