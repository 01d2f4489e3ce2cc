"""A program: one epoch of mmengine's own Runner, whose CheckpointHook writes ``epoch_1.pth``."""

from __future__ import annotations

import sys

import torch
from mmengine.model import BaseModel
from mmengine.runner import Runner
from torch import nn


class Line(BaseModel):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 2)

    def forward(self, x: torch.Tensor, mode: str) -> dict[str, torch.Tensor]:
        return {"loss": self.linear(x).square().mean()}


def main(work_dir: str) -> None:
    Runner(
        model=Line(),
        work_dir=work_dir,
        train_dataloader=torch.utils.data.DataLoader([{"x": torch.ones(3)}] * 4, batch_size=2),
        train_cfg={"by_epoch": True, "max_epochs": 1},
        optim_wrapper={"optimizer": {"type": "Adam", "lr": 0.1}},
        default_hooks={"checkpoint": {"type": "CheckpointHook", "interval": 1}},
    ).train()


main(sys.argv[1])
