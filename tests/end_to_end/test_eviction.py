"""A cache that is full: what leaves, what stays, and what clients notice of it."""

from __future__ import annotations

import hashlib
import io
import json
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote, urlsplit

import httpx2
import pytest
import torch

from components.small_disk import with_own_mounts
from end_to_end.conftest import played_by
from end_to_end.proxy_process import ProxyProcess, clean_environment, running_proxy
from fakes.upstream import Gate, Upstream, running_upstream

ZOO = "https://download.pytorch.org/"
MB = 1 << 20


def checkpoint(megabytes: int, fill: int) -> bytes:
    file = io.BytesIO()
    torch.save({"weight": torch.full((megabytes * MB // 4,), fill, dtype=torch.float32)}, file)
    return file.getvalue()


@pytest.fixture(scope="module")
def files() -> dict[str, bytes]:
    """Four checkpoints of 4 MB, and one of 12 MB, which no socket's buffers take whole."""
    return {name: checkpoint(4, fill) for fill, name in enumerate("abcd")} | {"large": checkpoint(12, 9)}


@pytest.fixture(scope="module")
def played(files: dict[str, bytes]) -> Iterator[Upstream]:
    with running_upstream() as upstream:
        for name, content in files.items():
            upstream.put(f"/download.pytorch.org/{name}", content)
        yield upstream


@dataclass(frozen=True)
class Stage:
    """Two proxies on one data directory, which may hold 17 MB: four of the small files, or the large one and one."""

    first: ProxyProcess
    second: ProxyProcess


@pytest.fixture(scope="module")
def proxies(played: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    data_dir = tmp_path_factory.mktemp("data")
    settings = {"mirrors": played_by(played), "cache_max_bytes": str(17 * MB)}
    with running_proxy(data_dir, **settings) as first, running_proxy(data_dir, **settings) as second:
        yield Stage(first, second)


@pytest.fixture
def stage(proxies: Stage) -> Stage:
    """With nothing held: what the test before has asked for may still be published, or read, for a moment."""
    for pin in proxies.first.get("/v1/cache/pins").json():
        proxies.first.request("DELETE", "/v1/cache/pins", pin["ref"])
    while is_filling(proxies.first) or proxies.first.get("/v1/cache").json()["blobs"]:
        httpx2.post(f"{proxies.first.url}/v1/cache/gc", json={"to_bytes": 0}, trust_env=False)
    return proxies


def get(proxy: ProxyProcess, name: str) -> bytes:
    answer = proxy.get("/v1/checkpoint", ZOO + name, variant="raw")
    assert answer.status_code == 200, answer.text
    return answer.content


def held(proxy: ProxyProcess) -> set[str]:
    """The names of what is held, when nothing of it is being published or read any more."""
    blobs = proxy.get("/v1/cache/blobs").json()["blobs"]
    return {source.removeprefix(ZOO) for blob in blobs for source in blob["sources"]}


def until_held(proxy: ProxyProcess, *names: str) -> None:
    """The last bytes go out when they are proven; the row is written a moment later, and the fill ends after that."""
    while is_filling(proxy) or not set(names) <= held(proxy):
        pass


def is_filling(proxy: ProxyProcess) -> bool:
    return any(fill["state"] in ("queued", "running") for fill in proxy.get("/v1/fills").json()["fills"])


def fill(proxy: ProxyProcess, *names: str) -> None:
    for name in names:
        get(proxy, name)
        until_held(proxy, name)


@contextmanager
def slow_reader(proxy: ProxyProcess, name: str) -> Iterator[socket.socket]:
    """A client that has read the head of its reply and nothing more."""
    where = urlsplit(proxy.url)
    with closing(socket.socket()) as client:
        client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 64 << 10)
        client.settimeout(30)
        client.connect((where.hostname, where.port))
        request = f"GET /v1/checkpoint?ref={quote(ZOO + name, safe='')}&variant=raw HTTP/1.1\r\nHost: x\r\n\r\n"
        client.sendall(request.encode())
        assert client.recv(12) == b"HTTP/1.1 200"
        yield client


def body_of(client: socket.socket, length: int) -> bytes:
    received = b""
    while b"\r\n\r\n" not in received:
        received += client.recv(1 << 16)
    body = bytearray(received.partition(b"\r\n\r\n")[2])
    while len(body) < length:
        block = client.recv(1 << 20)
        assert block, f"the reply ended after {len(body)} bytes of {length}"
        body += block
    return bytes(body)


def test_fill_into_a_full_cache_evicts_the_least_recently_used_and_succeeds(
    stage: Stage, played: Upstream, files: dict[str, bytes]
) -> None:
    proxy = stage.first
    fill(proxy, "a", "b", "c")
    assert get(proxy, "a") == files["a"]
    with (
        httpx2.Client(trust_env=False, timeout=30) as client,
        client.stream("GET", f"{proxy.url}/v1/events") as answer,
    ):
        lines = answer.iter_lines()
        next(lines)
        assert get(proxy, "large") == files["large"]
        evictions = (line for line in lines if line == "event: evicted")
        told = [json.loads(next(lines).removeprefix("data: ")) for _ in zip(range(2), evictions, strict=False)]
    assert [one["urls"] for one in told] == [[ZOO + "b"], [ZOO + "c"]]
    until_held(proxy, "large")
    assert held(proxy) == {"a", "large"}
    asked = played.seen.count("/download.pytorch.org/b")
    assert get(proxy, "b") == files["b"]
    assert played.seen.count("/download.pytorch.org/b") == asked + 1


def test_everything_pinned_is_507_with_the_figures(stage: Stage) -> None:
    proxy = stage.first
    fill(proxy, "a", "b")
    for name in "ab":
        assert proxy.request("PUT", "/v1/cache/pins", ZOO + name).status_code == 201
    refused = proxy.get("/v1/checkpoint", ZOO + "large", variant="raw")
    problem = refused.json()
    assert (refused.status_code, problem["type"]) == (507, "urn:zooproxy:problem:out-of-space")
    pinned = proxy.get("/v1/cache").json()["pinned_bytes"]
    assert f"{pinned} bytes are pinned" in problem["detail"]
    assert (problem["pinned_bytes"], problem["in_use_bytes"]) == (pinned, 0)
    assert problem["needed_bytes"] > problem["free_bytes"] > 0
    assert held(proxy) == {"a", "b"}
    proxy.request("DELETE", "/v1/cache/pins", ZOO + "a")
    assert proxy.get("/v1/checkpoint", ZOO + "large", variant="raw").status_code == 200


def test_transfer_in_one_process_keeps_its_blob_from_being_evicted_by_another_and_is_completed_whole(
    stage: Stage, files: dict[str, bytes]
) -> None:
    fill(stage.first, "large")
    with slow_reader(stage.first, "large") as client:
        fill(stage.second, "a", "b")
        assert held(stage.second) == {"large", "b"}
        assert body_of(client, len(files["large"])) == files["large"]


def test_blob_removed_by_force_during_its_transfer_is_sent_whole_and_fetched_anew_for_the_next(
    stage: Stage, played: Upstream, files: dict[str, bytes]
) -> None:
    proxy = stage.first
    fill(proxy, "large")
    asked = played.seen.count("/download.pytorch.org/large")
    digest = hashlib.sha256(files["large"]).hexdigest()
    with slow_reader(proxy, "large") as client:
        in_use = stage.second.request("DELETE", f"/v1/cache/blobs/{digest}")
        assert (in_use.status_code, in_use.json()["type"]) == (409, "urn:zooproxy:problem:blob-in-use")
        assert stage.second.request("DELETE", f"/v1/cache/blobs/{digest}", force="true").status_code == 200
        assert body_of(client, len(files["large"])) == files["large"]
    assert get(proxy, "large") == files["large"]
    assert played.seen.count("/download.pytorch.org/large") == asked + 1


def test_those_who_followed_the_fill_keep_its_blob_from_being_evicted(
    stage: Stage, played: Upstream, files: dict[str, bytes]
) -> None:
    gate = Gate(files["large"], 6 * MB)
    played.put("/download.pytorch.org/followed", gate)
    proxy = stage.first
    with ThreadPoolExecutor() as clients:
        asking = clients.submit(get, proxy, "followed")
        assert gate.reached.wait(30)
        with slow_reader(proxy, "followed") as client:
            gate.open()
            assert asking.result(30) == files["large"]
            until_held(proxy, "followed")
            fill(proxy, "a", "b")
            assert held(proxy) == {"followed", "b"}
            assert body_of(client, len(files["large"])) == files["large"]


SMALL_DISK = """
set -e
mount -t tmpfs -o size=12m none "$1"
exec "$2" -m zooproxy serve
"""


@contextmanager
def proxy_in_a_namespace(script: str, data_dir: Path, upstream: Upstream) -> Iterator[ProxyProcess]:
    """One whose mounts nobody else sees."""
    data_dir.mkdir()
    environment = clean_environment(
        data_dir=str(data_dir), host="127.0.0.1", port="0", spare_bytes=str(MB), mirrors=played_by(upstream)
    )
    command = [*with_own_mounts(), "bash", "-c", script, "serve", str(data_dir), sys.executable]
    process = subprocess.Popen(
        command, env=environment, cwd=data_dir, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True
    )
    proxy = ProxyProcess(process)
    try:
        yield proxy
    finally:
        proxy.stop()


def test_disk_full_makes_room_by_eviction_and_the_fill_succeeds(
    data_dir: Path, played: Upstream, files: dict[str, bytes]
) -> None:
    with proxy_in_a_namespace(SMALL_DISK, data_dir, played) as proxy:
        for name in "abcab":
            assert get(proxy, name) == files[name]
            until_held(proxy, name)
        assert "b" in held(proxy)
        assert "c" not in held(proxy) or "a" not in held(proxy)
        refused = proxy.get("/v1/checkpoint", ZOO + "large", variant="raw")
        assert (refused.status_code, refused.json()["needed_bytes"]) == (507, len(files["large"]))
        assert "b" in held(proxy)


def test_read_only_data_directory_gives_a_typed_error_and_serves_what_is_held(
    data_dir: Path, played: Upstream, files: dict[str, bytes]
) -> None:
    script = 'exec "$2" -m zooproxy serve'
    with proxy_in_a_namespace(script, data_dir, played) as proxy:
        assert get(proxy, "a") == files["a"]
        until_held(proxy, "a")
        inside = ["nsenter", "-t", str(proxy.process.pid), "-U", "-m", "--preserve-credentials", "bash", "-c"]
        remount = f"mount --bind {data_dir} {data_dir} && mount -o remount,bind,ro {data_dir}"
        subprocess.run([*inside, remount], check=True, env={**os.environ})
        assert get(proxy, "a") == files["a"]
        refused = proxy.get("/v1/checkpoint", ZOO + "b", variant="raw")
        assert (refused.status_code, refused.json()["type"]) == (503, "urn:zooproxy:problem:cache")
        assert "Read-only" in refused.json()["detail"]
        digest = hashlib.sha256(files["a"]).hexdigest()
        removal = proxy.request("DELETE", f"/v1/cache/blobs/{digest}")
        assert (removal.status_code, removal.headers["content-type"]) == (503, "application/problem+json")
        assert proxy.get("/healthz").status_code == 200
