"""Zoos and the schemes that lead to them. The one list: references, catalog and the client's hooks read it here."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

TORCHVISION: Final = "torchvision"
OPENMMLAB: Final = "openmmlab"
MMCLS: Final = "mmcls"

#: What is published to the proxy itself (``names.published``); empty until something is.
SITE: Final = "site"

#: The zoos of OpenMMLab's packages, by the package that describes them in its metafiles.
ZOO_OF_PACKAGE: Final[Mapping[str, str]] = {
    "mmdet": "mmdet",
    "mmsegmentation": "mmseg",
    "mmpretrain": "mmpretrain",
    "mmpose": "mmpose",
    "mmaction2": "mmaction2",
    "mmocr": "mmocr",
    "mmdet3d": "mmdet3d",
    "mmagic": "mmagic",
    "mmrotate": "mmrotate",
    "mmflow": "mmflow",
    "mmselfsup": "mmselfsup",
    "mmrazor": "mmrazor",
    "mmtrack": "mmtrack",
    "mmyolo": "mmyolo",
}

#: Known, and never shipped: the package is GPL-3.0. A site can sync it for itself.
NOT_SHIPPED: Final = frozenset({"mmyolo"})

#: Hosts where anybody can publish: that the catalog has a few files there says nothing about the others.
SHARED_HOSTS: Final = frozenset({"github.com", "huggingface.co"})

#: The zoos whose names come with zooproxy, in the order in which they are listed.
SHIPPED: Final = (
    TORCHVISION,
    OPENMMLAB,
    MMCLS,
    *(zoo for zoo in ZOO_OF_PACKAGE.values() if zoo not in NOT_SHIPPED),
)

#: Every scheme of a zoo, as mmengine's registry spells it; a zoo's own name is its canonical scheme.
ZOO_OF_SCHEME: Final[Mapping[str, str]] = {
    "torchvision": TORCHVISION,
    "modelzoo": TORCHVISION,
    "openmmlab": OPENMMLAB,
    "open-mmlab": OPENMMLAB,
    "mmcls": MMCLS,
    **{zoo: zoo for zoo in ZOO_OF_PACKAGE.values()},
    "mmsegmentation": "mmseg",
    SITE: SITE,
}

#: Schemes that still work and that users are asked to leave, with mmengine's own words.
DEPRECATED_SCHEMES: Final[Mapping[str, str]] = {
    "modelzoo": 'The URL scheme of "modelzoo://" is deprecated, please use "torchvision://" instead',
}

#: What the ``model`` variant does to a zoo's state dicts: keep ``backbone.``, strip it, drop the rest.
RECIPE_OF_ZOO: Final[Mapping[str, str]] = {MMCLS: "mmcls"}


@dataclass(frozen=True)
class Zoo:
    """A namespace of names.

    Attributes:
        origin: the stamp of its data (JSON values), that of the last layer which replaced it.
        models: how many names it has that lead to weights, aliases not counted.
        layers: the layers that have names in it, first the one that is overruled by all others.
    """

    name: str
    schemes: tuple[str, ...]
    origin: Mapping[str, object]
    models: int
    layers: tuple[str, ...] = ()


def schemes_of(zoo: str) -> tuple[str, ...]:
    """The schemes of a zoo, the canonical one first."""
    return tuple(scheme for scheme, name in ZOO_OF_SCHEME.items() if name == zoo)
