"""What an operator's lists deny is refused on every way to it, with the list's name; the rest is served as before."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import httpx2
import pytest

from end_to_end.conftest import played_by
from end_to_end.proxy_process import ProxyProcess, running_proxy, spawn
from fakes.upstream import Upstream, redirect, running_upstream

DENIED = "mmdet://faster-rcnn_r50_fpn_1x_coco"
HOST = "download.openmmlab.com"
_numbers = count()


class Stage:
    """``proxy`` denies mmdet's names, all of one folder, and ``evil.example``; ``child`` has it as its parent."""

    def __init__(self, proxy: ProxyProcess, child: ProxyProcess, upstream: Upstream) -> None:
        self.proxy = proxy
        self.child = child
        self.upstream = upstream

    def publish(self, body: bytes, folder: str = "denied") -> str:
        url = f"https://{HOST}/{folder}/{next(_numbers)}.pth"
        self.upstream.put(url.removeprefix("https:/"), body)
        return url


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("data")
    rules = {"deny_names": ["mmdet://*", f"https://{HOST}/denied/*"], "deny_hosts": ["evil.example"]}
    with (
        running_upstream() as upstream,
        running_proxy(folder / "parent", mirrors=played_by(upstream), allow_hosts=["*"], **rules) as proxy,
        running_proxy(folder / "child", parent=proxy.url, mirrors={HOST: ["http://127.0.0.1:9", "off"]}) as child,
    ):
        yield Stage(proxy, child, upstream)


def refusal(answer: httpx2.Response) -> tuple[int, str, str]:
    problem = answer.json()
    return answer.status_code, problem["type"].removeprefix("urn:zooproxy:problem:"), problem["list"]


def test_a_denied_name_is_refused_on_every_way_to_it(stage: Stage, small_checkpoint: bytes) -> None:
    url = stage.publish(small_checkpoint)
    source = stage.proxy.get("/v1/resolve", DENIED).json()["url"]
    answers = [
        *(stage.proxy.get("/v1/checkpoint", ref, variant="raw") for ref in (DENIED, source, url)),
        *(stage.proxy.get("/v1/tensors", ref) for ref in (DENIED, url)),
        *(stage.proxy.get(f"/mirror/{file.removeprefix('https://')}") for file in (source, url)),
    ]
    assert {refusal(answer) for answer in answers} == {(403, "name-denied", "DENY_NAMES")}
    assert stage.proxy.request("HEAD", "/v1/checkpoint", url).status_code == 403
    warmed = httpx2.post(f"{stage.proxy.url}/v1/fills", json={"refs": [DENIED, url]}, trust_env=False).json()
    assert [(entry["state"], entry["error"]["list"]) for entry in warmed] == [("refused", "DENY_NAMES")] * 2
    assert not {"/" + file.removeprefix("https://") for file in (source, url)} & set(stage.upstream.seen)


def test_resolve_explains_a_denied_name_with_its_state_and_the_list(stage: Stage) -> None:
    told = stage.proxy.get("/v1/resolve", DENIED).json()
    assert told["state"] == "denied"
    assert "DENY_NAMES" in told["warnings"][-1]


def test_what_is_not_denied_is_served(stage: Stage, small_checkpoint: bytes) -> None:
    url = stage.publish(small_checkpoint, "allowed")
    assert stage.proxy.get("/v1/checkpoint", url, variant="raw").content == small_checkpoint
    assert stage.proxy.get(f"/v1/blobs/{hashlib.sha256(small_checkpoint).hexdigest()}").content == small_checkpoint
    assert stage.proxy.get("/v1/resolve", "torchvision://resnet50").json()["state"] == "absent"


def test_a_parent_denies_its_children_too(stage: Stage, small_checkpoint: bytes) -> None:
    answer = stage.child.get("/v1/checkpoint", stage.publish(small_checkpoint), variant="raw")
    problem = answer.json()
    assert answer.status_code == 502
    assert 403 in {one.get("upstream_status") for one in (problem, *problem.get("attempts", ()))}


def test_a_blob_that_was_held_before_its_name_was_denied_is_not_served(
    tmp_path: Path, upstream: Upstream, small_checkpoint: bytes
) -> None:
    url = f"https://{HOST}/x.pth"
    upstream.put(url.removeprefix("https:/"), small_checkpoint)
    blob = f"/v1/blobs/{hashlib.sha256(small_checkpoint).hexdigest()}"
    with running_proxy(tmp_path, mirrors=played_by(upstream)) as proxy:
        assert proxy.get("/v1/checkpoint", url, variant="raw").content == small_checkpoint
    with running_proxy(tmp_path, mirrors=played_by(upstream), allow_names=["torchvision://*"]) as proxy:
        for answer in (proxy.get("/v1/checkpoint", url, variant="raw"), proxy.get(blob)):
            assert refusal(answer) == (403, "name-denied", "ALLOW_NAMES")


def test_a_denied_host_is_not_asked_even_where_all_are_allowed(stage: Stage) -> None:
    answer = stage.proxy.get("/v1/checkpoint", "https://evil.example/x.pth", variant="raw")
    assert refusal(answer) == (403, "host-denied", "DENY_HOSTS")
    assert stage.proxy.get("/v1/resolve", "https://evil.example/x.pth").json()["state"] == "absent"


def test_no_redirect_leads_to_a_denied_host(stage: Stage) -> None:
    path = f"/{HOST}/allowed/{next(_numbers)}.pth"
    stage.upstream.put(path, redirect("http://evil.example/x.pth"))
    answer = stage.proxy.get("/v1/checkpoint", f"https:/{path}", variant="raw")
    assert (answer.status_code, answer.json()["type"]) == (502, "urn:zooproxy:problem:redirect-refused")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"deny_hosts": ["mirror.lan"], "parent": "http://mirror.lan:8765"}, "DENY_HOSTS denies mirror.lan"),
        ({"deny_names": ["mmdet"]}, "DENY_NAMES: 'mmdet' fits no reference"),
    ],
)
def test_lists_that_make_no_sense_are_refused_at_start(tmp_path: Path, settings: dict[str, object], words: str) -> None:
    _, stderr = (process := spawn(tmp_path, **settings)).communicate(timeout=60)
    assert process.returncode == 1
    assert words in stderr
