"""The node's store: one download for all processes, and never half a file."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from components.small_disk import on_small_disk
from held_files import open_files
from zooproxy.client import node_store
from zooproxy.client.loader import load
from zooproxy.client.node_store import NodeStore, Wanted
from zooproxy.digest import Sha256
from zooproxy.errors import TransferCorrupt

REF = "torchvision://resnet50"
DATA = b"tensors!" * 1000


class Source:
    """Counts how often it was asked; ``data`` is what it delivers."""

    def __init__(self, data: bytes = DATA) -> None:
        self.data = data
        self.asked = 0
        self.proven = 0

    def wanted(self, *, name: bytes = DATA, verify: bool = True) -> Wanted:
        return Wanted(Sha256.of(name), len(self.data), verify, self.fill, self.prove)

    def fill(self, descriptor: int) -> None:
        self.asked += 1
        os.pwrite(descriptor, self.data, 0)

    def prove(self, memory: memoryview) -> None:
        self.proven += 1
        if bytes(memory) != self.data:
            raise TransferCorrupt("other bytes")


@pytest.fixture
def store(tmp_path: Path) -> NodeStore:
    return NodeStore(tmp_path / "store", 0)


def names(store: NodeStore) -> list[str]:
    return sorted(path.suffix for path in store._folder.iterdir())


def test_what_is_held_is_mapped_and_not_received_again(store: NodeStore) -> None:
    source = Source()
    assert bytes(store.obtain(source.wanted()).view) == DATA
    assert bytes(store.obtain(source.wanted()).view) == DATA
    assert (source.asked, source.proven) == (1, 0)
    assert names(store) == [".lock", ".tensors"]


def test_a_tensor_that_is_written_to_leaves_the_file_alone(store: NodeStore) -> None:
    source = Source()
    view = store.obtain(source.wanted()).view
    view[:4] = b"mine"
    assert bytes(store.obtain(source.wanted()).view) == DATA


def test_a_fill_that_fails_leaves_nothing(store: NodeStore) -> None:
    def fail(descriptor: int) -> None:
        os.pwrite(descriptor, b"half", 0)
        raise TransferCorrupt("broke off")

    with pytest.raises(TransferCorrupt):
        store.obtain(Wanted(Sha256.of(b"x"), 8, True, fail, Source().prove))
    assert names(store) == [".lock"]


def test_a_file_of_another_boot_is_proven_again_once(store: NodeStore) -> None:
    source = Source()
    store.obtain(source.wanted())
    mark_as(store, boot="another")
    assert bytes(store.obtain(source.wanted()).view) == DATA
    store.obtain(source.wanted())
    assert (source.asked, source.proven) == (1, 1)


def test_a_file_that_a_power_cut_filled_with_zeros_is_received_again(store: NodeStore) -> None:
    source = Source()
    store.obtain(source.wanted())
    path = store.files()[0].path
    with path.open("r+b") as file:
        file.write(bytes(len(DATA)))
    mark_as(store, boot="another")
    assert bytes(store.obtain(source.wanted()).view) == DATA
    assert source.asked == 2


@pytest.mark.parametrize("damage", [lambda data: data[:-1], lambda data: b"", lambda data: data + b"x"])
def test_a_file_of_another_length_is_received_again(store: NodeStore, damage: Callable[[bytes], bytes]) -> None:
    source = Source()
    store.obtain(source.wanted())
    path = store.files()[0].path
    path.write_bytes(damage(path.read_bytes()))
    assert bytes(store.obtain(source.wanted()).view) == DATA
    assert source.asked == 2


@pytest.mark.parametrize("mark", [b"", b"no JSON", b"[1]", b'{"proven": 1}'])
def test_a_mark_that_cannot_be_read_means_proving(store: NodeStore, mark: bytes) -> None:
    source = Source()
    store.obtain(source.wanted())
    with store.files()[0].path.open("r+b") as file:
        os.pwrite(file.fileno(), mark.ljust(512), len(DATA))
    store.obtain(source.wanted())
    assert (source.asked, source.proven) == (1, 1)


def mark_as(store: NodeStore, boot: str) -> None:
    with store.files()[0].path.open("r+b") as file:
        node_store._write_mark(file, len(DATA), proven=True, boot=boot)


def test_what_was_never_proven_is_proven_for_who_asks(store: NodeStore) -> None:
    source = Source()
    store.obtain(source.wanted(verify=False))
    store.obtain(source.wanted(verify=False))
    assert source.proven == 0
    store.obtain(source.wanted())
    store.obtain(source.wanted())
    assert (source.asked, source.proven) == (1, 1)


def test_the_least_recently_used_give_way_to_a_new_one(tmp_path: Path) -> None:
    store = NodeStore(tmp_path, 3 * (len(DATA) + 512))
    source = Source()
    for number in range(3):
        store.obtain(source.wanted(name=bytes([number])))
        os.utime(store.files()[-1].path, (number, number))
    kept = store.obtain(source.wanted(name=b"\0"))  # used again: no longer the oldest
    store.obtain(source.wanted(name=b"new"))
    held = {stored.path.stem for stored in store.files()}
    assert held == {Sha256.of(name) for name in (b"\0", b"\2", b"new")}
    assert store.clear() == 3 * (len(DATA) + 512)
    assert store.files() == []
    assert bytes(kept.view) == DATA  # who has mapped a file keeps it


def test_prune_to_any_size_removes_nothing(store: NodeStore) -> None:
    store.obtain(Source().wanted())
    assert store.prune(0) == 0
    assert store.prune(1) == len(DATA) + 512


def test_what_a_killed_process_left_is_removed_once_it_is_old(store: NodeStore) -> None:
    store.obtain(Source().wanted())
    kept = {path.name for path in store._folder.iterdir()}
    for name in ("old.partial", "new.partial", "old.lock", "new.lock"):
        (store._folder / name).touch()
    for path in store._folder.iterdir():
        if not path.name.startswith("new"):
            os.utime(path, (time.time() - 7200,) * 2)
    store.obtain(Source().wanted(name=b"another"))
    left = {path.name for path in store._folder.iterdir() if not path.name.startswith(Sha256.of(b"another"))}
    assert left == {*kept, "new.partial", "new.lock"}


# -- several processes ------------------------------------------------------------------------------------

RANK = """
import fcntl, os, sys, zooproxy, zooproxy.client.loader, torch
print('ready', flush=True)
works = fcntl.flock
for line in sys.stdin:
    locks, base, folder = line.rstrip().split('|')
    fcntl.flock = works if locks == 'locks' else lambda *arguments: None
    os.environ.update(ZOOPROXY=base, ZOOPROXY_CACHE_DIR=folder)
    print(zooproxy.load('torchvision://resnet50')['w'].sum().item(), flush=True)
"""


class Ranks:
    """Two processes that have everything imported, and load when told."""

    def __init__(self) -> None:
        command = [sys.executable, "-c", RANK]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        self.processes: list[Any] = [subprocess.Popen(command, **pipes) for _ in range(2)]  # type: ignore[call-overload]
        assert [process.stdout.readline() for process in self.processes] == ["ready\n"] * 2

    def go(self, proxy: Any, folder: Path, locks: str = "locks") -> None:
        for process in self.processes:
            process.stdin.write(f"{locks}|{proxy.base}|{folder}\n")
            process.stdin.flush()

    def results(self) -> list[str]:
        return [process.stdout.readline().strip() for process in self.processes]

    def close(self) -> None:
        for process in self.processes:
            process.communicate(timeout=60)


@pytest.fixture(scope="module")
def ranks() -> Iterator[Ranks]:
    ranks = Ranks()
    yield ranks
    ranks.close()


def test_ranks_of_one_node_download_once(proxy: Any, node_store: Path, ranks: Ranks) -> None:
    proxy.publish(REF, {"w": torch.ones(50_000)})
    ranks.go(proxy, node_store)
    assert ranks.results() == ["50000.0"] * 2
    assert proxy.paths.count("blobs") == 1


def test_ranks_without_working_locks_all_get_the_whole_file(proxy: Any, node_store: Path, ranks: Ranks) -> None:
    proxy.publish(REF, {"w": torch.ones(50_000)})
    both = threading.Barrier(2, timeout=30)
    proxy.misbehaviours["blobs"].extend([lambda handler: (both.wait(), handler.blob(handler.path[10:]))] * 2)
    ranks.go(proxy, node_store, "no locks")
    assert ranks.results() == ["50000.0"] * 2
    assert proxy.paths.count("blobs") == 2
    assert [path.suffix for path in node_store.iterdir() if path.suffix != ".lock"] == [".tensors"]


def test_a_rank_killed_while_it_downloads_leaves_the_download_to_the_next(proxy: Any, node_store: Path) -> None:
    proxy.publish(REF, {"w": torch.ones(50_000)})
    started, release = threading.Event(), threading.Event()
    ranks = Ranks()
    proxy.misbehaviours["blobs"].append(lambda handler: stall(handler, started, release))
    ranks.go(proxy, node_store)
    assert started.wait(30)
    asked = len([path for path in proxy.paths if path == "blobs"])
    assert asked == 1  # the other one waits for it
    holder = killed_holder(node_store, ranks)
    release.set()
    assert sorted(ranks.results()) == ["", "50000.0"]
    assert holder.wait() < 0
    ranks.close()
    assert proxy.paths.count("blobs") == 2


def stall(handler: Any, started: Any, release: Any) -> None:
    handler.send_response(206)
    size = len(next(iter(handler.proxy.blobs.values())))
    first, last = handler.headers["Range"][6:].split("-")
    handler.send_header("Content-Range", f"bytes {first}-{last}/{size}")
    handler.send_header("Content-Length", str(int(last) - int(first) + 1))
    handler.end_headers()
    handler.wfile.write(b"\0" * 1000)
    handler.wfile.flush()
    started.set()
    release.wait(30)


def killed_holder(folder: Path, ranks: Ranks) -> Any:
    """Kills the rank that has a partial file open."""
    for process in ranks.processes:
        if any(file.suffix == ".partial" for file in open_files(process.pid)):
            process.kill()
            return process
    raise AssertionError("no rank has a partial file open")


def test_a_store_that_cannot_be_written_means_receiving_into_memory(
    proxy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("ZOOPROXY_CACHE_DIR", str(tmp_path / "file" / "store"))
    proxy.publish(REF, {"w": torch.ones(5)})
    assert load(REF)["w"].tolist() == [1] * 5
    assert "receiving into memory" in caplog.text


def test_a_disk_that_is_full_means_receiving_into_memory(
    proxy: Any, monkeypatch: pytest.MonkeyPatch, caplog: Any
) -> None:
    monkeypatch.setenv("ZOOPROXY_CACHE_DIR", "/dev/full")
    proxy.publish(REF, {"w": torch.ones(5)})
    assert load(REF)["w"].tolist() == [1] * 5
    assert "receiving into memory" in caplog.text


LOAD = """
import sys
from zooproxy.client.loader import load
print(float(load(sys.argv[1])["w"].sum()))
"""


def test_a_disk_that_is_too_small_says_so_before_anything_is_moved(
    proxy: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZOOPROXY_CACHE_DIR", str(tmp_path / "disk" / "store"))
    (tmp_path / "disk").mkdir()
    proxy.publish(REF, {"w": torch.ones(1 << 20)})
    command = [*on_small_disk(tmp_path / "disk", "3m"), sys.executable, "-c", LOAD, REF]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert float(done.stdout) == 1 << 20
    assert "No space left on device" in done.stderr
    assert proxy.paths.count("blobs") == 1  # into memory
