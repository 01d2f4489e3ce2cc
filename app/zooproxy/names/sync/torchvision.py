"""torchvision's weights, read from the syntax trees of its wheel: nothing of it is imported or executed.

The map follows ``mmengine.runner.checkpoint.get_torchvision_models`` for torchvision >= 0.14: the map of 0.12
first, then for every registered builder of ``torchvision.models`` itself, by name (``list_models``), its weights
class: ``<class>.default``, then ``<class>.<member>`` for each member that is no alias of another.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Optional

from zooproxy.errors import UnreadablePackage
from zooproxy.names.sections import Section
from zooproxy.names.sync.mmengine import LEGACY_TORCHVISION, read_map
from zooproxy.names.sync.mmengine import LICENCE as MMENGINE_LICENCE
from zooproxy.names.sync.wheels import Wheel
from zooproxy.names.zoos import TORCHVISION

LICENCE: Final = "BSD-3-Clause"
#: Builders of detection, segmentation, … live a level deeper: ``list_models(torchvision.models)`` leaves them out.
_CLASSIFICATION = re.compile(r"torchvision/models/(?!__init__\.py)[^/]+\.py\Z")


@dataclass(frozen=True)
class WeightsClass:
    """A ``WeightsEnum``: each member's URL by name, and each alias' member by name."""

    name: str
    urls: Mapping[str, str] = field(default_factory=dict)
    aliases: Mapping[str, str] = field(default_factory=dict)

    @property
    def key(self) -> str:
        return self.name.replace("_Weights", "").lower()

    def entries(self) -> dict[str, str]:
        """mmengine's keys for this class; none where it has no ``DEFAULT``, as mmengine takes it for empty."""
        default = self.url("DEFAULT")
        if default is None:
            return {}
        members = {f"{self.key}.{member.lower()}": url for member, url in self.urls.items()}
        return {f"{self.key}.default": default, **members}

    def url(self, member: str) -> Optional[str]:
        return self.urls.get(self.aliases.get(member, member))


def torchvision_section(torchvision: Wheel, mmengine: Wheel) -> Section:
    """The full map, with mmengine's map of torchvision 0.12 first.

    Raises:
        UnreadablePackage: a wheel lacks what it should hold, or is written in a way that is not understood.
    """
    sources = {name: torchvision.text(name) for name in torchvision.names() if _CLASSIFICATION.match(name)}
    legacy = read_map(mmengine, LEGACY_TORCHVISION)
    origin = {**torchvision.stamp(LICENCE).to_json(), "legacy": mmengine.stamp(MMENGINE_LICENCE).to_json()}
    return Section(TORCHVISION, origin, {**legacy, **read_weights(sources)}, {})


def read_weights(sources: Mapping[str, str]) -> dict[str, str]:
    """mmengine's keys and URLs from ``sources``, the text of each module by its path.

    Raises:
        UnreadablePackage: no builder is registered, or a module is written in a way that is not understood.
    """
    classes: dict[str, WeightsClass] = {}
    builders: dict[str, list[str]] = {}
    for path, text in sources.items():
        module = _parse(path, text)
        classes.update((found.name, found) for found in _weights_classes(path, module))
        builders.update(_builders(module))
    if not builders:
        raise UnreadablePackage("the wheel registers no model: it is not torchvision, or older than 0.14")
    entries: dict[str, str] = {}
    for builder in sorted(builders):
        entries.update(_class_of(builder, builders[builder], classes).entries())
    return entries


def _parse(path: str, text: str) -> ast.Module:
    try:
        return ast.parse(text)
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        raise UnreadablePackage(f"{path} is not Python that can be parsed") from error


def _class_of(builder: str, annotated: Iterable[str], classes: Mapping[str, WeightsClass]) -> WeightsClass:
    for name in annotated:
        if name in classes:
            return classes[name]
    raise UnreadablePackage(f"the weights of {builder} are annotated with no weights class that is known")


def _weights_classes(path: str, module: ast.Module) -> Iterable[WeightsClass]:
    for node in module.body:
        if isinstance(node, ast.ClassDef) and any(_name(base) == "WeightsEnum" for base in node.bases):
            yield _weights_class(path, node)


def _weights_class(path: str, node: ast.ClassDef) -> WeightsClass:
    urls: dict[str, str] = {}
    aliases: dict[str, str] = {}
    for statement in node.body:
        if not isinstance(statement, ast.Assign) or not isinstance(statement.targets[0], ast.Name):
            continue
        member, value = statement.targets[0].id, statement.value
        if isinstance(value, ast.Name):
            aliases[member] = aliases.get(value.id, value.id)
        elif isinstance(value, ast.Call) and _name(value.func) == "Weights":
            urls[member] = _url(value, f"{path}: {node.name}.{member}")
    return WeightsClass(node.name, urls, aliases)


def _url(call: ast.Call, where: str) -> str:
    """The first argument of ``Weights(url, transforms, meta)``, given by position or by name."""
    given = [keyword.value for keyword in call.keywords if keyword.arg == "url"] or call.args[:1]
    if given and isinstance(given[0], ast.Constant) and isinstance(given[0].value, str):
        return given[0].value
    raise UnreadablePackage(f"{where} does not give its URL as plain text")


def _builders(module: ast.Module) -> Iterable[tuple[str, list[str]]]:
    """Name, and the names in the annotation of ``weights``, of every function under ``@register_model()``."""
    for node in module.body:
        if isinstance(node, ast.FunctionDef):
            for decorator in node.decorator_list:
                if isinstance(decorator, ast.Call) and _name(decorator.func) == "register_model":
                    yield _registered_name(decorator, node), _annotated_weights(node)


def _registered_name(decorator: ast.Call, function: ast.FunctionDef) -> str:
    given = decorator.args[:1] or [keyword.value for keyword in decorator.keywords if keyword.arg == "name"]
    if given and isinstance(given[0], ast.Constant) and isinstance(given[0].value, str):
        return given[0].value
    return function.name


def _annotated_weights(function: ast.FunctionDef) -> list[str]:
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
