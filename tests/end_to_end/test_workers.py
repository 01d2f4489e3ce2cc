"""The service as several processes on one port: one service to its clients, whatever becomes of one of them."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import httpx2
import pytest

from end_to_end.conftest import StartProxy, played_by
from end_to_end.proxy_process import ProxyProcess, spawn
from end_to_end.test_following import PLAYED, ZOO
from fakes.upstream import Ranged, Upstream
from held_files import open_files
from zooproxy.cache.database_file import DatabaseFile


def until(condition: Callable[[], object]) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, "it never came about"
        time.sleep(0.01)


def children(process: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


def workers_of(proxy: ProxyProcess) -> list[int]:
    return children(proxy.process.pid)


def has_open(process: int, database: Path) -> bool:
    return Path(f"{database}.lock") in open_files(process)


def is_alive(process: int) -> bool:
    return Path(f"/proc/{process}").exists()


def test_workers_are_one_service_on_one_port_and_end_with_a_signal(
    start_proxy: StartProxy, upstream: Upstream, large_checkpoint: bytes
) -> None:
    held = Ranged(large_checkpoint, hold=1_000_000)
    upstream.put(f"{PLAYED}/net.pth", held)
    proxy = start_proxy(workers="2")
    workers = workers_of(proxy)
    assert len(workers) == 2
    with ThreadPoolExecutor(20) as clients:
        asking = [clients.submit(proxy.get, "/v1/checkpoint", f"{ZOO}/net.pth", variant="raw") for _ in range(20)]
        assert held.reached.wait(30)
        held.open()
        assert {one.result(60).content for one in asking} == {large_checkpoint}
    assert upstream.seen == [f"{PLAYED}/net.pth"]
    assert proxy.stop() == 0
    assert not any(map(is_alive, workers))


def test_kill_9_of_the_worker_that_leads_a_fill_costs_its_clients_alone_and_another_takes_its_place(
    start_proxy: StartProxy, upstream: Upstream, large_checkpoint: bytes
) -> None:
    held = Ranged(large_checkpoint, hold=2_000_000)
    upstream.put(f"{PLAYED}/net.pth", held)
    proxy = start_proxy(workers="2")
    before = workers_of(proxy)
    with ThreadPoolExecutor(1) as clients:
        asking = clients.submit(proxy.get, "/v1/checkpoint", f"{ZOO}/net.pth", variant="raw")
        assert held.reached.wait(30)
        until(lambda: max(map(staged_by, before)) == 2_000_000)
        leader = max(before, key=staged_by)
        upstream.put(f"{PLAYED}/net.pth", Ranged(large_checkpoint))
        os.kill(leader, signal.SIGKILL)
        assert isinstance(asking.exception(30), httpx2.TransportError)
    held.open()
    assert proxy.get("/v1/checkpoint", f"{ZOO}/net.pth", variant="raw").content == large_checkpoint
    assert upstream.headers[-1]["range"] == "bytes=2000000-"
    until(lambda: len(set(workers_of(proxy)) - {leader}) == 2)
    after = workers_of(proxy)
    proxy.kill()
    until(lambda: not any(map(is_alive, after)))  # none outlives its parent


def staged_by(process: int) -> int:
    """The size of the largest partial that it holds open; an empty one is each process's sign of life."""
    return max(size for file, size in open_files(process).items() if file.parent.name == "partial")


def test_a_hangup_that_comes_while_workers_start_reaches_them_when_they_can_take_it(data_dir: Path) -> None:
    database = data_dir / "zooproxy.db"
    with ExitStack() as busy, ThreadPoolExecutor(1) as starting:
        assert busy.enter_context(DatabaseFile(database)).be_alone()
        process = spawn(data_dir, workers="2")
        started = starting.submit(ProxyProcess, process)
        until(lambda: [has_open(child, database) for child in children(process.pid)] == [True, True])
        (data_dir / "zooproxy.toml").write_text('deny_names = ["torchvision://*"]\n')
        process.send_signal(signal.SIGHUP)
        busy.close()
        proxy = started.result(60)
    try:
        until(lambda: proxy.log.count("the settings were reloaded: changed deny_names") == 2)
    finally:
        proxy.stop()


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_service_that_cannot_start_says_why_and_ends(data_dir: Path, upstream: Upstream, workers: str) -> None:
    data_dir.mkdir()
    (data_dir / "partial").write_bytes(b"where a folder has to be")
    process = spawn(data_dir, mirrors=played_by(upstream), workers=workers)
    _, told = process.communicate(timeout=60)
    assert process.returncode == 1
    assert "disk failed" in told
    assert "listens" not in told
