"""Files of the site's own: uploaded over the wire, served like all others, gone when they should be."""

from __future__ import annotations

import io
import json
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx2
import pytest
import safetensors.torch
import torch

from end_to_end.proxy_process import ProxyProcess, running_proxy
from held_files import partials
from zooproxy.cli import main
from zooproxy.digest import Sha256
from zooproxy.errors import BadRequest
from zooproxy.names.lock import Lock, Locked, read_lock, write_lock
from zooproxy.names.published import PublishedName, checked_file_name, locate, published_file

Answer = httpx2.Response


def file_of(number: float) -> bytes:
    file = io.BytesIO()
    torch.save({"state_dict": {"backbone.w": torch.full((3,), number)}, "epoch": 1}, file)
    return file.getvalue()


FIRST, SECOND = file_of(1.0), file_of(2.0)


class Site:
    def __init__(self, proxy: ProxyProcess, data: Path) -> None:
        self.proxy = proxy
        self.data = data

    def put(self, name: str, body: Any, *, zoo: str = "site", headers: Any = None, **query: Any) -> Answer:
        known = {"sha256": Sha256.of(body), **query} if isinstance(body, bytes) else query
        address = f"{self.proxy.url}/v1/zoos/{zoo}/files/{name}"
        return httpx2.put(address, params=known, content=body, headers=headers, trust_env=False, timeout=60)

    def delete(self, name: str, **query: Any) -> Answer:
        address = f"{self.proxy.url}/v1/zoos/site/files/{name}"
        return httpx2.delete(address, params=query, trust_env=False, timeout=60)

    def raw(self, ref: str) -> Answer:
        return self.proxy.get("/v1/checkpoint", ref, variant="raw")

    def resolved(self, ref: str) -> Any:
        return self.proxy.get("/v1/resolve", ref).json()


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    data = tmp_path_factory.mktemp("data")
    with running_proxy(data, max_file_bytes="10000000") as proxy:
        yield Site(proxy, data)


def test_a_published_file_is_served_in_every_variant_listed_and_never_evicted(site: Site) -> None:
    answer = site.put("team/every", FIRST, tag="v1", file="größe.pth")
    digest = Sha256.of(FIRST)
    assert answer.status_code == 200
    assert answer.json() == {
        "refs": ["site://team/every@v1", "site://team/every"],
        "url": f"published://-/{digest}/gr%C3%B6%C3%9Fe.pth",
        "sha256": digest,
        "size": len(FIRST),
    }
    for ref in ("site://team/every", "site://team/every@v1", "site://team/every@latest"):
        raw = site.raw(ref)
        assert raw.content == FIRST
        assert "gr%C3%B6%C3%9Fe.pth" in raw.headers["content-disposition"]
        resolved = site.resolved(ref)
        assert (resolved["state"], resolved["sha256"], resolved["layer"]) == ("held", digest, "administrator")
    model = safetensors.torch.load(site.proxy.get("/v1/checkpoint", "site://team/every", prefix="backbone").content)
    assert model["w"].tolist() == [1, 1, 1]
    pth = site.proxy.get("/v1/checkpoint", "site://team/every", format="pth", variant="full").content
    assert torch.load(io.BytesIO(pth), weights_only=True)["epoch"] == 1
    assert site.proxy.get("/v1/tensors", "site://team/every@v1").json()["blob"] == digest
    assert site.proxy.get(f"/v1/blobs/{digest}").content == FIRST
    assert "site" in [zoo["name"] for zoo in site.proxy.get("/v1/zoos").json()]
    found = site.proxy.get("/v1/models", q="team every").json()["models"][:2]
    assert [model["ref"] for model in found] == ["site://team/every", "site://team/every@v1"]
    assert found[0]["state"] == "held"
    pins = [pin["url"] for pin in site.proxy.get("/v1/cache/pins").json()]
    assert answer.json()["url"] in pins


def test_the_name_alone_moves_and_a_tag_does_not_unless_it_is_forced(site: Site) -> None:
    assert site.put("team/moving", FIRST, tag="v1").status_code == 200
    assert site.put("team/moving", SECOND, tag="v2").status_code == 200
    assert site.raw("site://team/moving").content == SECOND
    assert site.raw("site://team/moving@v1").content == FIRST
    taken = site.put("team/moving", SECOND, tag="v1")
    assert (taken.status_code, taken.json()["type"]) == (409, "urn:zooproxy:problem:already-published")
    assert (taken.json()["reference"], taken.json()["sha256"]) == ("site://team/moving@v1", Sha256.of(FIRST))
    assert site.put("team/moving", FIRST, tag="v1").status_code == 200  # the same again
    assert site.raw("site://team/moving").content == FIRST
    assert site.put("team/moving", SECOND, tag="v1", force="true").status_code == 200
    assert site.raw("site://team/moving@v1").content == SECOND
    assert site.put("team/moving", FIRST).status_code == 200
    assert site.raw("site://team/moving@latest").content == FIRST


def test_what_no_name_leads_to_any_more_may_be_evicted(site: Site) -> None:
    def pinned() -> bool:
        return url in [pin["url"] for pin in site.proxy.get("/v1/cache/pins").json()]

    url = site.put("team/gone", file_of(3.0), tag="v1").json()["url"]
    assert site.put("team/gone-too", file_of(3.0)).json()["url"] == url
    assert site.delete("team/gone", tag="v1").status_code == 204
    assert site.raw("site://team/gone@v1").status_code == 404
    assert site.raw("site://team/gone").status_code == 200
    assert site.delete("team/gone").status_code == 204
    assert site.raw("site://team/gone").status_code == 404
    assert pinned()
    assert site.put("team/gone-too", SECOND).status_code == 200
    assert not pinned()
    for name, query in (("team/gone", {}), ("team/gone-too", {"tag": "v9"}), ("team/never", {})):
        gone = site.delete(name, **query)
        assert (gone.status_code, gone.json()["type"]) == (404, "urn:zooproxy:problem:unknown-name")


def test_all_tags_go_with_their_name_and_no_other_name_does(site: Site) -> None:
    for name in ("team/a_b", "team/axb", "team/a_b.c"):
        assert site.put(name, FIRST, tag="v1").status_code == 200
    assert site.delete("team/a_b").status_code == 204
    statuses = {ref: site.raw(f"site://team/{ref}").status_code for ref in ("a_b", "a_b@v1", "axb@v1", "a_b.c")}
    assert statuses == {"a_b": 404, "a_b@v1": 404, "axb@v1": 200, "a_b.c": 200}


def test_a_name_of_another_zoo_leads_to_a_published_file(site: Site) -> None:
    assert site.put("team/det", FIRST, zoo="mmdet").json()["refs"] == ["mmdet://team/det"]
    assert site.raw("mmdet://team/det").content == FIRST


@pytest.mark.parametrize(
    ("name", "body", "query", "status", "problem"),
    [
        ("team/bad", FIRST, {"sha256": "a" * 64}, 422, "upload-mismatch"),
        ("team/bad", b"<html>no checkpoint at all</html>", {}, 422, "upload"),
        ("team/bad", b"", {}, 422, "upload"),
        ("team/bad", b"x" * 10_000_001, {}, 413, "upload-too-large"),
        ("team/bad", FIRST, {"sha256": "0676ba61"}, 400, "bad-request"),
        ("team/bad", FIRST, {"tag": "latest"}, 400, "bad-request"),
        ("team/bad", FIRST, {"tag": "a b"}, 400, "bad-request"),
        ("team/bad", FIRST, {"file": "../x.pth"}, 400, "bad-request"),
        ("team/bad", FIRST, {"nome": "x"}, 400, "bad-request"),
        ("bad", FIRST, {}, 400, "bad-request"),
        ("team/b@d", FIRST, {}, 400, "bad-request"),
        ("team//bad", FIRST, {}, 400, "bad-request"),
    ],
)
def test_what_cannot_be_published_is_refused_and_leaves_nothing(
    site: Site, name: str, body: bytes, query: dict[str, str], status: int, problem: str
) -> None:
    answer = site.put(name, body, **query)
    assert (answer.status_code, answer.json()["type"]) == (status, f"urn:zooproxy:problem:{problem}")
    assert site.raw("site://team/bad").status_code == 404
    assert site.proxy.get(f"/v1/blobs/{Sha256.of(b'<html>no checkpoint at all</html>')}").status_code == 404


def test_a_mismatch_tells_both_digests_and_an_unknown_zoo_the_known_ones(site: Site) -> None:
    problem = site.put("team/bad", FIRST, sha256="a" * 64).json()
    assert (problem["expected_sha256"], problem["actual_sha256"]) == ("a" * 64, Sha256.of(FIRST))
    unknown = site.put("team/bad", FIRST, zoo="mmdett")
    assert (unknown.status_code, unknown.json()["type"]) == (404, "urn:zooproxy:problem:unknown-zoo")


def test_an_upload_of_no_declared_length_is_refused(site: Site) -> None:
    answer = site.put("team/bad", iter([FIRST]), sha256=Sha256.of(FIRST))
    assert (answer.status_code, "Content-Length" in answer.json()["detail"]) == (400, True)


def test_whether_a_file_could_be_published_is_told_before_it_is_sent(site: Site) -> None:
    def asked(name: str, **query: Any) -> tuple[int, Any]:
        answer = site.proxy.get(f"/v1/zoos/site/files/{name}", None, **{"sha256": Sha256.of(SECOND), **query})
        return answer.status_code, answer.json()

    assert site.put("team/asked", FIRST, tag="v1").status_code == 200
    status, told = asked("team/asked", tag="v2", size="5")
    assert (status, told["refs"], told["size"]) == (200, ["site://team/asked@v2", "site://team/asked"], 5)
    assert asked("team/asked", tag="v1", size="5")[0] == 409
    assert asked("team/asked", tag="v1", size="5", force="true")[0] == 200
    assert asked("team/asked", size="10000001")[0] == 413
    assert asked("asked", size="5")[0] == 400
    assert site.raw("site://team/asked").content == FIRST


def test_two_who_publish_one_tag_at_once_get_one_outcome(site: Site) -> None:
    bodies = [file_of(float(number)) for number in range(10, 16)]
    barrier = threading.Barrier(len(bodies))

    def publish(body: bytes) -> int:
        barrier.wait(30)
        return site.put("team/race", body, tag="v1").status_code

    with ThreadPoolExecutor(len(bodies)) as threads:
        statuses = list(threads.map(publish, bodies))
    assert sorted(statuses) == [200, *[409] * (len(bodies) - 1)]
    won = bodies[statuses.index(200)]
    assert site.raw("site://team/race@v1").content == site.raw("site://team/race").content == won
    pinned = {pin["sha256"] for pin in site.proxy.get("/v1/cache/pins").json()}
    assert {body for body in bodies if Sha256.of(body) in pinned} == {won}


def test_a_disk_without_room_refuses_before_the_first_byte(tmp_path: Path) -> None:
    with running_proxy(tmp_path, spare_bytes=str(1 << 60)) as proxy:
        answer = Site(proxy, tmp_path).put("team/model", FIRST)
        assert (answer.status_code, answer.json()["type"]) == (507, "urn:zooproxy:problem:out-of-space")


def half_sent(proxy: ProxyProcess, body: bytes) -> socket.socket:
    """A connection over which half of an upload has gone."""
    host, port = proxy.url.removeprefix("http://").split(":")
    connection = socket.create_connection((host, int(port)), 30)
    path = f"/v1/zoos/site/files/team/half?{urlencode({'sha256': Sha256.of(body)})}"
    head = f"PUT {path} HTTP/1.1\r\nHost: {host}:{port}\r\nContent-Length: {len(body)}\r\n\r\n"
    connection.sendall(head.encode() + body[: len(body) // 2])
    return connection


def until(condition: Any) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it never came to be"
        time.sleep(0.02)


def test_kill_9_in_the_middle_of_an_upload_leaves_nothing_visible(tmp_path: Path) -> None:
    large = file_of(7.0) + b"\0" * 6_000_000
    with running_proxy(tmp_path, offline="true") as proxy:
        url = Site(proxy, tmp_path).put("team/model", FIRST, tag="v1").json()["url"]
        assert Site(proxy, tmp_path).put("team/left", SECOND).status_code == 200
        assert proxy.request("DELETE", "/v1/zoos/site/models/team/left").status_code == 204
        with half_sent(proxy, large):
            until(lambda: partials(tmp_path))
            proxy.kill()
    with running_proxy(tmp_path, offline="true") as proxy:
        site = Site(proxy, tmp_path)
        assert site.raw("site://team/half").status_code == 404
        assert partials(tmp_path) == {}
        assert site.raw("site://team/model@v1").content == FIRST  # and a restart keeps what was published
        assert site.proxy.get("/v1/zoos/site/models").json()["total"] == 2
        assert [pin["url"] for pin in proxy.get("/v1/cache/pins").json()] == [url]  # and of no file without a name


def test_an_uploader_who_leaves_in_the_middle_leaves_nothing(site: Site) -> None:
    half_sent(site.proxy, file_of(7.0) + b"\0" * 6_000_000).close()
    audit = site.data / "audit.log"
    until(lambda: "team/half" in audit.read_text() and "422 upload" in audit.read_text())
    until(lambda: partials(site.data) == {})
    assert site.raw("site://team/half").status_code == 404


def test_a_published_file_that_is_lost_says_how_to_get_it_back(site: Site) -> None:
    body = file_of(8.0)
    site.put("team/lost", body)
    digest = Sha256.of(body)
    (site.data / "blobs" / digest[:2] / digest[2:]).unlink()
    lost = site.proxy.get("/v1/checkpoint", "site://team/lost")
    assert (lost.status_code, "publish it again" in lost.json()["detail"]) == (502, True)
    assert site.put("team/lost", body).status_code == 200
    assert site.raw("site://team/lost").content == body


def test_a_lock_lists_published_files(site: Site) -> None:
    url = site.put("team/locked", FIRST, tag="v1").json()["url"]
    lock = Lock([Locked("site://team/locked@v1", url, Sha256.of(FIRST), len(FIRST))])
    assert read_lock(io.BytesIO(write_lock(lock))) == lock


def test_a_bundle_carries_published_models_and_their_names_across_an_air_gap(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with running_proxy(tmp_path / "here", offline="true") as proxy:
        url = Site(proxy, tmp_path).put("team/model", FIRST, tag="v1").json()["url"]
    monkeypatch.setenv("ZOOPROXY_DATA_DIR", str(tmp_path / "here"))
    assert main(["bundle", "export", "--held", "-o", str(tmp_path / "b.tar")]) == 0
    monkeypatch.setenv("ZOOPROXY_DATA_DIR", str(tmp_path / "there"))
    assert main(["bundle", "import", str(tmp_path / "b.tar")]) == 0
    with running_proxy(tmp_path / "there", offline="true") as proxy:
        site = Site(proxy, tmp_path)
        for ref in ("site://team/model@v1", "site://team/model", "site://team/model@latest"):
            assert site.raw(ref).content == FIRST
        assert [pin["url"] for pin in proxy.get("/v1/cache/pins").json()] == [url]


# -- names ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["a/b", "team/model-1.0_x", "a/b/c/d/e/f/g/h", "1/2"])
def test_names_to_publish_under(name: str) -> None:
    assert PublishedName("site", name, "v1").ref == f"site://{name}@v1"
    assert PublishedName("site", name).full == name


@pytest.mark.parametrize(
    "name", ["", "model", "/a/b", "a/b/", "a/-b", "a/.b", "a/b.", "a/größe", "a/b c", "a/" + "b" * 200, "a/b" * 9]
)
def test_names_that_nothing_is_published_under(name: str) -> None:
    with pytest.raises(BadRequest, match="team/model"):
        PublishedName("site", name)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\\b", "a\nb", "x" * 201])
def test_file_names_that_lead_elsewhere_are_refused(name: str) -> None:
    with pytest.raises(BadRequest):
        checked_file_name(name)


def test_a_published_source_is_read_back_from_its_url() -> None:
    url = f"published://-/{'a' * 64}/x%20y.pth"
    found = published_file(url)
    assert found is not None
    assert (found.sha256, found.file_name, found.canonical, locate(url)) == ("a" * 64, "x y.pth", url, found)
    assert published_file("published://-/short/x.pth") is None
    assert published_file("https://h.example/x.pth") is None


def test_what_was_published_is_in_the_audit_log(site: Site) -> None:
    site.put("team/audited", FIRST, tag="v1")
    lines = map(json.loads, (site.data / "audit.log").read_text().splitlines())
    found = [line for line in lines if line["target"].get("name") == "team/audited"]
    assert [(line["action"], line["outcome"]) for line in found] == [("publish", "200")]
