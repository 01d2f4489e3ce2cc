"""A source that delivers other bytes than it did: quarantined, told, and accepted by an operator or not."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from itertools import count
from pathlib import Path

import pytest

from end_to_end.conftest import played_by
from end_to_end.proxy_process import ProxyProcess, running_proxy
from fakes.upstream import Upstream, running_upstream
from zooproxy.cli import main

_numbers = count()


class Stage:
    def __init__(self, proxy: ProxyProcess, upstream: Upstream, data_dir: Path) -> None:
        self.proxy = proxy
        self.upstream = upstream
        self._data_dir = data_dir
        self.ref = ""

    def publish(self, body: bytes, *, anew: bool = False) -> None:
        if not anew:
            self.ref = f"https://download.pytorch.org/{next(_numbers)}.pth"
        self.upstream.put(self.ref.removeprefix("https:/"), body)

    def raw(self) -> tuple[int, bytes]:
        answer = self.proxy.get("/v1/checkpoint", self.ref, variant="raw")
        return answer.status_code, answer.content

    def lose(self, body: bytes) -> None:
        """The blob is gone behind the index, as after an eviction."""
        digest = hashlib.sha256(body).hexdigest()
        (self._data_dir / "blobs" / digest[:2] / digest[2:]).unlink()


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    data_dir = tmp_path_factory.mktemp("data")
    with running_upstream() as upstream, running_proxy(data_dir, mirrors=played_by(upstream)) as proxy:
        yield Stage(proxy, upstream, data_dir)


@pytest.fixture
def stage(running: Stage, small_checkpoint: bytes) -> Stage:
    """The source was seen with the small checkpoint, which was lost; it now delivers ``changed``."""
    running.publish(small_checkpoint)
    assert running.raw() == (200, small_checkpoint)
    running.lose(small_checkpoint)
    return running


@pytest.fixture(scope="module")
def changed() -> bytes:
    import io

    import torch

    file = io.BytesIO()
    torch.save({"weight": torch.zeros(5)}, file)
    return file.getvalue()


def test_a_source_that_changed_is_refused_with_both_digests_and_quarantined(
    stage: Stage, small_checkpoint: bytes, changed: bytes
) -> None:
    stage.publish(changed, anew=True)
    answer = stage.proxy.get("/v1/checkpoint", stage.ref, variant="raw")
    problem = answer.json()
    assert (answer.status_code, problem["type"]) == (502, "urn:zooproxy:problem:source-changed")
    assert problem["expected_sha256"] == hashlib.sha256(small_checkpoint).hexdigest()
    assert problem["actual_sha256"] == hashlib.sha256(changed).hexdigest()
    assert "zooproxy cache accept" in problem["detail"]
    resolved = stage.proxy.get("/v1/resolve", stage.ref).json()
    assert (resolved["state"], resolved["sha256"]) == ("quarantined", problem["expected_sha256"])
    assert stage.proxy.get(f"/v1/blobs/{problem['actual_sha256']}").status_code == 404


def test_a_source_that_comes_back_with_its_own_bytes_leaves_quarantine(
    stage: Stage, small_checkpoint: bytes, changed: bytes
) -> None:
    stage.publish(changed, anew=True)
    assert stage.raw()[0] == 502
    stage.publish(small_checkpoint, anew=True)
    assert stage.raw() == (200, small_checkpoint)
    assert stage.proxy.get("/v1/resolve", stage.ref).json()["state"] == "held"


def test_an_operator_accepts_one_digest_for_one_reference(
    stage: Stage, changed: bytes, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    stage.publish(changed, anew=True)
    assert stage.raw()[0] == 502
    monkeypatch.setenv("ZOOPROXY", stage.proxy.url)
    assert main(["cache", "accept", stage.ref, hashlib.sha256(changed).hexdigest()]) == 0
    assert capsys.readouterr().out.startswith(f"accepted {stage.ref}: ")
    assert stage.raw() == (200, changed)
    assert stage.proxy.get("/v1/resolve", stage.ref).json()["state"] == "held"


def test_what_is_held_and_not_what_was_accepted_is_fetched_anew(
    running: Stage, small_checkpoint: bytes, changed: bytes
) -> None:
    running.publish(small_checkpoint)
    assert running.raw() == (200, small_checkpoint)
    running.publish(changed, anew=True)
    assert running.raw() == (200, small_checkpoint)
    digest = hashlib.sha256(changed).hexdigest()
    answer = running.proxy.request("PUT", "/v1/cache/accepted", running.ref, sha256=digest)
    assert (answer.json()["state"], answer.json()["sha256"]) == ("absent", digest)
    assert running.raw() == (200, changed)


def test_what_is_no_digest_is_refused(running: Stage, small_checkpoint: bytes) -> None:
    running.publish(small_checkpoint)
    answer = running.proxy.request("PUT", "/v1/cache/accepted", running.ref, sha256="0676ba61")
    assert answer.json()["type"] == "urn:zooproxy:problem:bad-request"
    assert main(["cache", "accept", running.ref, "0676ba61"]) == 1
