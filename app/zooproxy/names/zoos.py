"""Zoos and the schemes that lead to them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

TORCHVISION: Final = "torchvision"
OPENMMLAB: Final = "openmmlab"
MMCLS: Final = "mmcls"

#: Every scheme of a zoo, as mmengine's registry spells it; a zoo's own name is its canonical scheme.
ZOO_OF_SCHEME: Final[Mapping[str, str]] = {
    "torchvision": TORCHVISION,
    "modelzoo": TORCHVISION,
    "openmmlab": OPENMMLAB,
    "open-mmlab": OPENMMLAB,
    "mmcls": MMCLS,
}

#: Schemes that still work and that users are asked to leave, with mmengine's own words.
DEPRECATED_SCHEMES: Final[Mapping[str, str]] = {
    "modelzoo": 'The URL scheme of "modelzoo://" is deprecated, please use "torchvision://" instead',
}

#: What the ``model`` variant does to a zoo's state dicts: keep ``backbone.``, strip it, drop the rest.
RECIPE_OF_ZOO: Final[Mapping[str, str]] = {MMCLS: "mmcls"}


@dataclass(frozen=True)
class Zoo:
    """A namespace of names. ``origin`` is the stamp of its data (JSON values); ``models`` counts its names."""

    name: str
    schemes: tuple[str, ...]
    origin: Mapping[str, object]
    models: int


def schemes_of(zoo: str) -> tuple[str, ...]:
    """The schemes of a zoo, the canonical one first."""
    return tuple(scheme for scheme, name in ZOO_OF_SCHEME.items() if name == zoo)
