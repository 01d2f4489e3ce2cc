"""The watch over upstreams: what is held is asked about, whatever comes of it is told, and nothing of it is touched."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from end_to_end.conftest import StartProxy, played_by
from end_to_end.proxy_process import ProxyProcess, http_client, running_proxy
from fakes.authority import Authority
from fakes.upstream import Behaviour, Ranged, Upstream, running_upstream, status
from zooproxy.cli import main
from zooproxy.digest import Sha256

_numbers = count()


class Stage:
    def __init__(self, proxy: ProxyProcess, upstreams: dict[str, Upstream]) -> None:
        self.proxy = proxy
        self.upstreams = upstreams

    def hold(self, host: str, body: bytes, *, hint: bool = False) -> str:
        """A reference on ``host`` whose file is held since now."""
        name = f"{next(_numbers)}-{Sha256.of(body):.8}.pth" if hint else f"{next(_numbers)}.pth"
        for folder in (host, "second"):
            self.play(f"/{folder}/{name}", Ranged(body))
        ref = f"https://{host}/{name}"
        assert self.proxy.get("/v1/checkpoint", ref, variant="raw").content == body
        return ref

    def play(self, path: str, behaviour: Behaviour) -> None:
        for upstream in self.upstreams.values():
            upstream.put(path, behaviour)

    def asked(self, ref: str) -> list[str]:
        path, upstream = ref.removeprefix("https:/"), self.upstreams["plain"]
        return [method for seen, method in zip(upstream.seen, upstream.methods, strict=True) if seen == path]

    def round(self) -> dict[str, Any]:
        answer = self.proxy.request("POST", "/v1/watch")
        assert answer.status_code == 202
        while (told := self.proxy.get("/v1/watch").json())["left"]:
            time.sleep(0.02)
        return dict(told)

    def source(self, ref: str) -> dict[str, Any]:
        return next(one for one in self.round()["sources"] if one["url"] == ref)

    def host(self, name: str) -> dict[str, Any]:
        return next(one for one in self.round()["hosts"] if one["host"].startswith(name))


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, small_checkpoint: bytes) -> Iterator[Stage]:
    authority = Authority(tmp_path_factory.mktemp("ca"))
    with (
        running_upstream() as plain,
        running_upstream(authority.server("127.0.0.2", days=5)) as soon,
        running_upstream(authority.server("127.0.0.3", days=-1)) as expired,
    ):
        mirrors = {
            "one.zoo.example": [f"{plain.url}/one.zoo.example", "off"],
            "two.zoo.example": [f"{plain.url}/two.zoo.example", f"{plain.url}/second", "off"],
            "soon.zoo.example": [f"https://127.0.0.2:{soon.port}/soon.zoo.example", "off"],
            "late.zoo.example": [f"https://127.0.0.3:{expired.port}/late.zoo.example", f"{plain.url}/second", "off"],
            "localhost": [f"{plain.url}/localhost"],
        }
        settings = {
            "allow_hosts": ["*.zoo.example", "localhost"],
            "ca_file": str(authority.file),
            "tries": "1",
            "pins": {"https://one.zoo.example/pinned.pth": Sha256.of(small_checkpoint)},
        }
        with running_proxy(tmp_path_factory.mktemp("data"), mirrors=mirrors, **settings) as proxy:
            yield Stage(proxy, {"plain": plain, "soon": soon, "expired": expired})


def test_a_source_that_stands_as_it_did_is_ok_and_costs_a_head(stage: Stage, small_checkpoint: bytes) -> None:
    ref = stage.hold("one.zoo.example", small_checkpoint)
    seen = stage.source(ref)
    assert (seen["state"], list(seen["candidates"].values())) == ("ok", [None])
    assert stage.asked(ref) == ["GET", "HEAD"]


def test_a_changed_source_is_told_and_what_is_held_under_its_digest_stays(
    stage: Stage, small_checkpoint: bytes, large_checkpoint: bytes
) -> None:
    ref = stage.hold("one.zoo.example", small_checkpoint, hint=True)
    stage.play(ref.removeprefix("https:/"), Ranged(large_checkpoint, '"v2"'))
    seen, again = stage.source(ref), stage.source(ref)
    assert (seen["state"], again["state"], again["since"]) == ("changed", "changed", seen["since"])
    assert str(len(large_checkpoint)) in seen["detail"]
    assert stage.asked(ref) == ["GET", "HEAD", "HEAD"]
    assert stage.proxy.get("/v1/checkpoint", ref, variant="raw").content == small_checkpoint
    stage.play(ref.removeprefix("https:/"), Ranged(small_checkpoint))
    assert stage.source(ref)["state"] == "ok"


def test_a_changed_source_without_a_digest_is_quarantined(
    stage: Stage, small_checkpoint: bytes, large_checkpoint: bytes
) -> None:
    ref = stage.hold("one.zoo.example", small_checkpoint)
    stage.play(ref.removeprefix("https:/"), Ranged(large_checkpoint, '"v2"'))
    assert stage.source(ref)["state"] == "changed"
    assert stage.proxy.get("/v1/resolve", ref).json()["state"] == "quarantined"
    assert stage.proxy.get("/v1/checkpoint", ref, variant="raw").content == small_checkpoint
    assert stage.source(ref)["state"] == "changed"
    assert stage.asked(ref).count("GET") == 2
    stage.play(ref.removeprefix("https:/"), Ranged(small_checkpoint))
    assert stage.source(ref)["state"] == "ok"


@pytest.mark.parametrize(("code", "state"), [(404, "gone"), (410, "gone"), (403, "unreachable"), (500, "unreachable")])
def test_a_source_that_is_not_to_be_had_is_told_apart(
    stage: Stage, small_checkpoint: bytes, code: int, state: str
) -> None:
    ref = stage.hold("one.zoo.example", small_checkpoint)
    stage.play(ref.removeprefix("https:/"), status(code))
    seen = stage.source(ref)
    assert (seen["state"], str(code) in seen["detail"]) == (state, True)
    stage.play(ref.removeprefix("https:/"), Ranged(small_checkpoint))
    assert stage.source(ref)["state"] == "ok"


def test_a_host_that_answers_no_heads_is_asked_with_a_get(stage: Stage, small_checkpoint: bytes) -> None:
    ref = stage.hold("one.zoo.example", small_checkpoint)
    whole = Ranged(small_checkpoint)
    stage.play(
        ref.removeprefix("https:/"),
        lambda handler: (status(405) if handler.command == "HEAD" else whole)(handler),
    )
    assert stage.source(ref)["state"] == "ok"
    assert stage.asked(ref) == ["GET", "HEAD", "GET"]


def test_a_mirror_that_has_died_is_told_although_another_has_the_file(stage: Stage, small_checkpoint: bytes) -> None:
    ref = stage.hold("two.zoo.example", small_checkpoint)
    stage.play(ref.removeprefix("https:/"), status(404))
    seen = stage.source(ref)
    assert seen["state"] == "ok"
    assert sorted(problem or "" for problem in seen["candidates"].values()) == ["", "upstream answered 404 Not Found"]
    stage.play(ref.removeprefix("https:/"), Ranged(small_checkpoint))


def test_a_pinned_reference_is_watched_before_it_is_held(stage: Stage, small_checkpoint: bytes) -> None:
    assert stage.source("https://one.zoo.example/pinned.pth")["state"] == "gone"
    stage.play("/one.zoo.example/pinned.pth", Ranged(small_checkpoint))
    assert stage.source("https://one.zoo.example/pinned.pth")["state"] == "ok"
    assert set(stage.asked("https://one.zoo.example/pinned.pth")) == {"HEAD"}


def test_a_certificate_is_told_by_the_days_it_has_left(stage: Stage, small_checkpoint: bytes) -> None:
    stage.hold("soon.zoo.example", small_checkpoint)
    host = stage.host("127.0.0.2")
    assert (host["certificate_days"], host["problem"], host["addresses"]) == (4, "", ["127.0.0.2"])


def test_a_certificate_that_has_ended_is_a_problem_of_its_host(stage: Stage, small_checkpoint: bytes) -> None:
    stage.hold("late.zoo.example", small_checkpoint)
    assert "certificate has expired" in stage.host("127.0.0.3")["problem"]


def test_addresses_inside_the_network_are_not_asked(stage: Stage, small_checkpoint: bytes) -> None:
    ref = stage.hold("localhost", small_checkpoint)
    problems = stage.source(ref)["candidates"]
    assert "not a public one" in problems[ref]
    assert "not a public one" in stage.host("localhost")["problem"]


def test_changes_are_events(stage: Stage, small_checkpoint: bytes) -> None:
    ref = stage.hold("one.zoo.example", small_checkpoint)
    stage.play(ref.removeprefix("https:/"), status(404))
    with http_client() as client, client.stream("GET", f"{stage.proxy.url}/v1/events") as answer:
        lines = answer.iter_lines()
        next(lines)
        stage.proxy.request("POST", "/v1/watch")
        told = {}
        while told.get("url") != ref:
            if next(lines) == "event: watch":
                told = json.loads(next(lines).removeprefix("data: "))
    assert (told["state"], told["was"]) == ("gone", "ok")
    stage.play(ref.removeprefix("https:/"), Ranged(small_checkpoint))
    stage.round()


def test_the_command_shows_what_is_wrong_and_its_status_says_so(
    stage: Stage, small_checkpoint: bytes, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ZOOPROXY", stage.proxy.url)
    ref = stage.hold("one.zoo.example", small_checkpoint)
    stage.play(ref.removeprefix("https:/"), status(404))
    assert main(["watch", "--now"]) == 1
    told = capsys.readouterr().out
    assert f" {ref}\n" in told
    assert "upstream answered 404" in told
    stage.play(ref.removeprefix("https:/"), Ranged(small_checkpoint))
    main(["watch", "--now", "--all"])
    assert f"ok           {stage.source(ref)['since']} {ref}\n" in capsys.readouterr().out


def test_sources_are_asked_about_by_and_by_without_anybodys_word(
    start_proxy: StartProxy, upstream: Upstream, small_checkpoint: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    upstream.put("/download.pytorch.org/net.pth", Ranged(small_checkpoint))
    proxy = start_proxy(watch_hours=str(0.5 / 3600))
    ref = "https://download.pytorch.org/net.pth"
    assert proxy.get("/v1/checkpoint", ref, variant="raw").content == small_checkpoint
    deadline = time.monotonic() + 20
    while upstream.methods.count("HEAD") < 3:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    monkeypatch.setenv("ZOOPROXY", proxy.url)
    assert main(["watch"]) == 0
    assert upstream.methods.count("GET") == 1


def test_offline_nobody_is_asked_and_the_last_answers_are_shown(
    data_dir: Path,
    start_proxy: StartProxy,
    upstream: Upstream,
    small_checkpoint: bytes,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    upstream.put("/download.pytorch.org/net.pth", Ranged(small_checkpoint))
    ref = "https://download.pytorch.org/net.pth"
    with running_proxy(data_dir, mirrors=played_by(upstream)) as online:
        assert online.get("/v1/checkpoint", ref, variant="raw").content == small_checkpoint
    proxy = start_proxy(offline="true", pins={"https://download.pytorch.org/pinned.pth": "0" * 64})
    refusal = proxy.request("POST", "/v1/watch")
    assert (refusal.status_code, refusal.json()["type"]) == (503, "urn:zooproxy:problem:offline")
    assert [source["state"] for source in proxy.get("/v1/watch").json()["sources"]] == ["ok", "unknown"]
    monkeypatch.setenv("ZOOPROXY", proxy.url)
    assert main(["watch"]) == 0
    told = capsys.readouterr()
    assert told.out == "2 sources, 0 hosts: 0 to see to, 1 not asked about yet\n"
    assert "WATCH_HOURS" in told.err
    assert upstream.methods == ["GET"]
