"""The loaders that stand in for mmengine's and mmcv's own, one for each of their names.

A registry calls ``loader(filename, map_location)`` and logs ``loader.__name__[10:]``: each must be a plain function
named ``load_from_<backend>``. None goes back through a registry.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Callable, Final

from zooproxy.client.loader import load
from zooproxy.client.storages import MapLocation

Loader = Callable[[str, MapLocation], Any]


def load_from_http(filename: str, map_location: MapLocation = None) -> Any:
    return load(filename, map_location)


def load_from_pavi(filename: str, map_location: MapLocation = None) -> Any:
    return load(filename, map_location)


def load_from_ceph(filename: str, map_location: MapLocation = None) -> Any:
    return load(filename, map_location)


def load_from_torchvision(filename: str, map_location: MapLocation = None) -> Any:
    return load(filename, map_location)


def load_from_openmmlab(filename: str, map_location: MapLocation = None) -> Any:
    return load(filename, map_location)


def load_from_mmcls(filename: str, map_location: MapLocation = None) -> Any:
    return load(filename, map_location)


#: Prefixes exactly as mmengine 0.10.7 and mmcv 1.x register them (``runner/checkpoint.py`` in both), the regular
#: expressions included: one that differs would stand beside the original, not replace it. Bare ``s3://`` is what mmcv
#: before 1.3.9 has. Never ``''``: local files stay with the registry's owner.
PREFIXES: Final[Mapping[str, Loader]] = {
    "http://": load_from_http,
    "https://": load_from_http,
    "pavi://": load_from_pavi,
    "s3://": load_from_ceph,
    r"(\S+\:)?s3://": load_from_ceph,
    r"(\S+\:)?petrel://": load_from_ceph,
    "modelzoo://": load_from_torchvision,
    "torchvision://": load_from_torchvision,
    "open-mmlab://": load_from_openmmlab,
    "openmmlab://": load_from_openmmlab,
    "mmcls://": load_from_mmcls,
}
