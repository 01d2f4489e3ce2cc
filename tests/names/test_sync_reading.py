from __future__ import annotations

import io
import json
from collections.abc import Callable

import pytest

from zooproxy.errors import UnreadablePackage
from zooproxy.names.sections import Section
from zooproxy.names.sync.packages import Package, Wheel
from zooproxy.names.sync.reading import read_sections

MakeWheel = Callable[..., io.BytesIO]

TORCHVISION = """
class Net_Weights(WeightsEnum):
    V1 = Weights(url="https://h/net-0badcafe.pth")
    DEFAULT = V1
@register_model()
def net(*, weights: Optional[Net_Weights] = None): ...
"""


@pytest.fixture
def packages(make_wheel: MakeWheel) -> dict[str, Package]:
    hub = {
        f"mmengine/hub/{name}.json": json.dumps(members)
        for name, members in {
            "torchvision_0.12": {"old": "https://h/old.pth"},
            "openmmlab": {"a": "https://h/a.pth"},
            "deprecated": {"b": "a"},
            "mmcls": {"c": "https://h/c.pth"},
        }.items()
    }
    metafiles = {"mmdet/.mim/model-index.yml": "Import: [m.yml]", "mmdet/.mim/m.yml": "Models: [{Name: d, Weights: x}]"}
    return {
        "torchvision": Wheel(make_wheel({"torchvision/models/net.py": TORCHVISION}, name="torchvision")),
        "mmengine-lite": Wheel(make_wheel(hub, name="mmengine-lite")),
        "mmdet": Wheel(make_wheel(metafiles, name="mmdet")),
        "mmsegmentation": Wheel(make_wheel({}, name="mmsegmentation")),
        "numpy": Wheel(make_wheel({}, name="numpy")),
    }


def test_sections_are_those_of_the_packages_that_tell_names(packages: dict[str, Package]) -> None:
    sections = {section.zoo: list(section.models) for section in read_sections(packages, ())}

    assert sections == {
        "torchvision": ["old", "net.default", "net.v1"],
        "openmmlab": ["a"],
        "mmcls": ["c"],
        "mmdet": ["d"],
    }


def test_torchvision_without_mmengine_begins_with_the_packaged_legacy_names(packages: dict[str, Package]) -> None:
    models = {"old": "https://h/known.pth", "net.default": "https://h/x", "net.v1": "https://h/x"}
    known = Section("torchvision", {"legacy": {"package": "mmengine"}}, models)

    (section,) = read_sections({"torchvision": packages["torchvision"]}, [known])

    assert next(iter(section.models.items())) == ("old", "https://h/known.pth")
    assert section.models["net.v1"] == "https://h/net-0badcafe.pth"
    assert section.origin["legacy"] == {"package": "mmengine"}


def test_torchvision_without_any_legacy_names_is_unreadable(packages: dict[str, Package]) -> None:
    with pytest.raises(UnreadablePackage, match="give mmengine's wheel too"):
        list(read_sections({"torchvision": packages["torchvision"]}, [Section("torchvision", {}, {})]))


def test_packages_that_tell_nothing_give_nothing(packages: dict[str, Package]) -> None:
    assert list(read_sections({"numpy": packages["numpy"]}, ())) == []
