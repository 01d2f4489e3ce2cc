"""Raw checkpoints read while they are filled: by one proxy, by two on one data directory, across a kill -9."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import pytest

from end_to_end.conftest import StartProxy, played_by
from end_to_end.following import streaming, take
from end_to_end.proxy_process import ProxyProcess, running_proxy
from fakes.upstream import (
    Behaviour,
    Gate,
    Ranged,
    Upstream,
    chunked,
    running_upstream,
    status,
)
from zooproxy.provide.growing import HOLD_BACK

ZOO = "https://download.pytorch.org"
PLAYED = "/download.pytorch.org"
_numbers = count()


class Stage:
    def __init__(self, upstream: Upstream, proxies: list[ProxyProcess]) -> None:
        self.upstream = upstream
        self.proxies = proxies
        self.proxy = proxies[0]

    def play(self, behaviour: Behaviour, name: str = "net") -> tuple[str, str]:
        path = f"/{name}-{next(_numbers)}.pth"
        self.upstream.put(PLAYED + path, behaviour)
        return ZOO + path, PLAYED + path

    def requests(self, path: str) -> int:
        return self.upstream.seen.count(path)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    """Two proxies on one data directory."""
    data_dir = tmp_path_factory.mktemp("data")
    with (
        running_upstream() as upstream,
        running_proxy(data_dir, mirrors=played_by(upstream)) as first,
        running_proxy(data_dir, mirrors=played_by(upstream)) as second,
    ):
        yield Stage(upstream, [first, second])


def test_bytes_reach_a_cold_client_while_the_upstream_still_sends(stage: Stage, large_checkpoint: bytes) -> None:
    gate = Gate(large_checkpoint, 1_000_000)
    ref, path = stage.play(gate)
    with streaming(stage.proxy, ref) as answer:
        assert (answer.status_code, answer.headers["zooproxy-state"]) == (200, "filling")
        assert int(answer.headers["content-length"]) == len(large_checkpoint)
        assert "etag" not in answer.headers
        blocks = answer.iter_raw()
        begun = take(answer, blocks, 1_000_000 - HOLD_BACK)
        assert not gate.is_open
        gate.open()
        assert begun + b"".join(blocks) == large_checkpoint
    assert stage.requests(path) == 1


def test_the_last_bytes_are_held_back_until_the_whole_is_proven(stage: Stage, large_checkpoint: bytes) -> None:
    gate = Gate(large_checkpoint, len(large_checkpoint) - 1)
    ref, _ = stage.play(gate)
    with streaming(stage.proxy, ref) as answer:
        blocks = answer.iter_raw()
        begun = take(answer, blocks, len(large_checkpoint) - HOLD_BACK)
        assert len(begun) == len(large_checkpoint) - HOLD_BACK
        gate.open()
        assert begun + b"".join(blocks) == large_checkpoint


def test_a_range_is_followed_from_its_own_position(stage: Stage, large_checkpoint: bytes) -> None:
    gate = Gate(large_checkpoint, 1_000_000)
    ref, path = stage.play(gate)
    with (
        streaming(stage.proxy, ref, {"Range": "bytes=2000000-2000099"}) as answer,
        streaming(stage.proxy, ref, {"Range": "bytes=-100"}) as tail,
    ):
        assert (answer.status_code, tail.status_code) == (206, 206)
        assert answer.headers["content-range"] == f"bytes 2000000-2000099/{len(large_checkpoint)}"
        gate.open()
        assert answer.read() == large_checkpoint[2_000_000:2_000_100]
        assert tail.read() == large_checkpoint[-100:]
    assert stage.requests(path) == 1


def test_a_range_beyond_the_end_is_416_while_it_fills(stage: Stage, large_checkpoint: bytes) -> None:
    gate = Gate(large_checkpoint, 1_000_000)
    ref, _ = stage.play(gate)
    with streaming(stage.proxy, ref, {"Range": "bytes=9000000-"}) as answer:
        assert (answer.status_code, answer.headers["content-range"]) == (416, f"bytes */{len(large_checkpoint)}")
    gate.open()


def test_without_a_declared_length_the_reply_is_chunked_and_a_range_waits(
    stage: Stage, large_checkpoint: bytes
) -> None:
    ref, _ = stage.play(chunked(large_checkpoint, 100_000))
    with streaming(stage.proxy, ref) as answer:
        assert answer.read() == large_checkpoint
    ref, _ = stage.play(chunked(large_checkpoint, 100_000))
    assert (
        stage.proxy.get("/v1/checkpoint", ref, {"Range": "bytes=5-9"}, variant="raw").content == large_checkpoint[5:10]
    )


def test_a_pinned_source_is_tagged_from_its_first_byte(
    start_proxy: StartProxy, upstream: Upstream, large_checkpoint: bytes
) -> None:
    digest = hashlib.sha256(large_checkpoint).hexdigest()
    gate = Gate(large_checkpoint, 1_000_000)
    upstream.put(f"{PLAYED}/net.pth", gate)
    proxy = start_proxy(pins={f"{ZOO}/net.pth": digest})
    with streaming(proxy, f"{ZOO}/net.pth") as answer:
        assert answer.headers["etag"] == f'"{digest}"'
        with streaming(proxy, f"{ZOO}/net.pth", {"If-None-Match": f'"{digest}"'}) as known:
            assert known.status_code == 304
        gate.open()
        assert answer.read() == large_checkpoint


def test_a_body_cut_short_twice_is_one_unbroken_stream(stage: Stage, large_checkpoint: bytes) -> None:
    ref, path = stage.play(Ranged(large_checkpoint, cuts=[1_000_000, 1_000_000]))
    with streaming(stage.proxy, ref) as answer:
        assert answer.read() == large_checkpoint
    assert stage.requests(path) == 3


def test_clients_of_two_proxies_on_one_directory_are_one_upstream_get(stage: Stage, large_checkpoint: bytes) -> None:
    gate = Gate(large_checkpoint, 1_000_000)
    ref, path = stage.play(gate)

    def whole(number: int) -> bytes:
        proxy = stage.proxies[number % 2]
        return proxy.get("/v1/checkpoint", ref, variant="raw").content

    with ThreadPoolExecutor(40) as clients:
        asking = [clients.submit(whole, number) for number in range(40)]
        assert gate.reached.wait(30)
        with streaming(stage.proxies[0], ref) as one, streaming(stage.proxies[1], ref) as other:
            assert {one.headers["zooproxy-state"], other.headers["zooproxy-state"]} == {"filling"}
            gate.open()
            assert one.read() == other.read() == large_checkpoint
        assert {asked.result(60) for asked in asking} == {large_checkpoint}
    assert stage.requests(path) == 1


def test_kill_9_of_the_leader_hands_its_partial_to_the_other_process_and_its_followers_notice_nothing(
    upstream: Upstream, data_dir: Path, large_checkpoint: bytes
) -> None:
    held = Ranged(large_checkpoint, hold=2_000_000)
    upstream.put(f"{PLAYED}/net.pth", held)
    with (
        running_proxy(data_dir, mirrors=played_by(upstream)) as leader,
        running_proxy(data_dir, mirrors=played_by(upstream)) as other,
        streaming(leader, f"{ZOO}/net.pth") as first,
    ):
        take(first, first.iter_raw(), 1)
        assert held.reached.wait(30)
        with streaming(other, f"{ZOO}/net.pth") as answer:
            blocks = answer.iter_raw()
            begun = take(answer, blocks, 2_000_000 - HOLD_BACK)
            upstream.put(f"{PLAYED}/net.pth", Ranged(large_checkpoint))
            leader.kill()
            assert begun + b"".join(blocks) == large_checkpoint
    held.open()
    assert [headers["range"] for headers in upstream.headers[1:]] == ["bytes=2000000-"]


def test_a_partial_survives_kill_9_and_restart_with_its_validator(
    start_proxy: StartProxy, upstream: Upstream, large_checkpoint: bytes
) -> None:
    held = Ranged(large_checkpoint, hold=2_000_000)
    upstream.put(f"{PLAYED}/net.pth", held)
    first = start_proxy()
    with streaming(first, f"{ZOO}/net.pth") as answer:
        take(answer, answer.iter_raw(), 2_000_000 - HOLD_BACK)
        first.kill()
    held.open()
    upstream.put(f"{PLAYED}/net.pth", Ranged(large_checkpoint))
    second = start_proxy()
    assert second.get("/v1/checkpoint", f"{ZOO}/net.pth", variant="raw").content == large_checkpoint
    assert upstream.headers[-1]["range"] == "bytes=2000000-"
    assert upstream.headers[-1]["if-range"] == '"v1"'


def test_a_partial_survives_an_orderly_stop_too_and_starts_again_where_the_file_has_changed(
    start_proxy: StartProxy, upstream: Upstream, large_checkpoint: bytes
) -> None:
    held = Ranged(bytes(len(large_checkpoint)), hold=2_000_000)
    upstream.put(f"{PLAYED}/net.pth", held)
    first = start_proxy(shutdown_seconds="0")
    with streaming(first, f"{ZOO}/net.pth") as answer:
        take(answer, answer.iter_raw(), 1)
        assert first.stop() == 0
    held.open()
    upstream.put(f"{PLAYED}/net.pth", Ranged(large_checkpoint, '"v2"'))
    second = start_proxy()
    assert second.get("/v1/checkpoint", f"{ZOO}/net.pth", variant="raw").content == large_checkpoint
    assert upstream.headers[-1]["if-range"] == '"v1"'


def test_a_parent_is_asked_first_and_its_clients_follow_through_both(
    stage: Stage, data_dir: Path, large_checkpoint: bytes
) -> None:
    gate = Gate(large_checkpoint, 1_000_000)
    ref, path = stage.play(gate)
    with running_proxy(data_dir, parent=stage.proxy.url, mirrors=played_by(stage.upstream)) as child:
        with streaming(child, ref) as answer:
            take(answer, answer.iter_raw(), 900_000 - HOLD_BACK)
            gate.open()
        assert child.get("/v1/checkpoint", ref, variant="raw").content == large_checkpoint
        missing, absent = stage.play(status(404))
        assert child.get("/v1/checkpoint", missing, variant="raw").json()["upstream_status"] == 404
    assert stage.requests(path) == 1
    assert stage.requests(absent) == 2  # once by the parent, once by the child itself
