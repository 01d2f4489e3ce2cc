"""What a config names, and what the command prints."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from end_to_end.proxy_process import ProxyProcess, running_proxy
from fakes.upstream import Gate, Upstream, running_upstream
from zooproxy.cli import main
from zooproxy.cli.config_references import references_in
from zooproxy.cli.warm import Bars, Lines, _display
from zooproxy.errors import SettingsError

BASE = """
model = dict(backbone=dict(init_cfg=dict(type='Pretrained', checkpoint='torchvision://resnet50')))
data_root = 'https://zoo.example/coco.zip'
"""
CONFIG = """
_base_ = ['./base.py', 'mmdet::_base_/default_runtime.py']
load_from = "https://zoo.example/net.pth?x=1"
raise RuntimeError("a config is read, not run")
resume = ('cluster:s3://bucket/run/epoch_1.pth', 'torchvision://resnet50', 'work_dirs/x.pth')
"""


def test_a_configs_references_and_its_bases_are_found_without_running_it(tmp_path: Path) -> None:
    (tmp_path / "base.py").write_text(BASE)
    (tmp_path / "config.py").write_text(CONFIG)
    assert references_in(tmp_path / "config.py") == [
        "https://zoo.example/net.pth?x=1",
        "cluster:s3://bucket/run/epoch_1.pth",
        "torchvision://resnet50",
    ]


@pytest.mark.parametrize("text", ["load_from: mmcls://vgg16\n", '{"load_from": "mmcls://vgg16"}'])
def test_yaml_and_json_are_read_too(tmp_path: Path, text: str) -> None:
    config = tmp_path / "config.yaml"
    config.write_text(text)
    assert references_in(config) == ["mmcls://vgg16"]


def test_bases_that_name_each_other_are_read_once(tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text("_base_ = 'b.py'\nx = 'mmcls://vgg16'\n")
    (tmp_path / "b.py").write_text("_base_ = 'a.py'\n")
    assert references_in(tmp_path / "a.py") == ["mmcls://vgg16"]


@pytest.mark.parametrize("content", [None, b"\xff\xfe", b"def ("])
def test_a_config_that_cannot_be_read_is_named(tmp_path: Path, content: bytes | None) -> None:
    config = tmp_path / "config.py"
    if content is not None:
        config.write_bytes(content)
    with pytest.raises(SettingsError, match=r"config\.py"):
        references_in(config)


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with running_upstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory, upstream: Upstream) -> Iterator[ProxyProcess]:
    mirrors = {"download.pytorch.org": [upstream.url, "off"]}
    with running_proxy(tmp_path_factory.mktemp("data"), mirrors=mirrors) as proxy:
        yield proxy


@pytest.fixture
def pointed(proxy: ProxyProcess, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOOPROXY", proxy.url)


@pytest.mark.usefixtures("pointed")
def test_warm_and_wait_tells_what_became_of_each(
    upstream: Upstream, small_checkpoint: bytes, capsys: pytest.CaptureFixture[str]
) -> None:
    upstream.put("/good.pth", small_checkpoint)
    urls = [f"https://download.pytorch.org/{name}.pth" for name in ("good", "bad")]
    assert main(["warm", *urls, "torchvision://resnet5O", "--wait"]) == 1
    out = capsys.readouterr().out
    assert f"done     {urls[0]}: " in out
    assert f"failed   {urls[1]}: upstream answered 404" in out
    assert "refused  torchvision://resnet5O: torchvision has no model" in out
    assert main(["warm", urls[0]]) == 0
    assert capsys.readouterr().out == f"held     {urls[0]}\n"


@pytest.mark.usefixtures("pointed")
def test_warm_from_a_config_without_wait_returns_at_once(
    upstream: Upstream, large_checkpoint: bytes, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    gate = Gate(large_checkpoint, 1000)
    upstream.put("/slow.pth", gate)
    config = tmp_path / "config.py"
    config.write_text("load_from = 'https://download.pytorch.org/slow.pth'\n")
    assert main(["warm", "--from-config", str(config)]) == 0
    assert capsys.readouterr().out == "queued   https://download.pytorch.org/slow.pth\n"
    gate.open()
    assert main(["warm", "--from-config", str(config), "--wait"]) == 0


def test_warm_without_a_reference_or_a_proxy_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["warm"]) == 1
    for proxies in ("off", "http://127.0.0.1:1"):
        monkeypatch.setenv("ZOOPROXY", proxies)
        assert main(["warm", "mmcls://vgg16"]) == 1
    err = capsys.readouterr().err
    assert "nothing to warm" in err
    assert "no cache to warm" in err
    assert "does not answer" in err


def test_a_terminal_gets_bars_and_everything_else_lines(capsys: pytest.CaptureFixture[str]) -> None:
    fill = {"state": "running", "bytes_done": 5, "bytes_total": 10, "error": None}
    with _display(terminal=True) as bars:
        assert isinstance(bars, Bars)
        bars.show("mmcls://vgg16", fill)
        bars.show("mmcls://vgg16", {**fill, "state": "failed", "error": {"detail": "no [such] host"}})
    assert "no [such] host" in capsys.readouterr().out
    with _display(terminal=False) as lines:
        assert isinstance(lines, Lines)
        lines.show("mmcls://vgg16", fill)
    assert capsys.readouterr().out == ""
