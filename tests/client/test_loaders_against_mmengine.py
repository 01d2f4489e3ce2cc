"""Every loader beside mmengine's own: the same names, the same values, the same words in the log.

mmengine downloads from the hosts themselves; here its ``load_url`` reads what the proxy's upstream plays.
"""

from __future__ import annotations

import io
import logging
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any

import pytest
import torch

from end_to_end.conftest import played_by
from end_to_end.proxy_process import ProxyProcess, running_proxy
from fakes.upstream import running_upstream
from zooproxy.client import checkpoint as ours
from zooproxy.digest import Sha256

Said = list[tuple[str, Any, int]]


def saved(value: Any) -> bytes:
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


PLAIN = saved(OrderedDict({"conv1.weight": torch.arange(6.0), "fc.bias": torch.ones(3)}))
CLASSIFIER = saved(
    {"state_dict": {"backbone.w": torch.arange(4.0), "backbone.b": torch.ones(1), "head.w": torch.ones(2)}, "meta": {}}
)

#: Reference, and the loader that is asked.
CASES = {
    "load_from_http": "https://download.pytorch.org/models/mine.pth",
    "load_from_torchvision": "torchvision://resnet18",
    "load_from_torchvision, of old": "modelzoo://resnet18",
    "load_from_openmmlab": "open-mmlab://detectron2/resnet50_caffe",
    "load_from_openmmlab, other prefix": "openmmlab://detectron2/resnet50_caffe",
    "load_from_openmmlab, deprecated": "open-mmlab://resnet50_caffe",
    "load_from_mmcls": "mmcls://vgg16",
}


@pytest.fixture(scope="module")
def files(mmengine_checkpoint: Any) -> dict[str, bytes]:
    """By URL, as mmengine's own maps have them."""
    names = mmengine_checkpoint.get_external_models()
    return {
        CASES["load_from_http"]: PLAIN,
        ours.get_torchvision_models()["resnet18"]: PLAIN,
        names["detectron2/resnet50_caffe"]: PLAIN,
        names[mmengine_checkpoint.get_deprecated_model_names()["resnet50_caffe"]]: PLAIN,
        mmengine_checkpoint.get_mmcls_models()["vgg16"]: CLASSIFIER,
    }


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory, files: dict[str, bytes]) -> Iterator[ProxyProcess]:
    with running_upstream() as upstream:
        for url, body in files.items():
            upstream.put(url.removeprefix("https:/"), body)
        pins = {url: Sha256.of(body) for url, body in files.items()}
        data = tmp_path_factory.mktemp("data")
        with running_proxy(data, mirrors=played_by(upstream), pins=pins) as proxy:
            yield proxy


@pytest.fixture
def theirs(mmengine_checkpoint: Any, files: dict[str, bytes], monkeypatch: pytest.MonkeyPatch) -> Any:
    def load_url(url: str, model_dir: Any = None, map_location: Any = None, **_: Any) -> Any:
        return torch.load(io.BytesIO(files[url]), map_location=map_location)

    monkeypatch.setattr(mmengine_checkpoint, "load_url", load_url)
    # It needs torchvision installed, to read the same list.
    monkeypatch.setattr(mmengine_checkpoint, "get_torchvision_models", ours.get_torchvision_models)
    return mmengine_checkpoint


def heard(module: Any, monkeypatch: pytest.MonkeyPatch) -> Said:
    said: Said = []

    def print_log(text: str, logger: Any = None, level: int = logging.INFO) -> None:
        said.append((text, logger, level))

    monkeypatch.setattr(module, "print_log", print_log)
    return said


def assert_same(found: Any, expected: Any) -> None:
    assert list(found) == list(expected)
    for key, value in expected.items():
        if isinstance(value, torch.Tensor):
            assert torch.equal(found[key], value)
        else:
            assert_same(found[key], value)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("through", ["itself", "the registry"])
def test_a_loader_gives_and_says_what_mmengines_does(
    proxy: ProxyProcess, theirs: Any, monkeypatch: pytest.MonkeyPatch, case: str, through: str
) -> None:
    monkeypatch.setenv("ZOOPROXY", proxy.url)
    name, ref = case.split(",")[0], CASES[case]

    def asked(module: Any) -> tuple[Any, Said]:
        said = heard(module, monkeypatch)
        load: Callable[..., Any] = getattr(module, name)
        if through == "the registry":
            load = module.CheckpointLoader.load_checkpoint
        return load(ref, map_location="cpu"), said

    found, said = asked(ours)
    expected, told = asked(theirs)
    assert_same(found, expected)
    assert said == told


@pytest.mark.parametrize(
    ("name", "ref"),
    [
        ("load_from_local", "/nothing/here.pth"),
        ("load_from_mmcls", "mmcls://no_such_model"),
        ("load_from_openmmlab", "openmmlab://no_such_model"),
        ("load_from_torchvision", "torchvision://no_such_model"),
    ],
)
def test_what_is_not_there_is_the_same_error(
    proxy: ProxyProcess, theirs: Any, monkeypatch: pytest.MonkeyPatch, name: str, ref: str
) -> None:
    monkeypatch.setenv("ZOOPROXY", proxy.url)
    kinds = []
    for module in (theirs, ours):
        with pytest.raises((KeyError, FileNotFoundError)) as caught:
            getattr(module, name)(ref, map_location="cpu")
        kinds.append(caught.type)
    assert issubclass(kinds[1], kinds[0])
