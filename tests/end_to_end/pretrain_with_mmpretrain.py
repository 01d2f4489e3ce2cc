"""A program: mmpretrain's own ways to pretrained weights, each through the hook.

Prints the state dict of its ResNet-18 as JSON, name to shape; reads the proxy's URL; saves what it was given to FILE.

mmpretrain imports torchvision, whose native operators no CPU build of torch has: those that its import registers
shapes for are declared here, and nothing calls them.
"""

from __future__ import annotations

import json
import os
import sys
import warnings

import torch

operators = torch.library.Library("torchvision", "DEF")
for name in ("nms", "qnms"):
    operators.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from mmpretrain import get_model
    from mmpretrain.registry import MODELS

BACKBONE = {"type": "ResNet", "depth": 18, "num_stages": 4, "out_indices": (3,), "style": "pytorch"}
PUBLISHED = "https://download.openmmlab.com/mmclassification/v0/resnet/resnet18_8xb32_in1k_20210831-fbbb1da6.pth"


def initialised(**checkpoint: str) -> dict[str, torch.Tensor]:
    backbone = MODELS.build({**BACKBONE, "init_cfg": {"type": "Pretrained", **checkpoint}})
    backbone.init_weights()
    return backbone.state_dict()


def tell_shapes() -> None:
    model = get_model("resnet18_8xb32_in1k")
    print(json.dumps({name: list(value.shape) for name, value in model.state_dict().items()}), flush=True)


def load(file: str) -> None:
    import zooproxy.mmengine  # noqa: F401  # what custom_imports does in a config

    loaded = {
        "a torchvision name": initialised(checkpoint="torchvision://resnet18"),
        "a prefix of a classifier": initialised(checkpoint=PUBLISHED, prefix="backbone."),
        "a name of the package": get_model("resnet18_8xb32_in1k", pretrained=True).state_dict(),
    }
    torch.save(loaded, file)


tell_shapes()
os.environ["ZOOPROXY"] = sys.stdin.readline()
load(sys.argv[1])
