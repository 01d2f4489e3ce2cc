"""Three proxies in a row: a core that may ask upstream, an edge behind it, and one beyond an air gap.

Each of them is told that the fake upstream plays every host, so that whatever leaves one of them is seen.
"""

from __future__ import annotations

import hashlib
import io
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch

import zooproxy
from end_to_end.conftest import played_by
from end_to_end.proxy_process import ProxyProcess, clean_environment, http_client, running_proxy
from fakes.upstream import Gate, Upstream, running_upstream
from zygote import zygote

_numbers = count()


def saved(value: Any) -> bytes:
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


NET = {"state_dict": {"backbone.w": torch.arange(6.0).reshape(2, 3), "head.w": torch.ones(2)}, "meta": {"epoch": 3}}


class Row:
    """``core``, ``edge`` and ``gap``, and the data directory of each."""

    def __init__(self, folder: Path, upstream: Upstream, core: ProxyProcess, edge: ProxyProcess, gap: ProxyProcess):
        self.folder, self.upstream = folder, upstream
        self.core, self.edge, self.gap = core, edge, gap

    def publish(self, body: bytes | Gate) -> str:
        """A new reference whose host sends ``body``."""
        ref = f"https://download.pytorch.org/{next(_numbers)}.pth"
        self.upstream.put(ref.removeprefix("https:/"), body)
        return ref

    def asked(self, ref: str) -> int:
        """How often the upstream was asked for it."""
        return self.upstream.seen.count(ref.removeprefix("https:/"))

    def bundle(self, name: str, *arguments: str | Path) -> str:
        environment = clean_environment(data_dir=str(self.folder / name))
        done = zygote().run(["bundle", *map(str, arguments)], environment, self.folder)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def carry(self, *refs: str) -> None:
        """From the edge across the gap."""
        path = self.folder / f"{next(_numbers)}.tar"
        self.bundle("edge", "export", *refs, "-o", path)
        self.bundle("gap", "import", path)


@pytest.fixture(scope="module")
def row(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Row]:
    folder = tmp_path_factory.mktemp("row")
    with running_upstream() as upstream:
        mirrors = played_by(upstream)
        around = {host: [f"{upstream.url}/edge/{host}", "off"] for host in mirrors}  # tells who asked
        with (
            running_proxy(folder / "core", mirrors=mirrors) as core,
            running_proxy(folder / "edge", mirrors=around, parent=core.url) as edge,
            running_proxy(folder / "gap", mirrors=mirrors, offline=True) as gap,
        ):
            yield Row(folder, upstream, core, edge, gap)


def raw(proxy: ProxyProcess, ref: str) -> bytes:
    answer = proxy.get("/v1/checkpoint", ref, variant="raw")
    assert answer.status_code == 200, answer.text
    return answer.content


def test_a_cold_load_through_the_chain_is_one_upstream_get_and_both_hold_it(
    row: Row, monkeypatch: pytest.MonkeyPatch
) -> None:
    ref = row.publish(saved(NET))
    monkeypatch.setenv("ZOOPROXY", row.edge.url)
    assert torch.equal(zooproxy.load(ref)["state_dict"]["backbone.w"], NET["state_dict"]["backbone.w"])
    for proxy in (row.core, row.edge):
        while proxy.get("/v1/resolve", ref).json()["state"] == "filling":
            pass
        assert proxy.get("/v1/resolve", ref).json()["state"] == "held"
    assert row.asked(ref) == 1


def test_a_crowd_at_the_edge_and_at_the_core_is_one_upstream_get(row: Row, small_checkpoint: bytes) -> None:
    gate = Gate(small_checkpoint, 100)
    ref = row.publish(gate)
    with ThreadPoolExecutor(16) as clients:
        asking = [clients.submit(raw, proxy, ref) for proxy in (row.edge, row.core) for _ in range(8)]
        assert gate.reached.wait(30)
        gate.open()
        assert {one.result(60) for one in asking} == {small_checkpoint}
    assert row.asked(ref) == 1


def test_an_unknown_name_is_told_by_the_edge_with_suggestions_and_nobody_is_asked(row: Row) -> None:
    before = list(row.upstream.seen)
    answer = row.edge.get("/v1/checkpoint", "torchvision://resnet5O")
    assert (answer.status_code, answer.json()["type"]) == (404, "urn:zooproxy:problem:unknown-name")
    assert "torchvision://resnet50" in answer.json()["suggestions"]
    assert row.upstream.seen == before


def test_what_the_core_has_quarantined_the_edge_does_not_fetch_around_it(
    row: Row, small_checkpoint: bytes, large_checkpoint: bytes
) -> None:
    ref = row.publish(small_checkpoint)
    assert raw(row.core, ref) == small_checkpoint
    digest = hashlib.sha256(small_checkpoint).hexdigest()
    (row.folder / "core" / "blobs" / digest[:2] / digest[2:]).unlink()
    row.upstream.put(ref.removeprefix("https:/"), large_checkpoint)
    answer = row.edge.get("/v1/tensors", ref)  # the first stream from the core was cut, the next answer says why
    problem = answer.json()
    assert (answer.status_code, problem["type"]) == (502, "urn:zooproxy:problem:source-changed")
    assert (problem["expected_sha256"], problem["actual_sha256"]) == (
        digest,
        hashlib.sha256(large_checkpoint).hexdigest(),
    )
    assert row.asked(ref) > 1  # by the core: once more where its first stream had begun, or where it looks after itself
    assert not any(path.startswith("/edge/") for path in row.upstream.seen)
    assert row.edge.get("/v1/resolve", ref).json()["state"] == "absent"


def test_a_parent_that_is_down_is_passed_over(row: Row, tmp_path: Path, small_checkpoint: bytes) -> None:
    ref = row.publish(small_checkpoint)
    mirrors = played_by(row.upstream)
    with running_proxy(tmp_path / "core", mirrors=mirrors) as core:
        parent = core.url
    with running_proxy(tmp_path / "edge", mirrors=mirrors, parent=parent) as edge:
        assert raw(edge, ref) == small_checkpoint
    assert row.asked(ref) == 1


def test_a_parent_that_dies_in_the_middle_is_passed_over_too(row: Row, tmp_path: Path, large_checkpoint: bytes) -> None:
    gate = Gate(large_checkpoint, 1_000_000)
    ref = row.publish(gate)
    mirrors = played_by(row.upstream)
    with (
        running_proxy(tmp_path / "core", mirrors=mirrors) as core,
        running_proxy(tmp_path / "edge", mirrors=mirrors, parent=core.url) as edge,
        ThreadPoolExecutor(1) as client,
    ):
        asking = client.submit(edge.get, "/v1/tensors", ref)
        assert gate.reached.wait(30)
        row.upstream.put(ref.removeprefix("https:/"), large_checkpoint)
        core.kill()
        gate.open()
        assert asking.result(60).status_code == 200
        assert raw(edge, ref) == large_checkpoint


def test_a_parent_that_asks_for_a_token_is_asked_with_it_and_without_it_is_passed_over(
    row: Row, tmp_path: Path, small_checkpoint: bytes
) -> None:
    with_token, without = row.publish(small_checkpoint), row.publish(small_checkpoint)
    mirrors = played_by(row.upstream)
    with running_proxy(tmp_path / "core", mirrors=mirrors, read_tokens=["canary-token"]) as core:
        with running_proxy(tmp_path / "edge", mirrors=mirrors, parent=core.url, parent_token="canary-token") as edge:
            assert raw(edge, with_token) == small_checkpoint
            while edge.get("/v1/resolve", with_token).json()["state"] == "filling":
                pass
            assert "canary" not in edge.log + edge.get("/metrics").text + edge.get("/v1/fills").text
        with running_proxy(tmp_path / "stranger", mirrors=mirrors, parent=core.url) as stranger:
            assert raw(stranger, without) == small_checkpoint
        allowed = {"Authorization": "Bearer canary-token"}
        states = [core.get("/v1/resolve", ref, allowed).json()["state"] for ref in (with_token, without)]
    assert states == ["held", "absent"]
    assert (row.asked(with_token), row.asked(without)) == (1, 1)
    assert not [headers for headers in row.upstream.headers if "canary" in headers.get("authorization", "")]


def test_beyond_the_gap_what_is_not_held_is_refused_at_once_with_the_way_to_bring_it_in(row: Row) -> None:
    before = list(row.upstream.seen)
    answer = row.gap.get("/v1/checkpoint", "mmcls://vgg16")
    problem = answer.json()
    assert (answer.status_code, problem["type"]) == (503, "urn:zooproxy:problem:offline")
    assert problem["reference"] == "mmcls://vgg16"
    for words in ("mmcls://vgg16", "zooproxy bundle import", "zooproxy warm"):
        assert words in problem["detail"]
    assert row.upstream.seen == before


@pytest.fixture(scope="module")
def carried(row: Row) -> str:
    """A reference that came to the edge through the core, and across the gap in a bundle."""
    ref = row.publish(saved(NET))
    assert raw(row.edge, ref) == saved(NET)
    row.carry(ref)
    return ref


def test_beyond_the_gap_what_was_carried_is_served_in_every_form_and_nothing_leaves(row: Row, carried: str) -> None:
    before = list(row.upstream.seen)
    for variant in ("raw", "full", "model"):
        for form in ("safetensors", "pth") if variant != "raw" else ("safetensors",):
            here = row.gap.get("/v1/checkpoint", carried, variant=variant, format=form)
            there = row.edge.get("/v1/checkpoint", carried, variant=variant, format=form)
            assert (here.status_code, here.content) == (200, there.content), (variant, form)
    for query in ({"prefix": "backbone."}, {"dtype": "bf16"}, {"variant": "full"}):
        here = row.gap.get("/v1/checkpoint", carried, **query)
        assert (here.status_code, here.content) == (200, row.edge.get("/v1/checkpoint", carried, **query).content)
    digest = hashlib.sha256(saved(NET)).hexdigest()
    assert row.gap.get(f"/v1/blobs/{digest}").content == saved(NET)
    assert row.gap.get(f"/mirror/{carried.removeprefix('https://')}").content == saved(NET)
    part = row.gap.get("/v1/checkpoint", carried, {"Range": "bytes=10-19"}, variant="raw")
    assert (part.status_code, part.content) == (206, saved(NET)[10:20])
    assert row.gap.request("HEAD", "/v1/checkpoint", carried).status_code == 200
    tensors = row.gap.get("/v1/tensors", carried, digests="wait").json()
    assert tensors == row.edge.get("/v1/tensors", carried, digests="wait").json()
    assert row.upstream.seen == before


def test_beyond_the_gap_names_are_looked_up_as_before_it_and_nothing_leaves(row: Row, carried: str) -> None:
    before = list(row.upstream.seen)
    resolved = row.gap.get("/v1/resolve", carried).json()
    assert (resolved["state"], resolved["sha256"]) == ("held", hashlib.sha256(saved(NET)).hexdigest())
    assert row.gap.get("/v1/resolve", "mmcls://vgg16").json()["state"] == "absent"
    for path in ("/v1/zoos", "/v1/zoos/mmcls/map", "/v1/zoos/mmcls/aliases", "/v1/models"):
        assert row.gap.get(path).json() == row.edge.get(path).json(), path
    assert row.upstream.seen == before


def test_beyond_the_gap_clients_load_what_was_carried_and_nothing_leaves(
    row: Row, carried: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = list(row.upstream.seen)
    monkeypatch.setenv("ZOOPROXY", row.gap.url)
    loaded = zooproxy.load(carried)
    assert torch.equal(loaded["state_dict"]["head.w"], NET["state_dict"]["head.w"])
    assert list(zooproxy.load(carried, prefix="backbone.")) == ["w"]
    assert row.upstream.seen == before


def published(proxy: ProxyProcess, body: bytes, tag: str) -> str:
    """What is published as ``site://team/model@tag``; its digest."""
    digest = hashlib.sha256(body).hexdigest()
    with http_client() as client:
        url = f"{proxy.url}/v1/zoos/site/files/team/model?tag={tag}&sha256={digest}&file=net.pth"
        answer = client.put(url, content=body, headers={"Content-Length": str(len(body))})
    assert answer.status_code == 200, answer.text
    return digest


def resolved(proxy: ProxyProcess, ref: str, state: str, digest: str) -> dict[str, Any]:
    """What is said of ``ref``, as soon as it is ``state``: names are learnt within seconds."""
    deadline = time.monotonic() + 60
    while True:
        answer: dict[str, Any] = proxy.get("/v1/resolve", ref).json()
        if answer.get("state") == state and answer["sha256_hint"] == digest:
            return answer
        assert time.monotonic() < deadline, answer
        time.sleep(0.05)


def test_what_is_published_at_the_core_is_had_by_name_at_the_edge_behind_an_edge_and_beyond_the_gap(
    row: Row, tmp_path: Path, large_checkpoint: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = list(row.upstream.seen)
    first, second = saved({**NET, "meta": {"epoch": 4}}), large_checkpoint  # nobody holds the first by another name
    digest = published(row.core, first, "v1")
    mirrors = played_by(row.upstream)
    leaf_dir = tmp_path / "leaf"
    with running_proxy(leaf_dir, mirrors=mirrors, parent=row.edge.url) as leaf:
        told = resolved(leaf, "site://team/model@v1", "absent", digest)
        assert (told["layer"], told["url"]) == ("parent", f"published://-/{digest}/net.pth")
        assert raw(leaf, "site://team/model") == first  # through the edge, which did not hold it either
        moved = published(row.core, second, "v2")
        assert resolved(leaf, "site://team/model@latest", "absent", moved)["sha256_hint"] == moved
        assert raw(leaf, "site://team/model@latest") == second
        assert raw(leaf, "site://team/model@v1") == first
    assert resolved(row.edge, "site://team/model@v1", "held", digest)
    with running_proxy(leaf_dir, mirrors=mirrors, parent="http://127.0.0.1:9", connect_seconds="1") as orphan:
        assert raw(orphan, "site://team/model@v1") == first  # the names are kept while the parent is away
    row.carry("site://team/model@v1")
    monkeypatch.setenv("ZOOPROXY", row.gap.url)
    assert resolved(row.gap, "site://team/model@v1", "held", digest)
    assert torch.equal(zooproxy.load("site://team/model@v1")["state_dict"]["head.w"], NET["state_dict"]["head.w"])
    assert row.upstream.seen == before


def test_what_the_core_withdraws_its_children_forget_by_name(row: Row) -> None:
    digest = published(row.core, saved({"w": torch.ones(3)}), "gone")
    assert resolved(row.edge, "site://team/model@gone", "absent", digest)
    assert row.core.request("DELETE", "/v1/zoos/site/files/team/model", tag="gone").status_code == 204
    deadline = time.monotonic() + 60
    while row.edge.get("/v1/resolve", "site://team/model@gone").status_code != 404:
        assert time.monotonic() < deadline
        time.sleep(0.05)
