"""torchvision's section: mmengine's map key for key, and what the package says beyond it.

The map follows ``mmengine.runner.checkpoint.get_torchvision_models`` for torchvision >= 0.14: the map of 0.12
first, then for every registered builder of ``torchvision.models`` itself, by name (``list_models``), its weights
class: ``<class>.default``, then ``<class>.<member>`` for each member that is no alias of another. The classes of the
subpackages (detection, segmentation, video, quantization, optical flow) get names by the same rule, beyond the map.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, Optional

from zooproxy.errors import UnreadablePackage
from zooproxy.names.records import Metric, Record, Result
from zooproxy.names.sections import Section, Synonym
from zooproxy.names.sync.mmengine import LegacyMap
from zooproxy.names.sync.packages import Package
from zooproxy.names.sync.python_trees import Builder, Weights, WeightsClass, read_module
from zooproxy.names.zoos import TORCHVISION

LICENCE: Final = "BSD-3-Clause"
_MODULE = re.compile(r"torchvision/models/(?!__init__\.py)(?:(?P<family>[^/]+)/)?[^/]+\.py\Z")
#: What the weights of a subpackage do; ``_FINER`` says it of single modules.
_TASKS: Final[Mapping[Optional[str], str]] = {
    None: "Image Classification",
    "detection": "Object Detection",
    "segmentation": "Semantic Segmentation",
    "video": "Video Classification",
    "quantization": "Image Classification",
    "optical_flow": "Optical Flow",
}
_FINER: Final[Mapping[str, str]] = {"mask_rcnn": "Instance Segmentation", "keypoint_rcnn": "Keypoint Detection"}


def torchvision_section(torchvision: Package, legacy: LegacyMap) -> Section:
    """The full section, with mmengine's map of torchvision 0.12 first.

    Raises:
        UnreadablePackage: a package lacks what it should hold, or is written in a way that is not understood.
    """
    sources = {name: torchvision.text(name) for name in torchvision.names() if _MODULE.match(name)}
    stamp = torchvision.stamp(LICENCE)
    zoo = _Zoo(sources, f"torchvision {stamp.version}")
    models = {**legacy.models, **zoo.map()}
    synonyms = {name: synonym for name, synonym in zoo.synonyms() if name not in models}
    origin = {**stamp.to_json(), "legacy": dict(legacy.origin)}
    return Section(TORCHVISION, origin, models, synonyms=synonyms, records=dict(zoo.records()))


class _Zoo:
    """Builders by name, each with its weights class.

    Raises:
        UnreadablePackage: no builder is registered, or a module is written in a way that is not understood.
    """

    def __init__(self, sources: Mapping[str, str], package: str) -> None:
        modules = [read_module(path, text) for path, text in sources.items()]
        classes = {found.name: found for module in modules for found in module.classes}
        builders = sorted((found for module in modules for found in module.builders), key=lambda found: found.name)
        if not builders:
            raise UnreadablePackage("the package registers no model: it is not torchvision, or older than 0.14")
        self._package = package
        self._built = [(builder, _class_of(builder, classes)) for builder in builders]

    def map(self) -> dict[str, str]:
        """mmengine's keys and URLs, without the legacy ones."""
        return {name: weights.url for builder, name, weights in self._entries() if _family(builder) is None}

    def records(self) -> Iterator[tuple[str, Record]]:
        """Every member's record, and that of each ``default`` beyond mmengine's map."""
        for builder, name, weights in self._entries():
            if _family(builder) is not None or not name.endswith(".default"):
                yield name, _record(builder, weights)

    def synonyms(self) -> Iterator[tuple[str, Synonym]]:
        """Bare builder names: torchvision's own functions take them with ``weights="DEFAULT"``."""
        for builder, found in self._built:
            if found.default is not None:
                note = (
                    f"a builder's bare name stands for its default weights: {builder.name} is "
                    f"{found.name}.{found.default} as of {self._package}"
                )
                yield builder.name, Synonym(f"{found.key}.default", note)

    def _entries(self) -> Iterator[tuple[Builder, str, Weights]]:
        for builder, found in self._built:
            if found.default is not None:
                yield builder, f"{found.key}.default", found.members[found.default]
                for member, weights in found.members.items():
                    yield builder, f"{found.key}.{member.lower()}", weights


def _class_of(builder: Builder, classes: Mapping[str, WeightsClass]) -> WeightsClass:
    for name in builder.annotated:
        if name in classes:
            return classes[name]
    raise UnreadablePackage(f"the weights of {builder.name} are annotated with no weights class that is known")


def _family(builder: Builder) -> Optional[str]:
    match = _MODULE.match(builder.path)
    return match["family"] if match else None


def _record(builder: Builder, weights: Weights) -> Record:
    meta = weights.meta
    operations, size = meta.get("_ops"), meta.get("_file_size")
    return Record(
        url=weights.url,
        architecture=(builder.name,),
        results=tuple(_results(builder, meta)),
        params=_whole(meta.get("num_params")),
        flops=_whole(operations * 1e9) if isinstance(operations, (int, float)) else None,
        file_size_mib=float(size) if isinstance(size, (int, float)) else None,
        paper_title=builder.paper_title,
        paper_url=builder.paper_url,
        training_recipe=_text(meta.get("recipe")),
        licence=_text(meta.get("license")),
        notes=_text(meta.get("_docs")),
    )


def _results(builder: Builder, meta: Mapping[str, Any]) -> Iterator[Result]:
    task = _FINER.get(builder.path.rpartition("/")[2].removesuffix(".py"), _TASKS.get(_family(builder)))
    measured = meta.get("_metrics")
    for dataset, metrics in (measured if isinstance(measured, dict) else {}).items():
        if isinstance(metrics, dict):
            yield Result(task, dataset, {name: _metric(value) for name, value in metrics.items()})


def _metric(value: Any) -> Metric:
    return None if isinstance(value, float) and math.isnan(value) else value


def _whole(value: Any) -> Optional[int]:
    return round(value) if isinstance(value, (int, float)) and math.isfinite(value) else None


def _text(value: Any) -> Optional[str]:
    return " ".join(value.split()) if isinstance(value, str) and value.strip() else None
