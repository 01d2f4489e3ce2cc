"""``ZOOPROXY_LOCK``: what is not in the lock file is not loaded, whoever vouches for it."""

from __future__ import annotations

import dataclasses
import io
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from fakes.upstream import Upstream
from zooproxy.client import checkpoint, hub
from zooproxy.client.comparing import shapes_of
from zooproxy.client.loader import load
from zooproxy.client.locked import locked_entry
from zooproxy.client.pulling import Rendition, pull
from zooproxy.client.settings import ClientSettings
from zooproxy.digest import Sha256
from zooproxy.errors import (
    BadReference,
    BadRequest,
    LockedOtherwise,
    MalformedLock,
    NotLocked,
    ProxyNotConfigured,
    TransferCorrupt,
    UnsupportedSource,
)
from zooproxy.names.lock import Lock, Locked, write_lock
from zooproxy.wire.tensors import tensor_index_to_json

REF = "torchvision://resnet50"
URL = "https://download.pytorch.org/models/resnet50-0676ba61.pth"
A, B = Sha256("a" * 64), Sha256("b" * 64)

Settings = Callable[..., ClientSettings]


@pytest.fixture
def with_lock(tmp_path: Path) -> Settings:
    """Settings for proxies and a lock of the entries."""

    def settings(*entries: Locked, proxies: tuple[str, ...] = ("direct",), store: bool = True) -> ClientSettings:
        path = tmp_path / "weights.lock"
        path.write_bytes(write_lock(Lock(entries)))
        return ClientSettings(proxies, folder=tmp_path / "store" if store else None, lock=path)

    return settings


def torch_file(value: Any) -> bytes:
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


@pytest.fixture
def net() -> bytes:
    return torch_file({"state_dict": {"backbone.w": torch.arange(3.0), "head.w": torch.ones(2)}, "epoch": 3})


def entry(ref: str, data: bytes, url: str | None = None) -> Locked:
    return Locked(ref, url or ref, Sha256.of(data), len(data))


# -- what the lock says of a reference --------------------------------------------------------------------


def test_without_a_lock_file_nothing_is_locked() -> None:
    assert locked_entry(REF, ClientSettings(("direct",))) is None


@pytest.mark.parametrize("ref", [REF, "modelzoo://resnet50", URL, "torchvision://ResNet50_Weights.IMAGENET1K_V1"])
def test_a_reference_is_found_by_its_source(with_lock: Settings, ref: str) -> None:
    assert locked_entry(ref, with_lock(Locked(REF, URL, A, 5))) == Locked(REF, URL, A, 5)


@pytest.mark.parametrize("ref", ["torchvision://resnet18", "torchvision://no_such_net", "https://h.example/x.pth"])
def test_a_reference_that_is_not_locked_is_refused_with_the_way_out(with_lock: Settings, ref: str) -> None:
    settings = with_lock(Locked(REF, URL, A, 5))
    with pytest.raises(NotLocked, match="zooproxy lock") as refused:
        locked_entry(ref, settings)
    assert refused.value.reference == ref
    assert f"'{ref}' is not in {settings.lock}" in str(refused.value)


def test_what_is_no_reference_is_told_as_such(with_lock: Settings) -> None:
    with pytest.raises(BadReference):
        locked_entry("resnet50", with_lock())


@pytest.mark.parametrize("content", [None, b"weights: all of them"])
def test_a_lock_file_that_is_none_loads_nothing(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "weights.lock"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(MalformedLock, match=r"weights\.lock"):
        load(REF, settings=ClientSettings(("direct",), lock=path))


def test_the_variable_names_the_lock_file(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = ClientSettings.from_environ({"ZOOPROXY": "direct", "ZOOPROXY_LOCK": " ~/weights.lock "})
    assert settings.lock == Path("~/weights.lock").expanduser()
    assert ClientSettings.from_environ({"ZOOPROXY": "direct", "ZOOPROXY_LOCK": " "}).lock is None


# -- direct -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("store", [True, False])
def test_direct_takes_what_is_locked_from_the_locked_url(
    with_lock: Settings, upstream: Upstream, net: bytes, store: bool
) -> None:
    url = upstream.put("/moved/net-00000000.pth", net)  # a hint that is wrong: the lock outranks it
    settings = with_lock(entry("mmcls://my_own", net, url), store=store)
    assert load("mmcls://my_own", settings=settings)["state_dict"]["w"].tolist() == [0, 1, 2]
    assert load(url, prefix="head", settings=settings)["w"].tolist() == [1, 1]
    assert len(upstream.seen) == (1 if store else 2)


def test_direct_refuses_other_bytes_than_locked_with_both_digests(
    with_lock: Settings, upstream: Upstream, net: bytes, small_checkpoint: bytes, tmp_path: Path
) -> None:
    url = upstream.put("/net.pth", small_checkpoint)
    load(url, settings=ClientSettings(("direct",), folder=tmp_path / "store"))  # in the store, but not proven for this
    settings = with_lock(entry(url, net))
    for attempt in (
        lambda: load(url, settings=settings),
        lambda: pull(Rendition(url), tmp_path / "out.pth", settings),
    ):
        with pytest.raises(LockedOtherwise, match="zooproxy lock --update") as refused:
            attempt()
        assert (refused.value.expected, refused.value.actual) == (Sha256.of(net), Sha256.of(small_checkpoint))
        assert refused.value.reference == url
    assert not (tmp_path / "out.pth").exists()


def test_direct_asks_nobody_for_what_is_not_locked(with_lock: Settings, upstream: Upstream, net: bytes) -> None:
    url = upstream.put("/net.pth", net)
    with pytest.raises(NotLocked):
        load(url, settings=with_lock())
    assert upstream.seen == []


def test_direct_pulls_what_is_locked_under_its_own_name(
    with_lock: Settings, upstream: Upstream, net: bytes, tmp_path: Path
) -> None:
    url = upstream.put("/net.pth?versionId=1", net)
    pulled = pull(Rendition(url), tmp_path, with_lock(entry(url, net)))
    assert (pulled.path, pulled.path.read_bytes()) == (tmp_path / "net.pth", net)


def test_direct_cannot_take_a_locked_object(with_lock: Settings, net: bytes) -> None:
    with pytest.raises(UnsupportedSource):
        load("s3://bucket/net.pth", settings=with_lock(entry("s3://bucket/net.pth", net)))


# -- a proxy ----------------------------------------------------------------------------------------------


def test_a_proxy_is_asked_for_nothing_that_is_not_locked(with_lock: Settings, proxy: Any, tmp_path: Path) -> None:
    settings = with_lock(proxies=(proxy.base,))
    for attempt in (
        lambda: load(REF, settings=settings),
        lambda: load(REF, settings=settings, verify=False),
        lambda: shapes_of(REF, settings=settings),
        lambda: pull(Rendition(REF), tmp_path, settings),
    ):
        with pytest.raises(NotLocked):
            attempt()
    assert proxy.requests == []


def test_a_proxy_that_holds_other_bytes_is_told_by_its_index(with_lock: Settings, proxy: Any) -> None:
    index = proxy.publish(REF, {"w": torch.ones(3)})
    settings = with_lock(Locked(REF, URL, A, index.size), proxies=(proxy.base,))
    for attempt in (
        lambda: load(REF, settings=settings),
        lambda: load(REF, settings=settings, verify=False),
        lambda: shapes_of(REF, settings=settings),
    ):
        with pytest.raises(LockedOtherwise) as refused:
            attempt()
        assert (refused.value.expected, refused.value.actual) == (A, index.blob)
    assert set(proxy.paths) == {"tensors", "resolve"}


def test_a_proxy_that_lies_about_its_blob_is_not_believed(with_lock: Settings, proxy: Any, net: bytes) -> None:
    """It says the locked digest, and vouches for other bytes with digests of their own."""
    index = proxy.publish(REF, {"w": torch.ones(3)})
    lying = {**tensor_index_to_json(index), "blob": Sha256.of(net)}
    proxy.serve(REF, lying)
    proxy.blobs[Sha256.of(net)] = proxy.blobs[index.blob]
    settings = with_lock(Locked(REF, URL, Sha256.of(net), index.size), proxies=(proxy.base,))
    with pytest.raises(TransferCorrupt, match=f"{Sha256.of(net)} arrived with another digest"):
        load(REF, settings=settings)


def test_a_proxy_that_lies_about_where_tensors_lie_changes_nothing(with_lock: Settings, proxy: Any, net: bytes) -> None:
    index = proxy.publish(REF, {"w": torch.ones(3)})
    lying = {**tensor_index_to_json(index), "blob": Sha256.of(net), "size": len(net)}
    proxy.serve(REF, lying, texts=["a word"])
    proxy.blobs[Sha256.of(net)] = net
    settings = with_lock(Locked(REF, URL, Sha256.of(net), len(net)), proxies=(proxy.base,))
    with pytest.warns(UserWarning, match="a word"):
        loaded = load(REF, settings=settings)
    assert loaded["state_dict"]["backbone.w"].tolist() == [0, 1, 2]


def test_a_pulled_file_is_proven_by_the_lock_and_removed_if_it_is_another(
    with_lock: Settings, proxy: Any, net: bytes, small_checkpoint: bytes, tmp_path: Path
) -> None:
    proxy.files[REF, "raw"] = net
    folder = tmp_path / "pulled"
    folder.mkdir()
    pulled = pull(Rendition(REF), folder / "net.pth", with_lock(entry(REF, net, URL), proxies=(proxy.base,)))
    assert pulled.path.read_bytes() == net
    settings = with_lock(entry(REF, small_checkpoint, URL), proxies=(proxy.base,))
    with pytest.raises(LockedOtherwise) as refused:
        pull(Rendition(REF), folder / "other.pth", settings)
    assert (refused.value.expected, refused.value.actual) == (Sha256.of(small_checkpoint), Sha256.of(net))
    assert [path.name for path in folder.iterdir()] == ["net.pth"]


def test_a_converted_file_is_not_pulled_for_no_lock_can_prove_it(with_lock: Settings, net: bytes) -> None:
    with pytest.raises(BadRequest, match="zooproxy convert"):
        pull(Rendition(REF, "model"), Path(), with_lock(entry(REF, net, URL)))


# -- the ways past the proxy ------------------------------------------------------------------------------


def test_nothing_but_a_proxy_serves_objects_and_pavi_where_there_is_a_lock(
    with_lock: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("ZOOPROXY", raising=False)
    monkeypatch.setenv("ZOOPROXY_LOCK", str(with_lock().lock))
    for load_from in (checkpoint.load_from_ceph, checkpoint.load_from_pavi):
        with pytest.raises(ProxyNotConfigured):
            load_from("s3://bucket/x.pth" if load_from is checkpoint.load_from_ceph else "pavi://x")


def test_torch_hub_takes_no_odd_url_past_the_lock(
    with_lock: Settings, upstream: Upstream, net: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    url = upstream.put("/weights?id=5", net)
    monkeypatch.setenv("ZOOPROXY", "direct")
    monkeypatch.setenv("ZOOPROXY_LOCK", str(with_lock().lock))
    with pytest.raises(NotLocked):
        hub.load_state_dict_from_url(url)
    assert upstream.seen == []
    with_lock(entry(url, net))
    assert hub.load_state_dict_from_url(url, progress=False)["epoch"] == 3


# -- over several connections -----------------------------------------------------------------------------


@pytest.fixture
def large() -> bytes:
    return torch_file({"w": torch.arange(3_000_000.0), "head.w": torch.ones(2)})


@pytest.fixture
def locked_large(with_lock: Settings, start_proxy: Any, large: bytes) -> Callable[..., tuple[Any, ClientSettings]]:
    """A proxy that holds it, and settings under which it is worth three connections."""

    def make(*others: Any, store: bool = True) -> tuple[Any, ClientSettings]:
        proxy = start_proxy()
        described = proxy.publish(REF, {"w": torch.ones(3)})
        for prefix in (None, "head."):
            body = {**tensor_index_to_json(described), "blob": Sha256.of(large), "size": len(large)}
            proxy.serve(REF, body, prefix=prefix)
        proxy.blobs[Sha256.of(large)] = large
        settings = with_lock(
            entry(REF, large, URL), proxies=(proxy.base, *(other.base for other in others)), store=store
        )
        return proxy, dataclasses.replace(settings, connections=3, part=1 << 20)

    return make


@pytest.mark.parametrize("store", [True, False])
def test_a_locked_file_comes_in_pieces_over_several_connections(locked_large: Any, store: bool) -> None:
    proxy, settings = locked_large(store=store)
    together = threading.Barrier(3, timeout=30)
    proxy.misbehaviours["blobs"].extend([lambda handler: (together.wait(), handler.blob(handler.path[10:]))] * 3)
    assert torch.equal(load(REF, settings=settings)["w"], torch.arange(3_000_000.0))
    asked = proxy.paths.count("blobs")
    assert asked == 9  # three for each connection
    assert load(REF, prefix="head.", settings=settings)["w"].tolist() == [1, 1]
    assert proxy.paths.count("blobs") == (asked if store else 2 * asked)  # the node has all of it, for any prefix


@pytest.mark.parametrize("store", [True, False])
def test_a_changed_byte_anywhere_in_it_is_found_and_asked_for_elsewhere(
    locked_large: Any, large: bytes, store: bool
) -> None:
    right, _ = locked_large()
    wrong, settings = locked_large(right, store=store)
    data = bytearray(large)
    data[-5_000_000] ^= 1
    wrong.blobs[Sha256.of(large)] = bytes(data)
    assert torch.equal(load(REF, settings=settings)["w"], torch.arange(3_000_000.0))
    assert (wrong.paths.count("blobs"), right.paths.count("blobs")) == (18, 9)
    with pytest.raises(TransferCorrupt, match="another digest"):
        load(REF, settings=dataclasses.replace(settings, proxies=(wrong.base,), folder=None))


def test_a_piece_that_breaks_off_and_comes_again_is_hashed_once(locked_large: Any, large: bytes) -> None:
    proxy, settings = locked_large()

    def cut(handler: Any) -> None:
        first, last = map(int, handler.headers["Range"][6:].split("-"))
        field = {"Content-Range": f"bytes {first}-{last}/{len(large)}"}
        handler.reply(206, b"x" * (last + 1 - first) if first else large[:1000], field, last + 1 - first)
        handler.close_connection = True

    proxy.misbehaviours["blobs"].append(cut)
    assert torch.equal(load(REF, settings=dataclasses.replace(settings, connections=1))["w"], torch.arange(3_000_000.0))
