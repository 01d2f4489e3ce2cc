"""Every change leaves its line, whoever made it; what changed nothing leaves none."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from end_to_end.proxy_process import ProxyProcess, running_proxy
from end_to_end.test_tokens import bearing, command, made
from zooproxy.digest import Sha256

CHOSEN = "chosen-by-an-operator"


class Stage:
    def __init__(self, proxy: ProxyProcess, data_dir: Path) -> None:
        self.proxy = proxy
        self.data_dir = data_dir

    def call(self, method: str, path: str, token: str, **options: Any) -> httpx2.Response:
        return httpx2.request(method, self.proxy.url + path, headers=bearing(token), trust_env=False, **options)

    def latest(self, **query: str) -> list[dict[str, Any]]:
        entries: list[dict[str, Any]] = self.proxy.get("/v1/audit", headers=bearing(CHOSEN), **query).json()
        return entries


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    data_dir = tmp_path_factory.mktemp("data")
    with running_proxy(data_dir, admin_tokens=[CHOSEN], offline="true") as proxy:
        yield Stage(proxy, data_dir)


def test_a_change_is_told_with_who_where_what_and_how_it_ended(stage: Stage) -> None:
    token = made(stage.data_dir, "admin")
    name = "/v1/zoos/mmdet/models/ours"
    url = "https://download.openmmlab.com/ours.pth"
    assert stage.call("PUT", name, token, json={"url": url}).status_code == 201
    assert stage.call("DELETE", name, CHOSEN).status_code == 204
    assert stage.call("DELETE", name, CHOSEN).status_code == 404
    again, removed, put = stage.latest(limit="3")
    target = {"zoo": "mmdet", "name": "ours"}
    assert (put["who"], put["peer"], put["action"]) == (f"token:{token.split('_')[1]}", "127.0.0.1", "put_model")
    assert (put["target"], put["outcome"]) == (target, "201")
    assert (removed["who"], removed["target"]) == (f"settings:{Sha256.of(CHOSEN.encode())[:8]}", target)
    assert (removed["outcome"], again["outcome"]) == ("204", "404 unknown-name")
    assert put["time"] < removed["time"] < again["time"]


def test_a_fill_is_told_with_its_references_and_without_their_credentials(stage: Stage) -> None:
    refs = ["torchvision://resnet50", "https://download.pytorch.org/x.pth?sig=canary"]
    assert stage.call("POST", "/v1/fills", CHOSEN, json={"refs": refs}).status_code == 202
    (entry,) = stage.latest(limit="1")
    assert entry["action"] == "start_fills"
    assert entry["target"]["refs"][0] == refs[0]
    assert "canary" not in (stage.data_dir / "audit.log").read_text()


def test_what_was_not_let_through_leaves_no_line(stage: Stage) -> None:
    before = stage.latest()
    assert stage.call("DELETE", "/v1/zoos/mmdet/models/ours", "wrong").status_code == 401
    assert stage.call("DELETE", "/v1/zoos/mmdet/models/ours", made(stage.data_dir, "fill")).status_code == 403
    assert stage.proxy.get("/v1/zoos").status_code == 200
    assert stage.latest() == before


def test_tokens_made_and_revoked_at_the_command_line_leave_their_lines(stage: Stage) -> None:
    token = command(stage.data_dir, "new", "--note", "for the audit").stdout.strip()
    command(stage.data_dir, "revoke", token)
    revoked, new = stage.latest(limit="2")
    name = token.split("_")[1]
    assert (new["action"], new["target"]["id"], new["target"]["note"]) == ("token new", name, "for the audit")
    assert (revoked["action"], revoked["target"]) == ("token revoke", {"id": name})
    assert new["who"].startswith("uid:")
    assert token.split("_", 2)[2] not in (stage.data_dir / "audit.log").read_text()


def test_the_log_is_for_administrators_and_takes_one_parameter(stage: Stage) -> None:
    assert stage.proxy.get("/v1/audit").status_code == 401
    assert stage.proxy.get("/v1/audit", headers=bearing(made(stage.data_dir, "fill"))).status_code == 403
    assert stage.proxy.get("/v1/audit", headers=bearing(CHOSEN), limit="0").status_code == 400
    assert stage.proxy.get("/v1/audit", headers=bearing(CHOSEN), limt="1").status_code == 400


def test_a_log_that_cannot_be_written_is_said_and_stops_nothing(stage: Stage) -> None:
    log = stage.data_dir / "audit.log"
    log.rename(stage.data_dir / "aside")
    log.mkdir()
    try:
        assert stage.call("DELETE", "/v1/zoos/mmdet/models/none", CHOSEN).status_code == 404
        assert stage.proxy.says("the audit log cannot be written")
    finally:
        log.rmdir()
        (stage.data_dir / "aside").rename(log)
