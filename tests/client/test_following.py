"""A reference that the proxy does not hold yet: its file is followed while the proxy fetches it."""

from __future__ import annotations

import contextlib
import dataclasses
import io
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

from end_to_end.conftest import played_by
from end_to_end.proxy_process import ProxyProcess, http_client, running_proxy
from fakes.upstream import Gate, Upstream, running_upstream, status
from zooproxy.client.loader import load
from zooproxy.client.settings import ClientSettings
from zooproxy.digest import Sha256
from zooproxy.errors import LockedOtherwise, ProxyRefused
from zooproxy.names.lock import Lock, Locked, write_lock
from zooproxy.wire import routes

REF = "torchvision://resnet50"
VALUE = {"backbone.w": torch.arange(5000.0), "head.w": torch.ones(7)}

Settings = Callable[..., ClientSettings]


def not_yet(handler: Any) -> None:
    assert handler.headers["Prefer"] == "respond-async"
    handler.reply(202, b"", {})


@pytest.fixture
def cold(proxy: Any) -> Any:
    """A proxy that has to fetch ``REF`` first."""
    turn_cold(proxy)
    return proxy


def turn_cold(proxy: Any, asked: int = 2) -> None:
    index = proxy.publish(REF, VALUE)
    proxy.files[REF, "raw"] = proxy.blobs[index.blob]
    proxy.file_headers = {routes.STATE_HEADER: "filling"}
    proxy.misbehaviours["tensors"].extend([not_yet] * asked)


@pytest.fixture
def node(settings_for: Any, tmp_path: Path) -> Settings:
    def settings(*proxies: Any) -> ClientSettings:
        return dataclasses.replace(settings_for(*proxies), folder=tmp_path / "store")

    return settings


def until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while True:
        with contextlib.suppress(ValueError, FileNotFoundError):  # no partial file, or no more
            if holds():
                return
        assert time.monotonic() < deadline
        time.sleep(0.01)


def is_whole(loaded: Any) -> bool:
    return all(torch.equal(loaded[name], tensor) for name, tensor in VALUE.items())


def test_what_is_followed_is_not_downloaded_afterwards_nor_again(cold: Any, node: Settings) -> None:
    assert is_whole(load(REF, settings=node(cold)))
    assert cold.paths == ["tensors", "tensors", "checkpoint", "tensors"]
    assert is_whole(load(REF, settings=node(cold)))
    assert is_whole(load(REF, settings=node(cold), verify=False))
    assert cold.paths[4:] == ["tensors", "tensors"]


def test_a_part_of_what_was_followed_is_on_the_node(cold: Any, node: Settings) -> None:
    load(REF, settings=node(cold))
    index, (body, texts) = cold.blobs, cold.indexes[REF, None]
    cold.serve(REF, {**body, "tree": {"w": {"$tensor": 1}}}, prefix="head.", texts=texts)
    assert load(REF, prefix="head.", settings=node(cold))["w"].tolist() == [1] * 7
    assert "blobs" not in cold.paths
    assert len(index) == 1


def test_a_part_is_asked_for_as_such_and_so_is_what_no_store_keeps(cold: Any, node: Settings) -> None:
    cold.misbehaviours["tensors"].clear()
    cold.serve(REF, cold.indexes[REF, None][0], prefix="head.")
    load(REF, prefix="head.", settings=node(cold))
    load(REF, settings=dataclasses.replace(node(cold), folder=None))
    assert [headers.get("Prefer") for path, headers in cold.requests if "tensors" in path] == [None, None]


def test_what_has_arrived_meanwhile_is_taken_in_parts(cold: Any, node: Settings) -> None:
    cold.file_headers = {routes.STATE_HEADER: "held"}
    assert is_whole(load(REF, settings=node(cold)))
    assert cold.paths[-3:] == ["checkpoint", "tensors", "blobs"]


def test_followed_bytes_that_are_others_are_not_kept(cold: Any, node: Settings, tmp_path: Path) -> None:
    data = bytearray(cold.files[REF, "raw"])
    data[100] ^= 1
    cold.files[REF, "raw"] = bytes(data)
    assert is_whole(load(REF, settings=node(cold)))
    assert cold.paths[-1] == "blobs"
    assert len([path for path in (tmp_path / "store").iterdir() if path.suffix != ".lock"]) == 1


def test_a_stream_that_breaks_off_is_begun_again_and_then_elsewhere(
    cold: Any, start_proxy: Any, node: Settings
) -> None:
    other = start_proxy()
    turn_cold(other, asked=0)

    def cut(handler: Any) -> None:
        whole = cold.files[REF, "raw"]
        handler.reply(200, whole[:9000], {routes.STATE_HEADER: "filling"}, len(whole))
        handler.close_connection = True

    cold.misbehaviours["checkpoint"].extend([cut, cut])
    assert is_whole(load(REF, settings=node(cold, other)))
    assert cold.paths == ["tensors", "tensors", "checkpoint", "checkpoint"]
    assert other.paths == ["checkpoint", "tensors"]


def test_a_verdict_on_the_file_is_the_answer(cold: Any, node: Settings) -> None:
    cold.misbehaviours["checkpoint"].append(lambda handler: handler.problem(403, "host-not-allowed", "no such host"))
    with pytest.raises(ProxyRefused, match="no such host"):
        load(REF, settings=node(cold))
    assert cold.paths[-1] == "checkpoint"


def test_a_full_disk_means_waiting_for_the_index(cold: Any, node: Settings, caplog: Any) -> None:
    settings = dataclasses.replace(node(cold), folder=Path("/dev/full"))
    assert is_whole(load(REF, settings=settings))
    assert "not following" in caplog.text
    assert "checkpoint" not in cold.paths


def test_what_goes_to_a_whole_job_is_followed_by_the_rank_that_loads(cold: Any, node: Settings) -> None:
    assert is_whole(load(REF, settings=node(cold), broadcast=True))
    assert cold.paths == ["tensors", "tensors", "checkpoint", "tensors"]


def test_one_process_of_a_node_follows_and_the_others_wait_for_it(cold: Any, node: Settings) -> None:
    """Threads here: a lock of the file system is between open files, not between processes."""
    cold.misbehaviours["tensors"].append(not_yet)
    asked = threading.Semaphore(0)

    def stream(handler: Any) -> None:
        assert asked.acquire(timeout=30)  # the other one has been told to wait as well
        handler.checkpoint({"ref": [REF], "variant": ["raw"]})

    def second(handler: Any) -> None:
        not_yet(handler)
        asked.release()

    cold.misbehaviours["tensors"].clear()
    cold.misbehaviours["tensors"].extend([not_yet, not_yet, second])
    cold.misbehaviours["checkpoint"].append(stream)
    with ThreadPoolExecutor(2) as threads:
        first = threads.submit(load, REF, settings=node(cold))
        until(lambda: "checkpoint" in cold.paths)
        other = threads.submit(load, REF, settings=node(cold))
        assert is_whole(first.result())
        assert is_whole(other.result())
    assert cold.paths.count("checkpoint") == 1
    assert "blobs" not in cold.paths


# -- a real proxy -----------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def upstreams() -> Iterator[Upstream]:
    with running_upstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory, upstreams: Upstream) -> Iterator[ProxyProcess]:
    with running_proxy(tmp_path_factory.mktemp("data"), mirrors=played_by(upstreams)) as proxy:
        yield proxy


def torch_file(value: Any) -> bytes:
    file = io.BytesIO()
    torch.save(value, file)
    return file.getvalue()


@pytest.mark.parametrize("locked", [False, True])
def test_bytes_are_on_the_node_before_the_upstream_has_sent_its_last(
    real: ProxyProcess, upstreams: Upstream, node: Settings, tmp_path: Path, locked: bool
) -> None:
    saved = {"state_dict": {"w": torch.arange(750_000.0)}, "optimizer": [torch.zeros(9)], "meta": {"epoch": 3}}
    data = torch_file(saved)
    gate = Gate(data, 2_500_000)
    url = f"https://download.pytorch.org/followed-{locked}.pth"
    upstreams.put(url.removeprefix("https:/"), gate)
    settings = node(real.url)
    if locked:
        (tmp_path / "weights.lock").write_bytes(write_lock(Lock((Locked(url, url, Sha256.of(data), len(data)),))))
        settings = dataclasses.replace(settings, lock=tmp_path / "weights.lock")
    with ThreadPoolExecutor(1) as threads:
        loading = threads.submit(load, url, settings=settings)
        until(lambda: max(path.stat().st_size for path in (tmp_path / "store").glob("*.partial")) >= 1 << 20)
        assert not gate.is_open
        gate.open()
        loaded = loading.result()
    assert torch.equal(loaded["state_dict"]["w"], saved["state_dict"]["w"])
    assert list(loaded) == ["state_dict", "meta"]
    assert upstreams.seen.count(url.removeprefix("https:/")) == 1


def test_a_locked_reference_of_other_bytes_is_refused_after_following(
    real: ProxyProcess, upstreams: Upstream, node: Settings, tmp_path: Path, small_checkpoint: bytes
) -> None:
    url = "https://download.pytorch.org/moved.pth"
    upstreams.put(url.removeprefix("https:/"), small_checkpoint)
    (tmp_path / "weights.lock").write_bytes(write_lock(Lock((Locked(url, url, Sha256("a" * 64), 9),))))
    with pytest.raises(LockedOtherwise):
        load(url, settings=dataclasses.replace(node(real.url), lock=tmp_path / "weights.lock"))
    assert [path.suffix for path in (tmp_path / "store").iterdir()] == [".lock"]


def test_a_file_that_is_not_there_is_asked_for_once(real: ProxyProcess, upstreams: Upstream, node: Settings) -> None:
    url = "https://download.pytorch.org/gone.pth"
    upstreams.put(url.removeprefix("https:/"), status(404))
    with pytest.raises(ProxyRefused, match="404"):
        load(url, settings=node(real.url))
    assert upstreams.seen.count(url.removeprefix("https:/")) == 1


def test_an_index_is_not_waited_for_where_that_is_preferred(
    real: ProxyProcess, upstreams: Upstream, small_checkpoint: bytes
) -> None:
    url = "https://download.pytorch.org/asked.pth"
    upstreams.put(url.removeprefix("https:/"), small_checkpoint)
    with http_client() as client:

        def ask(**headers: str) -> Any:
            return client.get(f"{real.url}/v1/tensors", params={"ref": url}, headers=headers)

        told = ask(prefer="respond-async")
        assert (told.status_code, told.headers["preference-applied"], told.content) == (202, "respond-async", b"")
        assert upstreams.seen.count(url.removeprefix("https:/")) == 0
        assert ask().status_code == 200
        assert ask(prefer="respond-async").status_code == 200
