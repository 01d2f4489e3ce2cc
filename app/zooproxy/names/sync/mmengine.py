"""mmengine's maps (``mmengine/hub/*.json``), from its wheel or from mmengine-lite's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Optional

from zooproxy.errors import UnreadablePackage
from zooproxy.names.sections import Section
from zooproxy.names.sync.packages import Package
from zooproxy.names.zoos import MMCLS, OPENMMLAB

LICENCE: Final = "Apache-2.0"
_LEGACY_TORCHVISION: Final = "mmengine/hub/torchvision_0.12.json"


@dataclass(frozen=True)
class LegacyMap:
    """mmengine's map of torchvision 0.12, which begins its map of every later one, and its stamp."""

    models: Mapping[str, Optional[str]]
    origin: Mapping[str, object]


def legacy_map(package: Package) -> LegacyMap:
    """
    Raises:
        UnreadablePackage: the map is absent or in another shape.
    """
    return LegacyMap(read_map(package, _LEGACY_TORCHVISION), package.stamp(LICENCE).to_json())


def openmmlab_section(package: Package) -> Section:
    """``mmengine.runner.checkpoint.get_external_models`` (without a user's file) and ``get_deprecated_model_names``."""
    models = read_map(package, "mmengine/hub/openmmlab.json")
    deprecated = read_map(package, "mmengine/hub/deprecated.json")
    aliases = {alias: target for alias, target in deprecated.items() if target is not None}
    return Section(OPENMMLAB, package.stamp(LICENCE).to_json(), models, aliases)


def mmcls_section(package: Package) -> Section:
    """``mmengine.runner.checkpoint.get_mmcls_models``."""
    return Section(MMCLS, package.stamp(LICENCE).to_json(), read_map(package, "mmengine/hub/mmcls.json"))


def read_map(package: Package, name: str) -> Mapping[str, Optional[str]]:
    """One of mmengine's maps, in its order.

    Raises:
        UnreadablePackage: the member is absent, no JSON, or maps names to anything but text and null.
    """
    try:
        members = json.loads(package.text(name))
    except (ValueError, RecursionError) as error:
        raise UnreadablePackage(f"the member {name} is no JSON") from error
    if not isinstance(members, dict) or not all(value is None or isinstance(value, str) for value in members.values()):
        raise UnreadablePackage(f"the member {name} does not map names to URLs")
    return members
