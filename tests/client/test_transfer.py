"""Several connections at once: what each takes, how they fail, and what is proven while bytes arrive."""

from __future__ import annotations

import dataclasses
import threading
from collections import OrderedDict
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
import torch

from zooproxy.client.loader import load
from zooproxy.client.node_store import NodeStore
from zooproxy.client.parts import Part, Proof, parts_of
from zooproxy.client.plan import Span, plan_of
from zooproxy.client.settings import ClientSettings
from zooproxy.digest import Sha256
from zooproxy.errors import ProxyRefused, TransferCorrupt

REF = "torchvision://resnet50"
COUNT = 12


def checkpoint() -> OrderedDict[str, torch.Tensor]:
    return OrderedDict((f"w{number}", torch.full((100,), float(number))) for number in range(COUNT))


def as_saved(loaded: Any) -> bool:
    return all(torch.equal(loaded[name], tensor) for name, tensor in checkpoint().items())


@pytest.fixture
def many(settings_for: Any) -> Callable[..., ClientSettings]:
    """Settings under which twelve storages of 400 bytes are worth several connections."""

    def settings(*proxies: Any, connections: int = 3) -> ClientSettings:
        return dataclasses.replace(settings_for(*proxies), connections=connections, part=400)

    return settings


def test_parts_cover_the_plan_and_are_cut_between_storages(proxy: Any, many: Any) -> None:
    index = proxy.publish(REF, checkpoint(), gap=40)
    plan = plan_of(index)
    parts = parts_of(index, plan, many(proxy)).parts
    assert len(parts) == COUNT
    assert parts[0].span.start == plan.spans[0].start
    assert all(a.span.stop == b.span.start and a.span.at + a.span.size == b.span.at for a, b in pairwise(parts))
    assert parts[-1].span.stop == plan.spans[-1].stop
    assert [check.number for part in parts for check in part.checks] == list(range(COUNT))


def test_a_load_takes_its_parts_over_several_connections(proxy: Any, many: Any) -> None:
    proxy.publish(REF, checkpoint())
    together = threading.Barrier(3, timeout=30)
    proxy.misbehaviours["blobs"].extend(
        [lambda handler: (together.wait(), handler.blob(handler.path[10:]))] * 3  # type: ignore[func-returns-value]
    )
    assert as_saved(load(REF, settings=many(proxy)))
    assert proxy.connections == 3
    assert proxy.paths.count("blobs") == COUNT


@pytest.mark.parametrize("store", [True, False])
def test_one_large_storage_comes_over_several_connections_where_nobody_proves_it(
    proxy: Any, many: Any, node_store: Path, store: bool
) -> None:
    proxy.publish(REF, {"w": torch.arange(1200.0)})
    settings = dataclasses.replace(many(proxy), folder=node_store if store else None)
    assert torch.equal(load(REF, settings=settings)["w"], torch.arange(1200.0))
    assert proxy.paths.count("blobs") == 1
    if store:
        NodeStore(node_store, 0).clear()
    together = threading.Barrier(3, timeout=30)
    proxy.misbehaviours["blobs"].extend(
        [lambda handler: (together.wait(), handler.blob(handler.path[10:]))] * 3  # type: ignore[func-returns-value]
    )
    assert torch.equal(load(REF, verify=False, settings=settings)["w"], torch.arange(1200.0))
    assert proxy.paths.count("blobs") == 1 + 12


def test_a_small_load_takes_one_connection(proxy: Any, settings_for: Any) -> None:
    proxy.publish(REF, checkpoint())
    assert as_saved(load(REF, settings=dataclasses.replace(settings_for(proxy), connections=4)))
    assert (proxy.connections, proxy.paths) == (1, ["tensors", "blobs"])


def test_a_proxy_that_dies_in_mid_transfer_is_followed_by_the_next(start_proxy: Any, many: Any, caplog: Any) -> None:
    dying, second = start_proxy(), start_proxy()
    for proxy in (dying, second):
        proxy.publish(REF, checkpoint())
    answered = threading.Semaphore(4)

    def die(handler: Any) -> None:
        if answered.acquire(blocking=False):
            handler.blob(handler.path[10:])
        else:
            handler.close_connection = True

    dying.misbehaviours["blobs"].extend([die] * 100)
    assert as_saved(load(REF, settings=many(dying, second)))
    assert second.paths.count("blobs") == COUNT - 4
    assert second.paths[0] == "tensors"  # it may never have been asked for this reference
    assert f"trying {second.base}" in caplog.text


def test_a_second_proxy_with_other_bytes_is_not_mixed_in(start_proxy: Any, many: Any) -> None:
    dying, other = start_proxy(), start_proxy()
    dying.publish(REF, checkpoint())
    other.publish(REF, {"w": torch.zeros(3)})
    dying.misbehaviours["blobs"].extend([lambda handler: handler.problem(503, "offline", "no")] * 100)
    with pytest.raises((TransferCorrupt, ProxyRefused), match=r"other bytes under this reference|no"):
        load(REF, settings=many(dying, other))
    assert "blobs" not in other.paths


def test_wrong_bytes_are_asked_for_again_and_then_elsewhere(start_proxy: Any, many: Any) -> None:
    wrong, right = start_proxy(), start_proxy()
    for proxy in (wrong, right):
        index = proxy.publish(REF, checkpoint())
    data = bytearray(wrong.blobs[index.blob])
    data[index.storages[5].offset] ^= 1
    wrong.blobs[index.blob] = bytes(data)
    assert as_saved(load(REF, settings=many(wrong, right)))
    with pytest.raises(TransferCorrupt, match=f"storage 5 of the blob {index.blob}"):
        load(REF, settings=many(wrong))
    load(REF, verify=False, settings=many(wrong))


def test_a_verdict_ends_all_connections(proxy: Any, many: Any) -> None:
    proxy.publish(REF, checkpoint())
    proxy.misbehaviours["blobs"].extend([lambda handler: handler.problem(404, "blob-absent", "gone")] * 100)
    with pytest.raises(ProxyRefused, match="gone"):
        load(REF, settings=many(proxy))


@pytest.mark.parametrize("piece", [1, 7, 64, 100_000])
def test_a_proof_holds_for_pieces_of_any_length_and_finds_each_changed_byte(proxy: Any, many: Any, piece: int) -> None:
    index = proxy.publish(REF, checkpoint(), gap=40)
    plan = plan_of(index)
    whole = Part(plan.spans[0], parts_of(index, plan, ClientSettings((), connections=1)).parts[0].checks)
    data = bytearray(proxy.blobs[index.blob][whole.span.start : whole.span.stop])

    def feed() -> None:
        proof = Proof(whole, index.blob, {})
        for at in range(0, len(data), piece):
            proof.feed(memoryview(data)[at : at + piece])

    feed()
    data[440] ^= 1  # the second storage's first byte
    with pytest.raises(TransferCorrupt, match="storage 1"):
        feed()
    data[440] ^= 1
    data[400] ^= 1  # between storages: nothing promises these
    feed()


def test_a_proof_of_a_part_without_storages_takes_anything() -> None:
    Proof(Part(Span(0, 4, 0), ()), Sha256("0" * 64), {}).feed(memoryview(b"1234"))
