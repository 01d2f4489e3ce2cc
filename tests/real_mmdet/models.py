"""A program for an interpreter with mmdet: ``models.py write FOLDER`` makes up the weights that a host would publish,
``models.py load FOLDER`` builds detectors that get them through the hook, and compares them bit for bit.

mmdet imports torchvision, whose native operators no CPU build of torch has: those that its import registers shapes for
are declared here, and nothing calls them.
"""

from __future__ import annotations

import copy
import os
import sys
import warnings
from collections import OrderedDict
from pathlib import Path
from typing import Any

import torch

operators = torch.library.Library("torchvision", "DEF")
for name in ("nms", "qnms"):
    operators.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
warnings.simplefilter("ignore")  # of what is deprecated by now
import mmdet  # noqa: E402
from mmdet.registry import MODELS  # noqa: E402
from mmdet.utils import register_all_modules  # noqa: E402
from mmengine.config import Config  # noqa: E402
from mmengine.logging import HistoryBuffer, MMLogger  # noqa: E402

PUBLISHED = os.environ["PUBLISHED"]
CONFIG = Path(mmdet.__file__).parent / ".mim" / "configs" / "retinanet" / "retinanet_r50_fpn_1x_coco.py"
BACKBONE = "backbone."

State = OrderedDict[str, torch.Tensor]


def made_up(like: dict[str, torch.Tensor], seed: int) -> State:
    generator = torch.Generator().manual_seed(seed)
    return OrderedDict(
        (name, torch.rand(value.shape, generator=generator) if value.is_floating_point() else torch.full_like(value, 7))
        for name, value in like.items()
    )


def of_backbone(state: dict[str, torch.Tensor]) -> State:
    return OrderedDict((name[len(BACKBONE) :], state[name]) for name in state if name.startswith(BACKBONE))


def write(model: Any, folder: Path) -> None:
    model.backbone.init_cfg = None
    detector = made_up(MODELS.build(model).state_dict(), 1)
    classifier = made_up(of_backbone(detector), 2)
    torch.save(OrderedDict([*classifier.items(), ("fc.weight", torch.zeros(1000, 2048))]), folder / "classifier.pth")
    logs = {"loss": HistoryBuffer([1.0], [1])}  # what the Runner writes, and torch >= 2.6 refuses
    meta = {"epoch": 12, "dataset_meta": {"classes": ("cat", "dog")}}
    torch.save({"meta": meta, "state_dict": detector, "message_hub": logs}, folder / "detector.pth")


def load(model: Any, folder: Path) -> None:
    from mmdet.apis import init_detector

    import zooproxy.mmengine  # noqa: F401  # what custom_imports does in a config

    classifier = torch.load(folder / "classifier.pth")
    detector = torch.load(folder / "detector.pth", weights_only=False)["state_dict"]

    built = MODELS.build(copy.deepcopy(model))
    built.init_weights()
    compare(f"the config's own {model.backbone.init_cfg.checkpoint}", built.backbone.state_dict(), classifier)

    prefixed = {**model.backbone, "init_cfg": {"type": "Pretrained", "checkpoint": PUBLISHED, "prefix": BACKBONE}}
    backbone = MODELS.build(prefixed)
    backbone.init_weights()
    compare("a prefix of a detector", backbone.state_dict(), of_backbone(detector))

    ready = init_detector(Config.fromfile(CONFIG), PUBLISHED, device="cpu")
    compare("init_detector", ready.state_dict(), detector)
    if ready.dataset_meta["classes"] != ("cat", "dog"):
        sys.exit(f"init_detector: other classes: {ready.dataset_meta['classes']}")


def compare(what: str, given: dict[str, torch.Tensor], published: dict[str, torch.Tensor]) -> None:
    other = [name for name in given if name not in published or not torch.equal(given[name], published[name])]
    if other:
        sys.exit(f"{what}: {len(other)} of {len(given)} tensors are not the published ones: {other[:5]}")
    print(f"{what}: {len(given)} tensors as published", flush=True)


register_all_modules(init_default_scope=True)
MMLogger.get_current_instance().setLevel("ERROR")
{"write": write, "load": load}[sys.argv[1]](Config.fromfile(CONFIG).model, Path(sys.argv[2]))
