"""Which packages tell which zoos, and the sections of any set of them."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from typing import Optional

from zooproxy.errors import UnreadablePackage
from zooproxy.names.sections import Section
from zooproxy.names.sync.metafiles import has_metafiles, metafiles_section
from zooproxy.names.sync.mmengine import LegacyMap, legacy_map, mmcls_section, openmmlab_section
from zooproxy.names.sync.packages import Package
from zooproxy.names.sync.torchvision import torchvision_section
from zooproxy.names.zoos import TORCHVISION, ZOO_OF_PACKAGE

_TORCHVISION = "torchvision"
_MMENGINES = ("mmengine", "mmengine-lite")
READABLE = (_TORCHVISION, *_MMENGINES, *ZOO_OF_PACKAGE)


def read_sections(packages: Mapping[str, Package], known: Iterable[Section]) -> Iterator[Section]:
    """The sections of ``packages`` (by normalised name), those that tell nothing left out.

    ``known`` are the packaged sections: they lend torchvision's section mmengine's map where mmengine is not given.

    Raises:
        UnreadablePackage: one of them lacks what it should hold.
    """
    mmengine = next((packages[name] for name in _MMENGINES if name in packages), None)
    if _TORCHVISION in packages:
        legacy = legacy_map(mmengine) if mmengine is not None else _legacy_among(known)
        yield torchvision_section(packages[_TORCHVISION], legacy)
    if mmengine is not None:
        yield openmmlab_section(mmengine)
        yield mmcls_section(mmengine)
    for name, zoo in ZOO_OF_PACKAGE.items():
        # An installation without a .mim folder (an editable one, say) describes nothing.
        if name in packages and has_metafiles(packages[name]):
            yield metafiles_section(zoo, packages[name])


def _legacy_among(known: Iterable[Section]) -> LegacyMap:
    section: Optional[Section] = next((one for one in known if one.zoo == TORCHVISION), None)
    origin = None if section is None else section.origin.get("legacy")
    if section is None or not isinstance(origin, Mapping):
        raise UnreadablePackage("torchvision's names begin with mmengine's: give mmengine's wheel too")
    legacy = itertools.takewhile(lambda entry: not entry[0].endswith(".default"), section.models.items())
    return LegacyMap(dict(legacy), origin)
