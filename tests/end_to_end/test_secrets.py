"""Canaries of every kind of secret, planted and sought: in log, data directory, answers, events, and upstreams."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx2
import pytest

from end_to_end.proxy_process import ProxyProcess, running_proxy
from end_to_end.test_tokens import bearing, made, sha256
from fakes.upstream import Upstream, redirect, running_upstream, status
from zooproxy.cli import main

HOST = "download.pytorch.org"
TOKEN, WRONG, PARENT_TOKEN = "canary-admin-token", "canary-wrong-token", "canary-parent-token"
SIGNED = "X-Amz-Credential=canary-credential&X-Amz-Signature=canary-signature"
CANARY = "canary"


@dataclass
class Stage:
    proxy: ProxyProcess
    upstream: Upstream
    sink: Upstream
    parent: Upstream
    data_dir: Path
    answers: list[str] = field(default_factory=list)

    def ask(self, method: str, path: str, token: str = TOKEN, **options: Any) -> int:
        """The status; the answer is kept, head and body."""
        url = self.proxy.url + path
        answer = httpx2.request(method, url, headers=bearing(token), trust_env=False, timeout=30, **options)
        self.answers.append(f"{method} {path.partition('?')[0]}: {answer.headers} {answer.text}")
        return answer.status_code

    def get(self, path: str, ref: str, **query: str) -> int:
        return self.ask("GET", path, params={"ref": ref, **query})

    def publish(self, name: str, what: Any) -> str:
        """A presigned reference to it."""
        self.upstream.put(f"/{HOST}/{name}.pth?{SIGNED}", what)
        return f"https://{HOST}/{name}.pth?{SIGNED}"


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    data_dir = tmp_path_factory.mktemp("data")
    with running_upstream() as upstream, running_upstream() as sink, running_upstream() as parent:
        login = upstream.url.replace("://", "://canary-user:canary-password@")
        s3 = {"endpoint": upstream.url, "access_key": "canary-access-key", "secret_key": "canary-secret-key"}
        with running_proxy(
            data_dir,
            mirrors={HOST: [f"{login}/{HOST}", "off"]},
            allow_hosts=["127.0.0.1"],
            private_hosts=["127.0.0.1"],
            s3={"default": s3},
            admin_tokens=[TOKEN],
            reads_need_token="true",
            parent=parent.url,
            parent_token=PARENT_TOKEN,
            tries="1",
        ) as proxy:
            yield Stage(proxy, upstream, sink, parent, data_dir)


@pytest.fixture(scope="module")
def played(stage: Stage, small_checkpoint: bytes) -> Stage:
    """After calls of every kind, those that fail too, while somebody listens to the events."""
    listening, over = threading.Event(), threading.Event()
    listener = threading.Thread(target=_listen, args=(stage, listening, over))
    listener.start()
    assert listening.wait(30)
    held, lost = stage.publish("held", small_checkpoint), stage.publish("lost", status(404))
    sent_on = stage.publish("sent-on", redirect(f"{stage.sink.url}/there.pth?{SIGNED}"))
    stage.sink.put(f"/there.pth?{SIGNED}", small_checkpoint)
    sent_away = stage.publish("sent-away", redirect(f"http://canary:canary@elsewhere.example/x.pth?{SIGNED}"))
    lost_there = stage.publish("lost-there", redirect(f"{stage.sink.url}/gone.pth?{SIGNED}"))
    token = made(stage.data_dir, "fill")
    secret = token.split("_", 2)[2]

    assert stage.get("/v1/checkpoint", held, variant="raw") == 200
    assert stage.get("/v1/checkpoint", held, variant="raw") == 200
    assert stage.ask("GET", f"/mirror/{held.removeprefix('https://')}") == 200
    assert stage.get("/v1/checkpoint", sent_on, variant="raw") == 200
    for ref in (lost, sent_away, lost_there, "s3://bucket/none.pth"):
        assert stage.get("/v1/checkpoint", ref, variant="raw") in (404, 502, 503)
    for ref in (held, lost, sent_on):
        assert stage.get("/v1/resolve", ref) == 200
    assert stage.ask("GET", "/v1/resolve", params={"url": held}) == 200
    assert stage.ask("PUT", "/v1/cache/pins", params={"ref": held}) in (200, 201)
    digest = sha256(small_checkpoint)
    assert stage.ask("PUT", "/v1/cache/accepted", params={"ref": held, "sha256": digest}) == 200
    put = {"json": {"url": held}}
    assert stage.ask("PUT", "/v1/zoos/mmdet/models/ours", **put) == 400
    assert stage.ask("GET", "/v1/zoos", WRONG) == 401
    started = httpx2.post(
        f"{stage.proxy.url}/v1/fills", json={"refs": [lost]}, headers=bearing(token), trust_env=False
    )  # echoes to its own asker what was asked, and nothing else
    assert started.status_code == 202
    while any(fill["state"] in ("queued", "running") for fill in _fills(stage)):
        pass
    for path in ("/v1/fills", "/v1/audit", "/openapi.json", "/v1/cache/pins"):
        assert stage.ask("GET", path) in (200, 405)
    over.set()
    stage.get("/v1/checkpoint", stage.publish("lost-last", status(404)), variant="raw")
    listener.join(30)
    assert secret not in "".join(stage.answers)
    return stage


def _fills(stage: Stage) -> list[dict[str, Any]]:
    fills: list[dict[str, Any]] = stage.proxy.get("/v1/fills", headers=bearing(TOKEN)).json()["fills"]
    return fills


def _listen(stage: Stage, listening: threading.Event, over: threading.Event) -> None:
    with (
        httpx2.Client(trust_env=False, timeout=30, headers=bearing(TOKEN)) as client,
        client.stream("GET", f"{stage.proxy.url}/v1/events") as answer,
    ):
        for line in answer.iter_lines():
            listening.set()
            stage.answers.append(f"event: {line}")
            if over.is_set() and "lost-last" in line:
                return


def test_the_play_was_played(played: Stage) -> None:
    assert f"/there.pth?{SIGNED}" in played.sink.seen
    basic = {headers.get("authorization", "")[:6] for headers in played.upstream.headers}
    assert "Basic " in basic
    assert sum(answer.startswith("event: ") for answer in played.answers) > 3


def test_no_answer_and_no_event_tells_a_secret(played: Stage) -> None:
    assert [answer for answer in played.answers if CANARY in answer] == []


def test_no_line_of_the_log_tells_a_secret(played: Stage) -> None:
    assert played.proxy.says("masked-")
    assert [line for line in played.proxy.log.splitlines() if CANARY in line] == []


def test_nothing_in_the_data_directory_holds_a_secret(played: Stage) -> None:
    files = [path for path in played.data_dir.rglob("*") if path.is_file()]
    assert {"zooproxy.db", "audit.log"} <= {path.name for path in files}
    assert [str(path) for path in files if CANARY.encode() in path.read_bytes()] == []


def test_no_upstream_and_no_redirect_target_is_told_what_is_not_its_own(played: Stage) -> None:
    for headers in played.sink.headers:
        assert "authorization" not in headers
        assert CANARY not in str(headers)
    assert {headers.get("authorization") for headers in played.parent.headers} == {f"Bearer {PARENT_TOKEN}"}
    for headers in played.upstream.headers:
        assert TOKEN not in str(headers)
        assert PARENT_TOKEN not in str(headers)
        assert "canary-secret-key" not in str(headers)


def test_the_commands_do_not_carry_their_token_to_where_a_redirect_leads(
    stage: Stage, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    with running_upstream() as proxy, running_upstream() as thief:
        proxy.put("/v1/fills", redirect(f"{thief.url}/v1/fills"))
        monkeypatch.setenv("ZOOPROXY", proxy.url)
        monkeypatch.setenv("ZOOPROXY_TOKEN", TOKEN)
        assert main(["warm", "torchvision://resnet50"]) == 1
        assert main(["pull", "torchvision://resnet50"]) == 1
        assert thief.seen == []
    assert CANARY not in capsys.readouterr().err
