"""Ends that nobody planned, and the planned one."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx2
import pytest

from end_to_end.conftest import StartProxy
from fakes.upstream import Gate, Upstream

URL = "https://download.pytorch.org/net.pth"
PATH = "/download.pytorch.org/net.pth"


def files_in(directory: Path) -> list[Path]:
    """Every blob, whole or not, that holds a byte; an empty one is a process's sign of life."""
    files = [file for file in directory.rglob("*") if file.is_file() and not file.name.startswith("zooproxy.db")]
    return [file for file in files if file.stat().st_size and file.suffix != ".json"]


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_kill_9_during_a_fill_serves_no_partial_and_the_next_request_completes(
    start_proxy: StartProxy, upstream: Upstream, data_dir: Path, large_checkpoint: bytes, share: float
) -> None:
    gate = Gate(large_checkpoint, int((len(large_checkpoint) - 1) * share))
    upstream.put(PATH, gate)
    first = start_proxy()
    with ThreadPoolExecutor() as clients:
        asking = clients.submit(first.get, "/v1/checkpoint", URL, variant="raw")
        assert gate.reached.wait(30)
        assert first.get("/v1/resolve", URL).json()["state"] == "filling"
        first.kill()
        with pytest.raises(httpx2.TransportError):
            asking.result(30)
    gate.open()
    upstream.put(PATH, large_checkpoint)
    second = start_proxy()
    assert files_in(data_dir) == []
    assert second.get("/v1/resolve", URL).json()["state"] == "absent"
    assert second.get("/v1/checkpoint", URL, variant="raw").content == large_checkpoint
    # The last bytes go out when they are proven; the row is written when they are durable, a moment later.
    while (state := second.get("/v1/resolve", URL).json()["state"]) == "filling":
        pass
    assert state == "held"


def test_sigterm_during_a_fill_ends_in_order_and_leaves_nothing(
    start_proxy: StartProxy, upstream: Upstream, data_dir: Path, small_checkpoint: bytes
) -> None:
    gate = Gate(small_checkpoint, 100)
    upstream.put(PATH, gate)
    proxy = start_proxy(shutdown_seconds="0")
    with ThreadPoolExecutor() as clients:
        asking = clients.submit(proxy.get, "/v1/checkpoint", URL, variant="raw")
        assert gate.reached.wait(30)
        assert proxy.stop() == 0
        gate.open()
        assert asking.exception(30) is not None or asking.result().status_code >= 500
    assert files_in(data_dir) == []


def test_what_is_held_survives_a_kill_and_needs_no_upstream(
    start_proxy: StartProxy, upstream: Upstream, small_checkpoint: bytes
) -> None:
    upstream.put(PATH, small_checkpoint)
    first = start_proxy()
    assert first.get("/v1/tensors", URL).status_code == 200
    first.kill()
    second = start_proxy()
    assert second.get("/v1/checkpoint", URL, variant="raw").content == small_checkpoint
    assert second.get("/v1/tensors", URL).status_code == 200
    assert upstream.seen == [PATH]


def test_many_clients_of_one_cold_reference_are_one_upstream_get(
    start_proxy: StartProxy, upstream: Upstream, small_checkpoint: bytes
) -> None:
    gate = Gate(small_checkpoint, 100)
    upstream.put(PATH, gate)
    proxy = start_proxy()
    with ThreadPoolExecutor(32) as clients:
        asking = [clients.submit(proxy.get, "/v1/checkpoint", URL, variant="raw") for _ in range(32)]
        assert gate.reached.wait(30)
        gate.open()
        assert {one.result(60).content for one in asking} == {small_checkpoint}
    assert upstream.seen == [PATH]


def test_a_client_that_leaves_during_a_fill_takes_nothing_from_the_others(
    start_proxy: StartProxy, upstream: Upstream, small_checkpoint: bytes
) -> None:
    gate = Gate(small_checkpoint, 100)
    upstream.put(PATH, gate)
    proxy = start_proxy()
    query = {"ref": URL, "variant": "raw"}
    with httpx2.Client(trust_env=False) as leaver, pytest.raises(httpx2.ReadTimeout):
        leaver.get(f"{proxy.url}/v1/checkpoint", params=query, timeout=0.5)
    with ThreadPoolExecutor() as clients:
        staying = clients.submit(proxy.get, "/v1/checkpoint", URL, variant="raw")
        gate.open()
        assert staying.result(30).content == small_checkpoint
    assert upstream.seen == [PATH]


@pytest.mark.parametrize("damage", ["gone", "cut short"])
def test_a_blob_damaged_behind_the_index_is_fetched_again_before_status_200(
    start_proxy: StartProxy, upstream: Upstream, data_dir: Path, small_checkpoint: bytes, damage: str
) -> None:
    upstream.put(PATH, small_checkpoint)
    proxy = start_proxy()
    proxy.get("/v1/checkpoint", URL, variant="raw")
    (blob,) = files_in(data_dir)
    if damage == "gone":
        blob.unlink()
    else:
        blob.chmod(0o644)
        blob.write_bytes(small_checkpoint[:-1])
    again = proxy.get("/v1/checkpoint", URL, variant="raw")
    assert (again.status_code, again.content) == (200, small_checkpoint)
    assert upstream.seen == [PATH, PATH]
