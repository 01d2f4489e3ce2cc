"""Fills over the wire: started, listed, followed, cancelled, told as events."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import count
from typing import Any

import httpx2
import pytest

from end_to_end.conftest import played_by
from end_to_end.proxy_process import ProxyProcess, running_proxy
from fakes.upstream import Behaviour, Ranged, Upstream, running_upstream, status

_numbers = count()


class Stage:
    """Two proxies on one data directory; the second one's log is nobody's business."""

    def __init__(self, upstream: Upstream, proxy: ProxyProcess, other: ProxyProcess) -> None:
        self.upstream = upstream
        self.proxy = proxy
        self.other = other

    def play(self, behaviour: Behaviour) -> str:
        name = f"/{next(_numbers)}.pth"
        self.upstream.put(f"/download.pytorch.org{name}", behaviour)
        return f"https://download.pytorch.org{name}"

    def start(self, *refs: str) -> list[dict[str, Any]]:
        answer = httpx2.post(f"{self.proxy.url}/v1/fills", json={"refs": refs}, trust_env=False)
        assert answer.status_code == 202, answer.text
        started: list[dict[str, Any]] = answer.json()
        return started


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    data_dir = tmp_path_factory.mktemp("data")
    with (
        running_upstream() as upstream,
        running_proxy(data_dir, mirrors=played_by(upstream), shutdown_seconds="1") as proxy,
        running_proxy(data_dir, mirrors=played_by(upstream)) as other,
    ):
        yield Stage(upstream, proxy, other)


def until(proxy: ProxyProcess, key: str, *states: str) -> dict[str, Any]:
    """Asks until the fill is in one of ``states``."""
    while True:
        fill: dict[str, Any] = proxy.get(f"/v1/fills/{key}").json()
        if fill["state"] in states:
            return fill


def test_a_fill_is_started_followed_and_remembered(stage: Stage, large_checkpoint: bytes) -> None:
    held = Ranged(large_checkpoint, hold=1_000_000)
    ref = stage.play(held)
    (started,) = stage.start(ref)
    assert (started["ref"], started["state"]) == (ref, "queued")
    key = started["fill"]["id"]
    assert held.reached.wait(30)
    while (fill := stage.proxy.get(f"/v1/fills/{key}").json())["bytes_done"] < 1_000_000:
        pass
    assert (fill["state"], fill["bytes_total"], fill["attempt"], fill["refs"]) == (
        "running",
        len(large_checkpoint),
        1,
        [ref],
    )
    assert fill["candidate"].startswith(stage.upstream.url)
    elsewhere = {fill["id"]: fill for fill in stage.other.get("/v1/fills").json()["fills"]}[key]
    assert (elsewhere["state"], elsewhere["here"], elsewhere["bytes_total"]) == (
        "running",
        False,
        len(large_checkpoint),
    )
    held.open()
    done = until(stage.proxy, key, "done", "failed")
    assert (done["state"], done["bytes_done"]) == ("done", len(large_checkpoint))
    (again,) = stage.start(ref)
    assert (again["state"], again["sha256"]) == ("held", done["sha256"])


def test_what_fails_and_what_is_refused_is_told_with_its_problem(stage: Stage) -> None:
    failing, refused = stage.start(stage.play(status(404)), "torchvision://resnet5O")
    fill = until(stage.proxy, failing["fill"]["id"], "failed")
    assert fill["error"]["type"] == "urn:zooproxy:problem:upstream-status"
    assert (refused["state"], refused["fill"]) == ("refused", None)
    assert "torchvision://resnet50" in refused["error"]["suggestions"]


@pytest.mark.parametrize("through", ["proxy", "other"])
def test_a_fill_is_cancelled_from_any_process(stage: Stage, large_checkpoint: bytes, through: str) -> None:
    held = Ranged(large_checkpoint, hold=1_000_000)
    (started,) = stage.start(stage.play(held))
    assert held.reached.wait(30)
    key = started["fill"]["id"]
    cancelled = getattr(stage, through).request("DELETE", f"/v1/fills/{key}")
    assert cancelled.status_code == 204
    fill = until(stage.proxy, key, "failed")
    assert fill["error"]["type"] == "urn:zooproxy:problem:fill-cancelled"
    held.open()


def test_a_fill_that_nobody_knows_is_404(stage: Stage) -> None:
    for method in ("GET", "DELETE"):
        answer = stage.proxy.request(method, "/v1/fills/0123456789abcdef")
        assert (answer.status_code, answer.json()["type"]) == (404, "urn:zooproxy:problem:unknown-fill")


@pytest.mark.parametrize("body", [{}, {"refs": []}, {"refs": "mmcls://vgg16"}, {"refs": ["a"], "x": 1}])
def test_an_order_that_is_none_is_400(stage: Stage, body: dict[str, Any]) -> None:
    answer = httpx2.post(f"{stage.proxy.url}/v1/fills", json=body, trust_env=False)
    assert (answer.status_code, answer.json()["type"]) == (400, "urn:zooproxy:problem:bad-request")


def test_events_tell_of_a_fill_from_its_beginning_to_its_blob(stage: Stage, small_checkpoint: bytes) -> None:
    with (
        httpx2.Client(trust_env=False, timeout=30) as client,
        client.stream("GET", f"{stage.proxy.url}/v1/events") as answer,
    ):
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = answer.iter_lines()
        next(lines)
        ref = stage.play(Ranged(small_checkpoint))
        stage.start(ref)
        told = []
        for line in lines:
            if line.startswith("event: "):
                told.append((line.removeprefix("event: "), json.loads(next(lines).removeprefix("data: "))))
                if told[-1][0] == "published" and told[-1][1]["url"] == ref:
                    break
    states = [data["state"] for kind, data in told if kind == "fill" and data["url"] == ref]
    assert states[-1] == "done"
    assert told[-1][1]["size"] == len(small_checkpoint)
