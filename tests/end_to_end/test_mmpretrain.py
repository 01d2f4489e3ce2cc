"""Real mmpretrain models that get their pretrained weights through the hook, without a change to them."""

from __future__ import annotations

import hashlib
import io
import json
import os
import subprocess
import sys
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from mmengine.logging import HistoryBuffer

from end_to_end.conftest import StartProxy
from end_to_end.proxy_process import clean_environment
from end_to_end.resnet import assert_bit_equal
from fakes.upstream import Upstream
from tracing import untraced

ROOT = Path(__file__).parents[2]
PACKAGES = ROOT / ".openmmlab"
PROGRAM = Path(__file__).with_name("pretrain_with_mmpretrain.py")
TORCHVISION = "/download.pytorch.org/models/resnet18-f37072fd.pth"
PUBLISHED = "/download.openmmlab.com/mmclassification/v0/resnet/resnet18_8xb32_in1k_20210831-fbbb1da6.pth"


@pytest.fixture(scope="module")
def packages() -> Path:
    if not (PACKAGES / "mmpretrain").is_dir():
        missing = "mmpretrain is missing: make openmmlab"
        if "CI" in os.environ:
            pytest.fail(missing)
        pytest.skip(missing)
    return PACKAGES


@contextmanager
def program(packages: Path, file: Path) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, str(PROGRAM), str(file)],
        env={**untraced(clean_environment()), "PYTHONPATH": str(packages)},
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        yield process
    assert process.returncode == 0


def made_up(shapes: dict[str, list[int]], seed: int) -> OrderedDict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return OrderedDict(
        (name, torch.rand(shape, generator=generator) if shape else torch.tensor(seed))
        for name, shape in shapes.items()
    )


def saved(value: Any) -> bytes:
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


def test_init_cfg_and_get_model_receive_the_published_weights_bit_for_bit(
    packages: Path, upstream: Upstream, start_proxy: StartProxy, tmp_path: Path
) -> None:
    with program(packages, tmp_path / "loaded.pth") as process:
        shapes = json.loads(process.stdout.readline())
        of_backbone = {name.removeprefix("backbone."): shape for name, shape in shapes.items() if "backbone." in name}
        classifier, backbone = made_up(shapes, 1), made_up(of_backbone, 2)
        logs = {"loss": HistoryBuffer([1.0], [1])}  # what the Runner writes, and torch >= 2.6 refuses
        files = {
            TORCHVISION: saved(OrderedDict([*backbone.items(), ("fc.weight", torch.zeros(1000, 512))])),
            PUBLISHED: saved({"meta": {"epoch": 100}, "state_dict": classifier, "message_hub": logs}),
        }
        pins = {}
        for path, data in files.items():
            upstream.put(path, data)
            pins[f"https:/{path}"] = hashlib.sha256(data).hexdigest()
        process.communicate(start_proxy(pins=pins).url, timeout=120)

    loaded = torch.load(tmp_path / "loaded.pth", weights_only=True)
    assert_bit_equal(loaded["a torchvision name"], backbone)
    within = {name.removeprefix("backbone."): value for name, value in classifier.items() if "backbone." in name}
    assert_bit_equal(loaded["a prefix of a classifier"], within)
    assert_bit_equal(loaded["a name of the package"], classifier)
    assert sorted(upstream.seen) == sorted(files)
