"""A proxy with a lock file: what is in it is served with exactly those digests, and nothing else is."""

from __future__ import annotations

import base64
import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest
import torch

from end_to_end.conftest import played_by
from end_to_end.proxy_process import ProxyProcess, running_proxy, spawn
from fakes.upstream import Upstream, running_upstream
from zooproxy.digest import Sha256
from zooproxy.names.lock import Lock, Locked, write_lock

HOST = "https://download.pytorch.org/"
LOCKED, OTHER, CHANGED, HELD, MOVED = (f"{HOST}{name}.pth" for name in ("locked", "other", "changed", "held", "moved"))
ALIAS = "open-mmlab://detectron/resnet50_caffe"  # kept as written; its source is CAFFE
CAFFE = "https://download.openmmlab.com/pretrain/third_party/resnet50_caffe-788b5fa3.pth"


def checkpoint(value: Any) -> bytes:
    file = io.BytesIO()
    torch.save({"weight": value}, file)
    return file.getvalue()


def entry(ref: str, data: bytes, url: str | None = None) -> Locked:
    return Locked(ref, url or ref, Sha256.of(data), len(data))


@dataclass
class Stage:
    proxy: ProxyProcess
    upstream: Upstream
    locked: bytes
    changed: bytes
    held: bytes

    def raw(self, ref: str) -> httpx2.Response:
        return self.proxy.get("/v1/checkpoint", ref, variant="raw")

    def refusal(self, ref: str) -> Any:
        answer = self.raw(ref)
        assert (answer.status_code, answer.json()["type"]) == (403, "urn:zooproxy:problem:not-locked")
        return answer.json()


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """``HELD`` was fetched before there was a lock file; upstream delivers ``CHANGED`` with other bytes than locked."""
    folder = tmp_path_factory.mktemp("locked")
    locked, changed, held, other = (checkpoint(torch.full((3,), float(number))) for number in range(4))
    lock = Lock(
        [
            entry(LOCKED, locked),
            entry(ALIAS, locked, CAFFE),
            entry(CHANGED, changed),
            entry("torchvision://resnet50", locked, MOVED),
        ]
    )
    (folder / "weights.lock").write_bytes(write_lock(lock))
    with running_upstream() as upstream:
        for url, body in ((LOCKED, locked), (OTHER, other), (CHANGED, other), (HELD, held), (CAFFE, locked)):
            upstream.put(url.removeprefix("https:/"), body)
        with running_proxy(folder / "data", mirrors=played_by(upstream)) as proxy:
            assert proxy.get("/v1/checkpoint", HELD, variant="raw").content == held
        with running_proxy(
            folder / "data", mirrors=played_by(upstream), lock_file=str(folder / "weights.lock")
        ) as proxy:
            yield Stage(proxy, upstream, locked, changed, held)


@pytest.mark.parametrize("ref", [LOCKED, ALIAS, "openmmlab://resnet50_caffe", CAFFE])
def test_what_is_locked_is_served_whatever_the_reference_to_its_source(stage: Stage, ref: str) -> None:
    assert stage.raw(ref).content == stage.locked
    assert stage.proxy.get("/v1/checkpoint", ref).status_code == 200
    index = stage.proxy.get("/v1/tensors", ref).json()
    assert index["blob"] == Sha256.of(stage.locked)
    assert stage.proxy.get(f"/v1/blobs/{index['blob']}").content == stage.locked
    resolved = stage.proxy.get("/v1/resolve", ref).json()
    assert (resolved["sha256"], resolved["state"]) == (index["blob"], "held")


@pytest.mark.parametrize("path", ["/v1/checkpoint", "/v1/tensors"])
@pytest.mark.parametrize("ref", [OTHER, HELD, "torchvision://resnet18"])
def test_what_is_not_locked_is_refused_by_name_and_not_even_asked_for(stage: Stage, path: str, ref: str) -> None:
    answer = stage.proxy.get(path, ref)
    problem = answer.json()
    assert (answer.status_code, problem["type"]) == (403, "urn:zooproxy:problem:not-locked")
    assert problem["reference"] == ref
    assert "zooproxy lock" in problem["detail"]
    assert stage.upstream.seen.count(OTHER.removeprefix("https:/")) == 0
    assert stage.proxy.request("HEAD", path, ref).status_code == (403 if path == "/v1/checkpoint" else 405)
    assert "lock file" in stage.proxy.get("/v1/resolve", ref).json()["warnings"][-1]


def test_fills_of_what_is_not_locked_are_refused_one_by_one(stage: Stage) -> None:
    refs = [OTHER, LOCKED]
    answer = httpx2.post(f"{stage.proxy.url}/v1/fills", json={"refs": refs}, trust_env=False, timeout=30).json()
    assert answer[0]["state"] == "refused"
    assert answer[0]["error"]["type"] == "urn:zooproxy:problem:not-locked"
    assert answer[1]["state"] != "refused"


def test_the_mirror_obeys_the_lock_file(stage: Stage) -> None:
    assert stage.proxy.get("/mirror/download.pytorch.org/locked.pth").content == stage.locked
    assert stage.proxy.get("/mirror/download.pytorch.org/held.pth").status_code == 403
    assert stage.proxy.get("/mirror/download.pytorch.org/other.pth").json()["type"].endswith(":not-locked")


def test_blobs_by_digest_obey_the_lock_file_held_or_not(stage: Stage) -> None:
    for digest in (Sha256.of(stage.held), "0" * 64):
        answer = stage.proxy.get(f"/v1/blobs/{digest}")
        assert (answer.status_code, answer.json()["reference"]) == (403, digest)


def test_blobs_made_of_a_locked_blob_are_served_by_their_digest(stage: Stage) -> None:
    index = stage.proxy.get("/v1/tensors", LOCKED, dtype="bf16").json()
    assert index["blob"] != Sha256.of(stage.locked)
    assert Sha256.of(stage.proxy.get(f"/v1/blobs/{index['blob']}").content) == index["blob"]


def test_other_bytes_than_locked_are_refused_with_both_digests(stage: Stage) -> None:
    problem = stage.refusal(CHANGED)
    assert problem["reference"] == CHANGED
    assert problem["expected_sha256"] == Sha256.of(stage.changed)
    assert problem["actual_sha256"] == Sha256.of(checkpoint(torch.full((3,), 3.0)))
    assert "zooproxy lock --update" in problem["detail"]
    assert stage.proxy.get(f"/v1/blobs/{problem['actual_sha256']}").status_code == 403


def test_a_reference_that_leads_elsewhere_than_when_it_was_locked_is_refused_with_both_urls(stage: Stage) -> None:
    detail = stage.refusal("torchvision://resnet50")["detail"]
    assert MOVED in detail
    assert "resnet50-0676ba61.pth" in detail


# -- at start ---------------------------------------------------------------------------------------------


def refused_at_start(tmp_path: Path, **settings: Any) -> str:
    process = spawn(tmp_path / "data", **settings)
    _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    return said


@pytest.mark.parametrize("content", [None, b"", b"# weights.lock"])
def test_a_lock_file_that_is_none_stops_the_start(tmp_path: Path, content: bytes | None) -> None:
    path = tmp_path / "weights.lock"
    if content is not None:
        path.write_bytes(content)
    said = refused_at_start(tmp_path, lock_file=str(path))
    assert "LOCK_FILE" in said
    assert str(path) in said


def test_a_pin_that_contradicts_the_lock_file_stops_the_start(tmp_path: Path, small_checkpoint: bytes) -> None:
    path = tmp_path / "weights.lock"
    path.write_bytes(write_lock(Lock([entry(ALIAS, small_checkpoint, CAFFE)])))
    said = refused_at_start(tmp_path, lock_file=str(path), pins={CAFFE: "a" * 64})
    assert f"'{CAFFE}' and the entry of '{ALIAS}' in LOCK_FILE" in said


def test_a_pin_that_agrees_with_the_lock_file_changes_nothing(
    tmp_path: Path, small_checkpoint: bytes, upstream: Upstream
) -> None:
    path = tmp_path / "weights.lock"
    path.write_bytes(write_lock(Lock([entry(CAFFE, small_checkpoint)])))
    upstream.put(CAFFE.removeprefix("https:/"), small_checkpoint)
    pins = {ALIAS: Sha256.of(small_checkpoint), "torchvision://resnet50": "b" * 64}
    with running_proxy(tmp_path / "data", mirrors=played_by(upstream), lock_file=str(path), pins=pins) as proxy:
        answer = proxy.get("/v1/checkpoint", ALIAS, variant="raw")
        assert answer.content == small_checkpoint
        digest = base64.b64encode(bytes.fromhex(Sha256.of(small_checkpoint))).decode()
        assert answer.headers["repr-digest"] == f"sha-256=:{digest}:"
        assert proxy.get("/v1/checkpoint", "torchvision://resnet50", variant="raw").status_code == 403
