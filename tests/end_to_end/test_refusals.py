"""Bad input, from clients, upstreams and operators: each with its status, its problem and what is left of it."""

from __future__ import annotations

import io
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
import torch

from end_to_end.conftest import StartProxy, played_by
from end_to_end.proxy_process import ProxyProcess, running_proxy, spawn
from fakes.upstream import Behaviour, Upstream, running_upstream

ZOO = "https://download.pytorch.org"
PLAYED = "/download.pytorch.org"


def problem(proxy: ProxyProcess, code: int, path: str, ref: str | None = None, **query: str) -> dict[str, Any]:
    """The refusal's body; its ``type`` is cut down to the problem's name."""
    answer = proxy.get(path, ref, **query)
    assert (answer.status_code, answer.headers["content-type"]) == (code, "application/problem+json"), answer.text
    body: dict[str, Any] = answer.json()
    assert body["status"] == code
    assert body["title"]
    assert body["detail"]
    body["type"] = body["type"].removeprefix("urn:zooproxy:problem:")
    return body


@dataclass(frozen=True)
class Stage:
    """One proxy and one upstream for many tests, each of which plays with a file of its own."""

    proxy: ProxyProcess
    upstream: Upstream
    data_dir: Path

    def play(self, behaviour: bytes | Behaviour) -> tuple[str, str]:
        """A reference to a new file on an allowed host, and the path that the upstream will be asked for."""
        name = f"/{uuid4()}.pth"
        self.upstream.put(PLAYED + name, behaviour)
        return ZOO + name, PLAYED + name


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    data_dir = tmp_path_factory.mktemp("data")
    with running_upstream() as upstream, running_proxy(data_dir, mirrors=played_by(upstream)) as proxy:
        yield Stage(proxy, upstream, data_dir)


@pytest.fixture(scope="module")
def proxy(stage: Stage) -> ProxyProcess:
    return stage.proxy


@pytest.mark.parametrize("path", ["/v1/resolve", "/v1/checkpoint", "/v1/tensors"])
class TestReferences:
    def test_an_unknown_name_is_404_with_the_nearest_names(self, proxy: ProxyProcess, path: str) -> None:
        body = problem(proxy, 404, path, "torchvision://resnet5O")
        assert body["type"] == "unknown-name"
        assert "torchvision://resnet50" in body["suggestions"]

    def test_a_name_without_weights_is_404_with_one_that_has_them(self, proxy: ProxyProcess, path: str) -> None:
        body = problem(proxy, 404, path, "torchvision://shufflenetv2_x1.5")
        assert body["type"] == "name-without-weights"
        assert body["suggestions"]

    def test_an_unknown_scheme_is_400(self, proxy: ProxyProcess, path: str) -> None:
        body = problem(proxy, 400, path, "torchvison://resnet50")
        assert body["type"] == "unknown-scheme"
        assert "torchvision://" in body["detail"]

    @pytest.mark.parametrize("ref", ["", "resnet50.pth", "torchvision://", "https://", "https:// a", "http://[::1"])
    def test_a_malformed_reference_is_400(self, proxy: ProxyProcess, path: str, ref: str) -> None:
        assert problem(proxy, 400, path, ref)["type"] == "malformed-reference"

    def test_no_reference_at_all_is_400_and_named(self, proxy: ProxyProcess, path: str) -> None:
        body = problem(proxy, 400, path)
        assert body["type"] == "bad-request"
        assert "ref" in body["detail"]


@pytest.mark.parametrize("path", ["/v1/checkpoint", "/v1/tensors"])
class TestSources:
    def test_a_host_that_is_not_allowed_is_403_and_never_asked(self, stage: Stage, path: str) -> None:
        body = problem(stage.proxy, 403, path, f"{stage.upstream.url}/not-allowed.pth")
        assert (body["type"], body["host"]) == ("host-not-allowed", "127.0.0.1")
        assert "/not-allowed.pth" not in stage.upstream.seen

    @pytest.mark.parametrize("ref", ["s3://bucket/key.pth", "petrel://bucket/key.pth", "c:s3://b/k.pth", "pavi://m/1"])
    def test_a_source_that_is_not_fetched_yet_is_501(self, proxy: ProxyProcess, path: str, ref: str) -> None:
        assert problem(proxy, 501, path, ref)["type"] == "unsupported-source"


def test_offline_refuses_what_is_not_held_and_serves_what_is(
    start_proxy: StartProxy, upstream: Upstream, small_checkpoint: bytes
) -> None:
    upstream.put(f"{PLAYED}/a.pth", small_checkpoint)
    first = start_proxy()
    assert first.get("/v1/checkpoint", f"{ZOO}/a.pth", variant="raw").content == small_checkpoint
    first.stop()
    second = start_proxy(offline="true")
    assert second.get("/v1/checkpoint", f"{ZOO}/a.pth", variant="raw").content == small_checkpoint
    refusal = problem(second, 503, "/v1/checkpoint", f"{ZOO}/b.pth")
    assert refusal["type"] == "offline"
    assert all(words in refusal["detail"] for words in (f"{ZOO}/b.pth", "OFFLINE", "bundle import"))
    assert upstream.seen == [f"{PLAYED}/a.pth"]


def test_the_failures_of_earlier_candidates_come_along(start_proxy: StartProxy, upstream: Upstream) -> None:
    bases = ["http://127.0.0.1:1", f"{upstream.url}/b", "off"]
    proxy = start_proxy(mirrors={"download.pytorch.org": bases})
    body = problem(proxy, 502, "/v1/checkpoint", "torchvision://resnet50")
    assert body["upstream_status"] == 404
    assert [attempt["type"] for attempt in body["attempts"]] == ["urn:zooproxy:problem:upstream-unreachable"]


class Labelled(torch.Tensor):
    """A subclass that nobody without its class can rebuild."""


@pytest.mark.parametrize("kind", ["sparse", "a subclass"])
def test_a_tensor_that_a_form_cannot_hold_is_501_by_name_and_raw_works(stage: Stage, kind: str) -> None:
    tensor = torch.eye(3).to_sparse() if kind == "sparse" else Labelled(torch.ones(2))
    file = io.BytesIO()
    torch.save({"layer.weight": tensor}, file)
    ref, _ = stage.play(file.getvalue())
    described = stage.proxy.get("/v1/tensors", ref)  # an index has words for sparse tensors
    assert described.status_code == (200 if kind == "sparse" else 501)
    body = problem(stage.proxy, 501, "/v1/checkpoint", ref)
    assert body["type"] == "unsupported-format"
    assert "layer.weight" in body["detail"]
    assert stage.proxy.get("/v1/checkpoint", ref, variant="raw").content == file.getvalue()


def test_a_prefix_that_selects_nothing_is_422_and_tells_what_there_is(stage: Stage) -> None:
    file = io.BytesIO()
    torch.save({"backbone.weight": torch.zeros(7), "head.fc.weight": torch.zeros(7)}, file)
    ref, _ = stage.play(file.getvalue())
    body = problem(stage.proxy, 422, "/v1/tensors", ref, prefix="neck")
    assert body["type"] == "nothing-selected"
    assert body["prefixes"] == ["backbone", "head"]


@pytest.mark.parametrize(
    "query", [{"variant": "half"}, {"format": "onnx"}, {"prefix": "x", "variant": "raw"}, {"varient": "raw"}]
)
def test_a_parameter_that_is_wrong_or_unknown_is_400_before_anything_is_fetched(
    stage: Stage, query: dict[str, str], small_checkpoint: bytes
) -> None:
    ref, path = stage.play(small_checkpoint)
    body = problem(stage.proxy, 400, "/v1/checkpoint", ref, **query)
    assert body["type"] == "bad-request"
    assert any(name in body["detail"] for name in query)
    assert path not in stage.upstream.seen


def test_paths_and_methods_that_do_not_exist_are_problems_too(proxy: ProxyProcess) -> None:
    assert problem(proxy, 404, "/v2/resolve")["type"] == "http"
    assert problem(proxy, 404, "/v1/zoos/torchvison/map")["type"] == "unknown-zoo"
    assert problem(proxy, 404, "/v1/blobs/..%2f..%2fetc%2fpasswd")["type"] == "http"
    assert problem(proxy, 400, "/v1/blobs/passwd")["type"] == "bad-request"
    answer = proxy.request("POST", "/v1/resolve")
    assert (answer.status_code, answer.headers["allow"]) == (405, "GET")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"ofline": "true"}, "unknown setting ZOOPROXY_OFLINE"),
        ({"port": "http"}, "ZOOPROXY_PORT: "),
        ({"port": "70000"}, "ZOOPROXY_PORT: "),
        ({"mirrors": "not json"}, "mirrors"),
        ({"mirrors": {"zoo.example": ["ftp://a"]}}, "MIRRORS: the entries of 'zoo.example'"),
        ({"pins": {"torchvision://resnet5O": "0" * 64}}, "PINS: the entry 'torchvision://resnet5O'"),
        ({"pins": {"torchvision://resnet50": "0676ba61"}}, "PINS: the entry 'torchvision://resnet50'"),
        ({"database_url": "mysql://h/d"}, "sqlite"),
        ({"ca_file": "/nowhere/ca.pem"}, "CA_FILE: /nowhere/ca.pem is no file"),
    ],
)
def test_a_setting_that_is_unknown_or_wrong_is_refused_at_start_with_one_sentence(
    data_dir: Path, settings: dict[str, Any], words: str
) -> None:
    process = spawn(data_dir, **settings)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 1
    assert stderr.startswith("zooproxy: settings refused: ")
    assert words.lower() in stderr.lower()
    assert "Traceback" not in stderr


def test_an_unknown_key_in_the_settings_file_is_refused_at_start(data_dir: Path) -> None:
    data_dir.mkdir()
    (data_dir / "zooproxy.toml").write_text("ofline = true\n")
    process = spawn(data_dir)
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "unknown setting ofline in zooproxy.toml" in stderr


def test_the_clients_own_variables_are_not_the_servers_business(start_proxy: StartProxy) -> None:
    proxy = start_proxy(token="t", cache_dir="/nowhere", lock="weights.lock")
    assert proxy.get("/healthz").status_code == 200


def test_a_port_that_is_taken_is_refused_with_one_sentence(data_dir: Path, upstream: Upstream) -> None:
    process = spawn(data_dir, port=str(upstream.port))
    _, stderr = process.communicate(timeout=60)
    assert process.returncode == 1
    assert f"cannot listen on 127.0.0.1 port {upstream.port}" in stderr
