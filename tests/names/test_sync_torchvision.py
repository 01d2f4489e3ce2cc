"""The extractor on a small wheel made by hand, and against mmengine's own function on the same wheel, imported."""

from __future__ import annotations

import importlib.util
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from zooproxy.errors import UnreadablePackage
from zooproxy.names.sync.torchvision import read_weights, torchvision_section
from zooproxy.names.sync.wheels import Wheel

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
from typing import Any, Optional
from ._api import Weights, WeightsEnum, register_model
_META = {"min_size": (1, 1)}
def _kept(function): return function
class _Other:
    IMAGENET1K_V1 = "no weights"
class ResNet9_Weights(WeightsEnum):
    """Two members, DEFAULT is the second."""
    _ignore_ = ["unit"]
    unit = str("GFLOPs")
    IMAGENET1K_V1 = Weights(url="https://h/resnet9-" "0badcafe.pth", meta={**_META})
    IMAGENET1K_V2 = Weights("https://h/resnet9-deadbeef.pth")
    NEWEST = IMAGENET1K_V2
    DEFAULT = NEWEST
class Empty_Weights(WeightsEnum):
    """No weights at all."""
    pass
def resnet7(*, weights: Optional[ResNet9_Weights] = None) -> None: ...
@_kept
@register_model()
def resnet9(*, weights: Optional[ResNet9_Weights] = None, progress: bool = True, **kwargs: Any) -> None: ...
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


def mmengine_wheel(make_wheel: MakeWheel, legacy: object = LEGACY) -> Wheel:
    return Wheel(make_wheel({"mmengine/hub/torchvision_0.12.json": json.dumps(legacy)}, name="mmengine-lite"))


def test_section_of_a_wheel_has_every_key_in_mmengines_order(make_wheel: MakeWheel) -> None:
    section = torchvision_section(Wheel(make_wheel(MEMBERS, name="torchvision")), mmengine_wheel(make_wheel))

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
        env={**os.environ, "PYTHONPATH": str(wheel)},
        check=True,
        capture_output=True,
        text=True,
    )

    section = torchvision_section(Wheel(file), mmengine_wheel(make_wheel, legacy))
    assert list(section.models.items()) == list(json.loads(done.stdout.splitlines()[-1]).items())


def test_section_of_the_same_wheels_is_the_same(make_wheel: MakeWheel) -> None:
    wheel, mmengine = Wheel(make_wheel(MEMBERS)), mmengine_wheel(make_wheel)

    assert torchvision_section(wheel, mmengine) == torchvision_section(wheel, mmengine)


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
def test_read_weights_of_source_that_is_not_understood_is_unreadable(source: str, words: str) -> None:
    with pytest.raises(UnreadablePackage, match=words):
        read_weights({"torchvision/models/a.py": source})


def test_read_weights_executes_nothing(tmp_path: Path) -> None:
    witness = tmp_path / "executed"
    source = f"open({str(witness)!r}, 'w')\n{RESNET}"

    read_weights({"torchvision/models/resnet.py": source})

    assert not witness.exists()
