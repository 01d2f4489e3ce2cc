"""mmengine's maps (``mmengine/hub/*.json``), from its wheel or from mmengine-lite's."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Final, Optional

from zooproxy.errors import UnreadablePackage
from zooproxy.names.sections import Section
from zooproxy.names.sync.wheels import Wheel
from zooproxy.names.zoos import MMCLS, OPENMMLAB

LICENCE: Final = "Apache-2.0"
LEGACY_TORCHVISION: Final = "mmengine/hub/torchvision_0.12.json"
_REPAIRS_NOTE = "as published; targets that have no entry are repaired by corrections.json when the catalog is read"


def openmmlab_section(wheel: Wheel) -> Section:
    """``mmengine.runner.checkpoint.get_external_models`` (without a user's file) and ``get_deprecated_model_names``."""
    models = read_map(wheel, "mmengine/hub/openmmlab.json")
    aliases = {
        alias: target for alias, target in read_map(wheel, "mmengine/hub/deprecated.json").items() if target is not None
    }
    origin = {**wheel.stamp(LICENCE).to_json(), "aliases": _REPAIRS_NOTE}
    return Section(OPENMMLAB, origin, models, aliases)


def mmcls_section(wheel: Wheel) -> Section:
    """``mmengine.runner.checkpoint.get_mmcls_models``."""
    return Section(MMCLS, wheel.stamp(LICENCE).to_json(), read_map(wheel, "mmengine/hub/mmcls.json"), {})


def read_map(wheel: Wheel, name: str) -> Mapping[str, Optional[str]]:
    """One of mmengine's maps, in its order.

    Raises:
        UnreadablePackage: the member is absent, no JSON, or maps names to anything but text and null.
    """
    try:
        members = json.loads(wheel.text(name))
    except (ValueError, RecursionError) as error:
        raise UnreadablePackage(f"the wheel's member {name} is no JSON") from error
    if not isinstance(members, dict) or not all(value is None or isinstance(value, str) for value in members.values()):
        raise UnreadablePackage(f"the wheel's member {name} does not map names to URLs")
    return members
