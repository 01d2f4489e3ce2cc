"""A ResNet-50 of the published one's names, shapes and size (102 MB), built here: torchvision has no CPU build."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


class Bottleneck(nn.Module):
    def __init__(self, inplanes: int, planes: int, stride: int, downsample: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inplanes, planes, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(planes)
        self.conv2 = nn.Conv2d(planes, planes, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(planes)
        self.conv3 = nn.Conv2d(planes, planes * 4, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(planes * 4)
        if downsample:
            self.downsample = nn.Sequential(
                nn.Conv2d(inplanes, planes * 4, 1, stride=stride, bias=False), nn.BatchNorm2d(planes * 4)
            )


class ResNet50(nn.Module):
    """Only the parameters matter here, so there is no ``forward``."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 64, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(64)
        inplanes = 64
        for number, (planes, blocks) in enumerate([(64, 3), (128, 4), (256, 6), (512, 3)], start=1):
            stage = []
            for block in range(blocks):
                stage.append(Bottleneck(inplanes, planes, 2 if block == 0 and number > 1 else 1, block == 0))
                inplanes = planes * 4
            setattr(self, f"layer{number}", nn.Sequential(*stage))
        self.fc = nn.Linear(2048, 1000)


def seeded(seed: int) -> ResNet50:
    """A model whose every value depends on ``seed``, buffers included."""
    torch.manual_seed(seed)
    model = ResNet50()
    for buffer in model.buffers():
        if buffer.is_floating_point():
            buffer.uniform_(0.5, 1.5)
        else:
            buffer.fill_(seed)
    return model


def assert_bit_equal(actual: dict[str, Any], expected: dict[str, Any]) -> None:
    """Same names in the same order, same types, same bits."""
    assert list(actual) == list(expected)
    for name, tensor in expected.items():
        assert actual[name].dtype == tensor.dtype, name
        assert actual[name].shape == tensor.shape, name
        assert torch.equal(actual[name].view(-1).view(torch.uint8), tensor.reshape(-1).view(torch.uint8)), name
