"""A node with ``ZOOPROXY_LOCK`` and a real proxy: every way in obeys the lock file."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.hub

import zooproxy
from end_to_end.conftest import played_by
from end_to_end.proxy_process import ProxyProcess, running_proxy
from fakes.upstream import running_upstream
from formats.checkpoint_files import repacked
from zooproxy.cli import main
from zooproxy.client.hooks import install, uninstall
from zooproxy.digest import Sha256
from zooproxy.errors import LockedOtherwise, NotLocked
from zooproxy.names.lock import Lock, Locked, write_lock

VGG = "https://download.openmmlab.com/mmclassification/v0/vgg/vgg16_batch256_imagenet_20210208-db26f1a5.pth"
NET = "https://download.pytorch.org/net.pth"
BIG = "https://download.pytorch.org/of-another-machine.pth"
OTHER = "https://download.pytorch.org/other.pth"

WriteLock = Callable[..., None]


def file_of(value: Any) -> bytes:
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


def big_endian() -> bytes:
    value = {"a": torch.arange(4), "h": torch.ones(3).half(), "c": torch.ones(2, dtype=torch.complex64) * 1j}
    return repacked(
        file_of({"state_dict": {**value, "tied": value["a"][1:], "octets": torch.arange(3).byte()}}), byteorder=b"big"
    )


@pytest.fixture(scope="module")
def vgg() -> bytes:
    state = {"backbone.w": torch.arange(4.0), "head.w": torch.ones(2)}
    return file_of({"state_dict": state, "meta": {"epoch": 1}, "optimizer": [torch.zeros(9)]})


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory, vgg: bytes, small_checkpoint: bytes) -> Iterator[ProxyProcess]:
    with running_upstream() as upstream:
        for url, body in ((VGG, vgg), (NET, small_checkpoint), (OTHER, vgg), (BIG, big_endian())):
            upstream.put(url.removeprefix("https:/"), body)
        settings = {"mirrors": played_by(upstream), "pins": {VGG: Sha256.of(vgg)}}
        with running_proxy(tmp_path_factory.mktemp("data"), **settings) as proxy:
            yield proxy


@pytest.fixture
def write(proxy: ProxyProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> WriteLock:
    """Locks references to bytes, and points this node at the proxy and at that lock."""
    monkeypatch.setenv("ZOOPROXY", proxy.url)
    monkeypatch.setenv("ZOOPROXY_LOCK", str(tmp_path / "weights.lock"))

    def lock(**locked: tuple[str, bytes]) -> None:
        entries = [Locked(ref, ref, Sha256.of(body), len(body)) for ref, body in locked.values()]
        (tmp_path / "weights.lock").write_bytes(write_lock(Lock(entries)))

    return lock


@pytest.mark.parametrize("folder", ["store", "memory"])
def test_what_is_locked_loads_as_it_does_without_a_lock(
    write: WriteLock, vgg: bytes, small_checkpoint: bytes, folder: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZOOPROXY_CACHE_DIR", folder if folder == "memory" else str(tmp_path / folder))
    write(vgg=(VGG, vgg), net=(NET, small_checkpoint))
    assert list(zooproxy.load("mmcls://vgg16")) == ["state_dict"]  # by the source that it has in common with VGG
    assert zooproxy.load("mmcls://vgg16")["state_dict"]["w"].tolist() == [0, 1, 2, 3]
    assert list(zooproxy.load(VGG)) == ["state_dict", "meta"]
    assert zooproxy.load(VGG, prefix="head.")["w"].tolist() == [1, 1]
    assert zooproxy.load(VGG, prefix="head.", broadcast=True)["w"].tolist() == [1, 1]
    assert zooproxy.load(VGG, prefix="head.", broadcast=True, verify=False)["w"].tolist() == [1, 1]
    assert zooproxy.load(NET, verify=False)["bias"].tolist() == [1, 1]
    model = torch.nn.Linear(3, 2)
    zooproxy.load_checkpoint(model, NET, strict=True)
    assert model.weight[1, 2].item() == 5


def test_every_way_in_refuses_what_is_not_locked(
    write: WriteLock, vgg: bytes, mmengine_checkpoint: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    write(vgg=(VGG, vgg))
    install(["mmengine.runner", "torch.hub"])
    try:
        ways: list[Callable[[], Any]] = [
            lambda: zooproxy.load(OTHER),
            lambda: zooproxy.load(OTHER, broadcast=True),
            lambda: zooproxy.compare(torch.nn.Linear(3, 2), OTHER),
            lambda: zooproxy.load_checkpoint(torch.nn.Linear(3, 2), OTHER),
            lambda: mmengine_checkpoint.load_checkpoint(torch.nn.Linear(3, 2), OTHER),
            lambda: mmengine_checkpoint.CheckpointLoader.load_checkpoint("torchvision://resnet18"),
            lambda: torch.hub.load_state_dict_from_url(OTHER),
            lambda: torch.hub.download_url_to_file(OTHER, str(tmp_path / "other.pth")),
        ]
        for way in ways:
            with pytest.raises(NotLocked, match="zooproxy lock"):
                way()
        loaded = mmengine_checkpoint.CheckpointLoader.load_checkpoint("mmcls://vgg16")
        assert list(loaded["state_dict"]) == ["w"]
        whole = torch.hub.load_state_dict_from_url(VGG, progress=False)
        assert list(whole) == ["state_dict", "meta", "optimizer"]
    finally:
        uninstall(["mmengine.runner", "torch.hub"])
    assert main(["pull", OTHER, "-o", str(tmp_path / "other.pth")]) == 1
    assert "not in the lock file" in capsys.readouterr().err
    assert main(["pull", VGG, "-o", str(tmp_path / "vgg.pth")]) == 0
    assert (tmp_path / "vgg.pth").read_bytes() == vgg
    assert not (tmp_path / "other.pth").exists()


def test_what_the_proxy_holds_otherwise_is_refused_with_both_digests(
    write: WriteLock, vgg: bytes, small_checkpoint: bytes, tmp_path: Path
) -> None:
    write(other=(OTHER, small_checkpoint))
    for way in (lambda: zooproxy.load(OTHER), lambda: zooproxy.load(OTHER, verify=False)):
        with pytest.raises(LockedOtherwise) as refused:
            way()
        assert (refused.value.expected, refused.value.actual) == (Sha256.of(small_checkpoint), Sha256.of(vgg))
    assert main(["pull", OTHER, "-o", str(tmp_path)]) == 1


@pytest.mark.parametrize("verify", [True, False])
@pytest.mark.parametrize("broadcast", [True, False])
def test_numbers_of_another_byte_order_are_turned_on_the_node(write: WriteLock, verify: bool, broadcast: bool) -> None:
    """The proxy describes a blob that it derived, and which no lock lists."""
    data = big_endian()
    write(big=(BIG, data))
    expected = torch.load(io.BytesIO(data), weights_only=True)["state_dict"]
    loaded = zooproxy.load(BIG, verify=verify, broadcast=broadcast)["state_dict"]
    assert all(torch.equal(loaded[name], tensor) for name, tensor in expected.items())
    assert list(loaded) == list(expected)
    again = zooproxy.load(BIG, verify=verify)["state_dict"]  # from the store, whose file is as published
    assert torch.equal(again["a"], expected["a"])
    assert zooproxy.compare(expected, BIG).matches
