"""The whole road: an upstream, the service as a process, real mmengine on the other end."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from end_to_end.conftest import StartProxy
from end_to_end.proxy_process import ProxyProcess, clean_environment
from end_to_end.resnet import ResNet50, assert_bit_equal, seeded
from fakes.upstream import Upstream
from tracing import untraced

RESNET50 = "/download.pytorch.org/models/resnet50-0676ba61.pth"


def saved(value: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    torch.save(value, file, **options)
    return file.getvalue()


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture(scope="session")
def resnet_file() -> bytes:
    return saved(seeded(1).state_dict())


def on_a_node(proxy: ProxyProcess, script: str, *arguments: str, cwd: Path | None = None) -> str:
    """Runs ``script`` in a fresh interpreter pointed at the proxy; its output."""
    environment = {**untraced(clean_environment()), "ZOOPROXY": proxy.url, "PYTHONWARNINGS": "default"}
    done = subprocess.run(
        [sys.executable, "-c", script, *arguments],
        env=environment,
        cwd=cwd,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


LOAD_WITH_MMENGINE = """
import sys
from mmengine.config import Config
from mmengine.runner import load_checkpoint
from end_to_end.resnet import ResNet50, assert_bit_equal
import importlib.util, torch

assert importlib.util.find_spec('torchvision') is None
Config.fromfile(sys.argv[1])
model = ResNet50()
load_checkpoint(model, 'torchvision://resnet50', strict=True)
assert_bit_equal(model.state_dict(), torch.load(sys.argv[2], weights_only=True))
"""


def test_a_config_that_imports_the_hook_loads_torchvision_names_bit_for_bit_from_one_upstream_get(
    upstream: Upstream, start_proxy: StartProxy, resnet_file: bytes, tmp_path: Path
) -> None:
    upstream.put(RESNET50, resnet_file)
    assert 102_000_000 < len(resnet_file) < 103_000_000
    proxy = start_proxy(within=["env"], pins={"torchvision://resnet50": sha256(resnet_file)})  # python -m zooproxy
    config = tmp_path / "config.py"
    config.write_text("custom_imports = dict(imports=['zooproxy.mmengine'], allow_failed_imports=False)\n")
    published = tmp_path / "published.pth"
    published.write_bytes(resnet_file)
    for _ in range(2):
        on_a_node(proxy, LOAD_WITH_MMENGINE, str(config), str(published), cwd=Path(__file__).parents[1])
        assert upstream.seen == [RESNET50]


def test_without_mmengine_load_and_load_checkpoint_do_the_same(
    upstream: Upstream, start_proxy: StartProxy, resnet_file: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    import zooproxy

    upstream.put(RESNET50, resnet_file)
    proxy = start_proxy(pins={"torchvision://resnet50": sha256(resnet_file)})
    monkeypatch.setenv("ZOOPROXY", proxy.url)
    expected = seeded(1).state_dict()
    assert_bit_equal(zooproxy.load("torchvision://resnet50"), expected)
    layer4 = zooproxy.load("torchvision://resnet50", prefix="layer4")
    assert_bit_equal(layer4, {name[7:]: value for name, value in expected.items() if name.startswith("layer4.")})
    model = ResNet50()
    zooproxy.load_checkpoint(model, "torchvision://resnet50", strict=True)
    assert_bit_equal(model.state_dict(), expected)
    assert upstream.seen == [RESNET50]


def test_curl_gets_the_published_file_under_its_name(
    upstream: Upstream, start_proxy: StartProxy, resnet_file: bytes, tmp_path: Path
) -> None:
    upstream.put(RESNET50, resnet_file)
    proxy = start_proxy(pins={"torchvision://resnet50": sha256(resnet_file)})
    subprocess.run(
        ["curl", "-fsSOJ", f"{proxy.url}/v1/checkpoint?ref=torchvision://resnet50&variant=raw"],
        cwd=tmp_path,
        check=True,
        timeout=60,
    )
    assert (tmp_path / "resnet50-0676ba61.pth").read_bytes() == resnet_file


def test_the_model_variant_is_a_safetensors_file_of_the_same_tensors(
    upstream: Upstream, start_proxy: StartProxy, resnet_file: bytes
) -> None:
    upstream.put(RESNET50, resnet_file)
    proxy = start_proxy(pins={"torchvision://resnet50": sha256(resnet_file)})
    whole = proxy.get("/v1/checkpoint", "torchvision://resnet50")
    assert whole.headers["content-disposition"] == 'attachment; filename="resnet50-0676ba61.safetensors"'
    tensors = safetensors.torch.load(whole.content)
    expected = seeded(1).state_dict()
    assert_bit_equal({name: tensors[name] for name in expected}, expected)
    assert len(tensors) == len(expected)
    part = proxy.get("/v1/checkpoint", "torchvision://resnet50", {"Range": "bytes=5-50000000"})
    assert part.status_code == 206
    assert part.content == whole.content[5:50000001]
    assert part.headers["etag"] == whole.headers["etag"]


def test_mmcls_names_give_the_stripped_backbone_and_nothing_else(
    upstream: Upstream, start_proxy: StartProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    import zooproxy

    trained = {
        "backbone.conv1.weight": torch.randn(4, 3),
        "backbone.bn.bias": torch.randn(4),
        "head.fc.bias": torch.ones(9),
    }
    file = saved({"state_dict": trained, "meta": {"epoch": 100}})
    upstream.put("/download.openmmlab.com/mmclassification/v0/vgg/vgg16_batch256_imagenet_20210208-db26f1a5.pth", file)
    proxy = start_proxy(pins={"mmcls://vgg16": sha256(file)})
    monkeypatch.setenv("ZOOPROXY", proxy.url)
    checkpoint = zooproxy.load("mmcls://vgg16")
    assert list(checkpoint) == ["state_dict"]
    assert_bit_equal(
        checkpoint["state_dict"],
        {"conv1.weight": trained["backbone.conv1.weight"], "bn.bias": trained["backbone.bn.bias"]},
    )


def test_a_deprecated_alias_loads_and_warns_in_mmengines_words(
    upstream: Upstream, start_proxy: StartProxy, tmp_path: Path, small_checkpoint: bytes
) -> None:
    upstream.put("/download.openmmlab.com/pretrain/third_party/resnet50_caffe-788b5fa3.pth", small_checkpoint)
    proxy = start_proxy(pins={"open-mmlab://detectron/resnet50_caffe": sha256(small_checkpoint)})
    script = """
from mmengine.runner.checkpoint import CheckpointLoader
import zooproxy
zooproxy.install()
print(list(CheckpointLoader.load_checkpoint('openmmlab://resnet50_caffe', 'cpu')))
"""
    output = on_a_node(proxy, script, cwd=tmp_path)
    assert "['weight', 'bias']" in output
    assert "openmmlab://resnet50_caffe is deprecated in favor of openmmlab://detectron/resnet50_caffe" in output


def test_what_mmengines_own_runner_writes_loads_although_torch_refuses_it(
    upstream: Upstream, start_proxy: StartProxy, tmp_path: Path
) -> None:
    script = Path(__file__).with_name("train_with_mmengine.py")
    subprocess.run([sys.executable, str(script), str(tmp_path)], env=untraced(), check=True, timeout=120)
    written = tmp_path / "epoch_1.pth"
    with pytest.raises(Exception, match="HistoryBuffer"):
        torch.load(written)
    upstream.put("/download.openmmlab.com/runs/epoch_1.pth", written.read_bytes())
    proxy = start_proxy()
    node = """
import sys, torch
from torch import nn
from mmengine.runner import load_checkpoint
import zooproxy
zooproxy.install()
model = nn.ModuleDict(dict(linear=nn.Linear(3, 2)))
checkpoint = load_checkpoint(model, 'https://download.openmmlab.com/runs/epoch_1.pth', strict=True)
expected = torch.load(sys.argv[1], weights_only=False)['state_dict']
for name, value in model.state_dict().items():
    assert torch.equal(value, expected[name])
print(sorted(checkpoint), checkpoint['meta']['epoch'])
"""
    assert "['meta', 'state_dict'] 1" in on_a_node(proxy, node, str(written), cwd=tmp_path)
