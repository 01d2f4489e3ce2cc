"""The extractor on a small wheel made by hand, and against mmengine's own function on the same wheel, imported."""

from __future__ import annotations

import importlib.util
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from tracing import untraced
from zooproxy.errors import UnreadablePackage
from zooproxy.names.records import Record, Result
from zooproxy.names.sections import Synonym
from zooproxy.names.sync.mmengine import LegacyMap, legacy_map
from zooproxy.names.sync.packages import Wheel
from zooproxy.names.sync.torchvision import torchvision_section

MakeWheel = Callable[..., io.BytesIO]

#: What mmengine calls of torchvision, in a few lines of our own: enough for the modules below to be imported.
API = """
import enum, typing
BUILDERS = {}
class Weights:
    def __init__(self, url, transforms=None, meta=None):
        self.url = url
class WeightsEnum(enum.Enum):
    @property
    def url(self):
        return self.value.url
def register_model(name=None):
    def register(function):
        BUILDERS[name or function.__name__] = function
        return function
    return register
def list_models(module):
    return sorted(n for n, f in BUILDERS.items() if f.__module__.rpartition(".")[0] == module.__name__)
def get_model_weights(name):
    annotation = typing.get_type_hints(BUILDERS[name])["weights"]
    return next(t for t in typing.get_args(annotation) if issubclass(t, WeightsEnum))
"""
RESNET = '''
NONE = None
def _unknown(): return {}
from typing import Any, Optional
from ._api import Weights, WeightsEnum, register_model
_BASE = {"min_size": (1, 1), "license": "https://h/LICENSE"}
_META = {**_BASE, "recipe": "https://h/recipe", "categories": ["a", "b"]}
def _kept(function): return function
class _Other:
    IMAGENET1K_V1 = "no weights"
class ResNet9_Weights(WeightsEnum):
    """Two members, DEFAULT is the second."""
    _ignore_ = ["unit"]
    unit = str("GFLOPs")
    IMAGENET1K_V1 = Weights(
        url="https://h/resnet9-" "0badcafe.pth",
        meta={
            **_META,
            **_unknown(),
            "num_params": 1000,
            "_ops": 1.5,
            "_file_size": 0.25,
            "_docs": """Two
                lines.""",
            "_metrics": {"ImageNet-1K": {"acc@1": 76.13, "acc@5": float("nan")}, "none": NONE},
            7: "no text",
        },
    )
    IMAGENET1K_V2 = Weights("https://h/resnet9-deadbeef.pth")
    NEWEST = IMAGENET1K_V2
    DEFAULT = NEWEST
class Empty_Weights(WeightsEnum):
    """No weights at all."""
    pass
def resnet7(*, weights: Optional[ResNet9_Weights] = None) -> None: ...
@_kept
@register_model()
def resnet9(*, weights: Optional[ResNet9_Weights] = None, progress: bool = True, **kwargs: Any) -> None:
    """ResNet-9 from `A
    Paper <https://arxiv.org/abs/1>`__, see `elsewhere <https://h>`__."""
@register_model(name="a_registered_name")
def resnet8(*, weights: Optional[ResNet9_Weights] = None) -> None: ...
@register_model()
def empty(weights: Optional[Empty_Weights] = None) -> None: ...
'''
ALEXNET = """
import typing as t
from . import _api
from ._api import WeightsEnum
class AlexNet_Weights(_api.WeightsEnum):
    IMAGENET1K_SWAG_V1 = _api.Weights(url="https://h/alexnet-11112222.pth")
    DEFAULT = IMAGENET1K_SWAG_V1
class Second_Weights(WeightsEnum):
    V1 = _api.Weights(url="https://h/second-33334444.pth")
    DEFAULT = V1
@_api.register_model("zz_last")
def alexnet(weights: t.Union[AlexNet_Weights, Second_Weights, None] = None) -> None: ...
"""
DEEPER = """
from .._api import Weights, WeightsEnum, register_model
from typing import Optional
class Deep_Weights(WeightsEnum):
    V1 = Weights(url="https://h/deep-55556666.pth")
    DEFAULT = V1
@register_model()
def deep(weights: Optional[Deep_Weights] = None) -> None: ...
"""
MEMBERS = {
    "torchvision/__init__.py": "__version__ = '0.28.0'\nfrom . import models\n",
    "torchvision/models/__init__.py": (
        "from .resnet import *\nfrom .alexnet import *\nfrom . import detection\n"
        "from ._api import get_model_weights, list_models\n"
    ),
    "torchvision/models/_api.py": API,
    "torchvision/models/resnet.py": RESNET,
    "torchvision/models/alexnet.py": ALEXNET,
    "torchvision/models/detection/__init__.py": "from .deep import *\n",
    "torchvision/models/detection/deep.py": DEEPER,
    "torchvision/models/notes.txt": "not Python (",
}
LEGACY = {"resnet9": "https://h/resnet9-0badcafe.pth", "none": None}
EXPECTED = {
    **LEGACY,
    "resnet9.default": "https://h/resnet9-deadbeef.pth",
    "resnet9.imagenet1k_v1": "https://h/resnet9-0badcafe.pth",
    "resnet9.imagenet1k_v2": "https://h/resnet9-deadbeef.pth",
    "alexnet.default": "https://h/alexnet-11112222.pth",
    "alexnet.imagenet1k_swag_v1": "https://h/alexnet-11112222.pth",
}


def mmengines(make_wheel: MakeWheel, legacy: object = LEGACY) -> LegacyMap:
    members = {"mmengine/hub/torchvision_0.12.json": json.dumps(legacy)}
    return legacy_map(Wheel(make_wheel(members, name="mmengine-lite")))


def test_section_of_a_wheel_has_every_key_in_mmengines_order(make_wheel: MakeWheel) -> None:
    section = torchvision_section(Wheel(make_wheel(MEMBERS, name="torchvision")), mmengines(make_wheel))

    assert section.zoo == "torchvision"
    assert list(section.models.items()) == list(EXPECTED.items())
    assert section.origin["package"] == "torchvision"
    assert section.origin["licence"] == "BSD-3-Clause"
    assert section.origin["legacy"]["package"] == "mmengine-lite"  # type: ignore[index]  # a JSON value


def test_section_equals_what_mmengine_builds_from_the_imported_wheel(make_wheel: MakeWheel, tmp_path: Path) -> None:
    file = make_wheel(MEMBERS, name="torchvision")
    wheel = tmp_path / "torchvision.whl"
    wheel.write_bytes(file.getvalue())
    spec = importlib.util.find_spec("mmengine")
    assert spec is not None
    assert spec.origin is not None
    legacy = json.loads((Path(spec.origin).parent / "hub/torchvision_0.12.json").read_text(encoding="utf-8"))
    program = (
        "import json; from mmengine.runner.checkpoint import get_torchvision_models; "
        "print(json.dumps(get_torchvision_models()))"
    )

    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", program],
        env={**untraced(), "PYTHONPATH": str(wheel)},
        check=True,
        capture_output=True,
        text=True,
    )

    section = torchvision_section(Wheel(file), mmengines(make_wheel, legacy))
    assert list(section.models.items()) == list(json.loads(done.stdout.splitlines()[-1]).items())


def test_section_of_the_same_wheels_is_the_same(make_wheel: MakeWheel) -> None:
    wheel, mmengine = Wheel(make_wheel(MEMBERS)), mmengines(make_wheel)

    assert torchvision_section(wheel, mmengine) == torchvision_section(wheel, mmengine)


def test_records_tell_every_members_meta(make_wheel: MakeWheel) -> None:
    section = torchvision_section(Wheel(make_wheel(MEMBERS)), mmengines(make_wheel))

    assert section.records["resnet9.imagenet1k_v1"] == Record(
        url="https://h/resnet9-0badcafe.pth",
        architecture=("resnet9",),
        results=(Result("Image Classification", "ImageNet-1K", {"acc@1": 76.13, "acc@5": None}),),
        params=1000,
        flops=1_500_000_000,
        file_size_mib=0.25,
        paper_title="A Paper",
        paper_url="https://arxiv.org/abs/1",
        training_recipe="https://h/recipe",
        licence="https://h/LICENSE",
        notes="Two lines.",
    )
    assert section.records["resnet9.imagenet1k_v2"] == Record(
        "https://h/resnet9-deadbeef.pth",
        architecture=("resnet9",),
        paper_title="A Paper",
        paper_url="https://arxiv.org/abs/1",
    )


def test_records_of_subpackages_are_names_beyond_the_map(make_wheel: MakeWheel) -> None:
    section = torchvision_section(Wheel(make_wheel(MEMBERS)), mmengines(make_wheel))

    assert set(section.records) - set(section.models) == {"deep.default", "deep.v1"}
    assert section.records["deep.default"].url == "https://h/deep-55556666.pth"


def test_synonyms_are_the_builders_that_the_map_lacks_each_with_a_note(make_wheel: MakeWheel) -> None:
    section = torchvision_section(Wheel(make_wheel(MEMBERS, name="torchvision")), mmengines(make_wheel))
    note = "a builder's bare name stands for its default weights: {} as of torchvision 1.2.3"

    assert section.synonyms == {
        "a_registered_name": Synonym(
            "resnet9.default", note.format("a_registered_name is ResNet9_Weights.IMAGENET1K_V2")
        ),
        "deep": Synonym("deep.default", note.format("deep is Deep_Weights.V1")),
        "zz_last": Synonym("alexnet.default", note.format("zz_last is AlexNet_Weights.IMAGENET1K_SWAG_V1")),
    }


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("def (", "no Python|not Python|cannot|parsed"),
        ("x = '\x00'", "parsed"),
        ("x = 1", "registers no model"),
        ("class A_Weights(WeightsEnum):\n    V1 = Weights(url=BASE + 'x')", "A_Weights.V1 does not give its URL"),
        ("class A_Weights(WeightsEnum):\n    V1 = Weights()", "A_Weights.V1 does not give its URL"),
        ("@register_model()\ndef a(weights: Optional[Elsewhere] = None): ...", "weights of a"),
        ("@register_model()\ndef a(weights=None): ...", "weights of a"),
        ("@register_model()\ndef a(): ...", "weights of a"),
    ],
)
def test_section_of_source_that_is_not_understood_is_unreadable(make_wheel: MakeWheel, source: str, words: str) -> None:
    with pytest.raises(UnreadablePackage, match=words):
        torchvision_section(Wheel(make_wheel({"torchvision/models/a.py": source})), mmengines(make_wheel))


def test_section_executes_nothing(make_wheel: MakeWheel, tmp_path: Path) -> None:
    witness = tmp_path / "executed"
    source = f"open({str(witness)!r}, 'w')\n{RESNET}"

    section = torchvision_section(Wheel(make_wheel({"torchvision/models/resnet.py": source})), mmengines(make_wheel))

    assert "resnet9.default" in section.models
    assert not witness.exists()
