"""Onto a device while the bytes arrive: a device that copies as late as it may, and a real one where there is one."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

import zooproxy.client.staging as staging_module
from fakes.late_accelerator import LateAccelerator
from zooproxy.client.assembly import tensors_of, tree_from_json, views_of
from zooproxy.client.chain import Route
from zooproxy.client.description import described
from zooproxy.client.loader import load
from zooproxy.client.plan import whole_plan
from zooproxy.client.receiving import Receiving
from zooproxy.client.settings import ClientSettings
from zooproxy.client.staging import SLOT, SLOTS, Cuda, Staging, accelerator_of
from zooproxy.client.storages import Buffer
from zooproxy.errors import ProxyRefused, TransferCorrupt
from zooproxy.wire import routes
from zooproxy.wire.tensors import tensor_index_to_json

REF = "torchvision://resnet50"

Settings = Callable[..., ClientSettings]


def checkpoint() -> dict[str, torch.Tensor]:
    """Storages of odd lengths, more of them than all slots hold; a tie, a transposed view, an empty one."""
    generator = torch.Generator().manual_seed(1)
    sizes = (3 * SLOT + 17, 5, 4 * SLOT, 3 * SLOT // 2)
    value = {
        f"w{number}": torch.randint(0, 256, (size,), dtype=torch.uint8, generator=generator)
        for number, size in enumerate(sizes)
    }
    value["tied"] = value["w2"][:12].view(torch.float32)
    value["turned"] = value["w0"][: SLOT * 2].view(1024, -1).t()
    value["none"] = torch.empty(0, 3)
    return value


@pytest.fixture
def node(proxy: Any, settings_for: Any, tmp_path: Path) -> Settings:
    def settings(store: bool = True, connections: int = 2) -> ClientSettings:
        folder = tmp_path / "store" if store else None
        return dataclasses.replace(settings_for(proxy), folder=folder, connections=connections, part=1 << 20)

    return settings


def staged(device: Any, settings: ClientSettings, verify: bool = True) -> Any:
    """``load`` onto ``device``."""
    query = {"ref": REF, "variant": routes.MODEL}
    with Route(settings) as route:
        description = route.do(lambda connection: described(connection, query))
        storages = Receiving(settings, route, query, description, verify, False).storages_on(device)
    return tree_from_json(description.body["tree"], views_of(description.index, storages))


def assert_as_saved(loaded: Any, saved: dict[str, torch.Tensor]) -> None:
    assert list(loaded) == list(saved)
    for name, tensor in saved.items():
        found = loaded[name].cpu()
        assert (found.dtype, found.shape, found.stride()) == (tensor.dtype, tensor.shape, tensor.stride())
        assert torch.equal(found, tensor), name
    assert loaded["tied"].untyped_storage()._cdata == loaded["w2"].untyped_storage()._cdata


@pytest.mark.parametrize("connections", [1, 3])
@pytest.mark.parametrize("store", [True, False])
def test_what_arrives_is_on_the_device_whatever_the_order_of_copies(
    proxy: Any, node: Settings, store: bool, connections: int
) -> None:
    proxy.publish(REF, checkpoint(), gap=40)
    device = LateAccelerator()
    assert_as_saved(staged(device, node(store, connections)), checkpoint())
    assert device.pending == 0
    assert device.pinned_bytes <= connections * SLOTS * SLOT


def test_a_slot_that_is_used_again_too_early_would_be_noticed(proxy: Any, node: Settings) -> None:
    """Of the test above: on a device whose marks wait for nothing, other bytes arrive."""
    proxy.publish(REF, checkpoint())
    with pytest.raises(AssertionError, match="w0"):
        assert_as_saved(staged(LateAccelerator(heedless=True), node(connections=1)), checkpoint())


def test_the_second_process_of_a_node_stages_from_its_store(proxy: Any, node: Settings) -> None:
    proxy.publish(REF, checkpoint(), gap=900)
    staged(LateAccelerator(), node())
    asked = proxy.paths.count("blobs")
    device = LateAccelerator()
    assert_as_saved(staged(device, node()), checkpoint())
    assert proxy.paths.count("blobs") == asked
    assert device.pinned_bytes == SLOTS * SLOT
    assert torch.equal(load(REF, settings=node())["w0"], checkpoint()["w0"])  # the file holds what the device got


@pytest.mark.parametrize("heedless", [False, True])
def test_several_threads_stage_what_lies_in_main_memory(proxy: Any, monkeypatch: Any, heedless: bool) -> None:
    monkeypatch.setattr(staging_module, "_PER_COPIER", SLOT)
    monkeypatch.setattr("os.cpu_count", lambda: 3)
    index = proxy.publish(REF, checkpoint(), gap=40)
    buffer = Buffer(index.size)
    buffer.view[:] = proxy.blobs[index.blob]
    device = LateAccelerator(heedless=heedless, threads=3)
    with Staging(device, index, whole_plan(index)) as staging:
        staging.take(buffer.view)
    assert device.pinned_bytes == 3 * SLOTS * SLOT
    loaded = dict(zip(checkpoint(), views_of(index, staging.storages), strict=True))
    if heedless:  # 13 pieces do not fit into 12 slots
        with pytest.raises(AssertionError, match="w"):
            assert_as_saved(loaded, checkpoint())
    else:
        assert_as_saved(loaded, checkpoint())


@pytest.mark.parametrize("store", [True, False])
def test_wrong_bytes_are_overwritten_by_the_right_ones(proxy: Any, node: Settings, store: bool) -> None:
    index = proxy.publish(REF, checkpoint())
    changed, lies = index.storages[2].offset + 7, [1]

    def lie_once(handler: Any) -> None:
        first, last = map(int, re.fullmatch(r"bytes=(\d+)-(\d+)", handler.headers["Range"]).groups())
        part = bytearray(proxy.blobs[index.blob][first : last + 1])
        if first <= changed <= last:
            part[changed - first] ^= lies.pop() if lies else 0
        handler.reply(206, bytes(part), {"Content-Range": f"bytes {first}-{last}/{index.size}"})

    proxy.misbehaviours["blobs"].extend([lie_once] * 20)
    assert_as_saved(staged(LateAccelerator(), node(store, 1)), checkpoint())
    assert lies == []


def test_digests_that_come_later_prove_what_is_on_the_device(proxy: Any, node: Settings) -> None:
    proxy.digests_are_late = True
    index = proxy.publish(REF, checkpoint())
    assert_as_saved(staged(LateAccelerator(), node(store=False)), checkpoint())
    data = bytearray(proxy.blobs[index.blob])
    data[index.storages[1].offset] ^= 1
    proxy.blobs[index.blob] = bytes(data)
    with pytest.raises(TransferCorrupt):
        staged(LateAccelerator(), node(store=False))


@pytest.mark.parametrize("store", [True, False])
def test_storages_that_overlap_are_proven_in_memory_of_this_machine(proxy: Any, node: Settings, store: bool) -> None:
    index = proxy.publish(REF, {"all": torch.arange(9.0), "part": torch.arange(9.0)})
    body = tensor_index_to_json(index)
    start = body["storages"][0][0]
    body["storages"][1] = [start + 4, 16, None, None]
    body["tensors"][1]["shape"] = [4]
    proxy.serve(REF, body)
    loaded = staged(LateAccelerator(), node(store), verify=False)
    assert (loaded["all"].tolist(), loaded["part"].tolist()) == (list(range(9)), [1, 2, 3, 4])


def test_a_transfer_that_fails_leaves_no_copy_running(proxy: Any, node: Settings) -> None:
    proxy.publish(REF, checkpoint())
    proxy.misbehaviours["blobs"].append(lambda handler: handler.blob(handler.path[10:]))
    proxy.misbehaviours["blobs"].extend([lambda handler: handler.problem(403, "not-allowed", "no more")] * 9)
    device = LateAccelerator()
    with pytest.raises(ProxyRefused):
        staged(device, node(connections=1))
    assert device.made
    assert device.pending == 0


def test_a_disk_that_is_full_means_the_device_only(proxy: Any, node: Settings, caplog: Any) -> None:
    proxy.publish(REF, checkpoint())
    settings = dataclasses.replace(node(), folder=Path("/dev/full"))
    assert_as_saved(staged(LateAccelerator(), settings), checkpoint())
    assert "the node's store cannot be used" in caplog.text


def test_a_checkpoint_without_bytes_needs_no_slot(proxy: Any, node: Settings) -> None:
    proxy.publish(REF, {"none": torch.empty(0, 3)})
    device = LateAccelerator()
    assert staged(device, node())["none"].shape == (0, 3)
    assert device.made == []


def test_gaps_between_storages_are_not_copied(proxy: Any) -> None:
    index = proxy.publish(REF, {"a": torch.arange(3.0), "b": torch.arange(5.0)}, gap=3 * SLOT)
    buffer = Buffer(index.size)
    buffer.view[:] = proxy.blobs[index.blob]
    device = LateAccelerator()
    with Staging(device, index, whole_plan(index)) as staging:
        staging.take(buffer.view)
    a, b = views_of(index, staging.storages)
    assert (a.tolist(), b.tolist()) == ([0, 1, 2], [0, 1, 2, 3, 4])
    assert device.marks == 2


# -- which device -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("where", [None, "cpu", "meta", {"cuda:0": "cpu"}, lambda storage, location: storage])
def test_nothing_is_staged_for_what_is_no_cuda_device(where: Any) -> None:
    assert accelerator_of(where) is None


NO_GPU = not torch.cuda.is_available()


@pytest.mark.skipif(not NO_GPU, reason="this machine has a CUDA device")
def test_a_device_that_is_not_there_is_told_before_anything_is_received(proxy: Any) -> None:
    proxy.publish(REF, checkpoint())
    with pytest.raises((RuntimeError, AssertionError), match="CUDA"):
        load(REF, "cuda")
    assert "blobs" not in proxy.paths


@pytest.mark.skipif(NO_GPU, reason="a CUDA device is hardware, not a component: no target of make can bring one")
@pytest.mark.parametrize("store", [True, False])
def test_a_real_device_gets_the_same_as_the_cpu(proxy: Any, node: Settings, store: bool) -> None:
    index = proxy.publish(REF, checkpoint(), gap=40)
    busy = torch.ones(1 << 24, device="cuda")
    for _ in range(50):  # what is freed here is still in use when the load allocates
        busy = busy * 1.0001
    device = accelerator_of("cuda")
    assert isinstance(device, Cuda)
    assert_as_saved(staged(device, node(store)), checkpoint())
    with torch.inference_mode():
        loaded = load(REF, torch.device("cuda", 0), settings=node(store))
    assert_as_saved(loaded, checkpoint())
    assert {tensor.device.type for tensor in loaded.values()} == {"cuda"}
    assert loaded["w0"].untyped_storage().nbytes() == index.storages[0].size
    buffer = Buffer(index.size)
    buffer.view[:] = proxy.blobs[index.blob]
    for here, there in zip(tensors_of(index, whole_plan(index), buffer, "cuda"), checkpoint().values(), strict=True):
        assert torch.equal(here.cpu(), there)
