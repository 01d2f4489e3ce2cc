"""From a socket into a file without being seen; and what happens where the file cannot be written."""

from __future__ import annotations

import dataclasses
import errno
import os
import random
import resource
import socket
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from zooproxy.client import allocation
from zooproxy.client.loader import load
from zooproxy.client.settings import ClientSettings, Timeouts
from zooproxy.client.splicing import FileFailed, can_splice, splice

DATA = random.Random(7).randbytes(3_000_001)
REF = "torchvision://resnet50"


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    listening = socket.create_server(("127.0.0.1", 0))
    ours = socket.create_connection(listening.getsockname())
    theirs, _ = listening.accept()
    with listening, ours, theirs:
        yield ours, theirs


def test_bytes_lie_in_the_file_where_they_were_wanted(pair: Any, tmp_path: Path) -> None:
    ours, theirs = pair
    ours.settimeout(30)
    threading.Thread(target=theirs.sendall, args=(DATA + b"the next answer",), daemon=True).start()
    steps: list[int] = []
    with (tmp_path / "x").open("wb") as file:
        assert splice(ours, len(DATA), (file.fileno(), 10), steps.append) == len(DATA)
    assert (tmp_path / "x").read_bytes() == bytes(10) + DATA
    assert sum(steps) == len(DATA)
    assert ours.recv(3) == b"the"


def test_an_end_too_early_is_told_by_the_count(pair: Any, tmp_path: Path) -> None:
    ours, theirs = pair
    theirs.sendall(b"half")
    theirs.close()
    with (tmp_path / "x").open("wb") as file:
        assert splice(ours, 8, (file.fileno(), 0), lambda _: None) == 4


def test_a_silent_socket_times_out(pair: Any, tmp_path: Path) -> None:
    ours, _ = pair
    ours.settimeout(0.01)
    with (tmp_path / "x").open("wb") as file, pytest.raises(TimeoutError):
        splice(ours, 8, (file.fileno(), 0), lambda _: None)


def test_a_file_that_cannot_be_written_is_not_the_sockets_fault(pair: Any) -> None:
    ours, theirs = pair
    theirs.sendall(b"12345678")
    with Path("/dev/full").open("wb") as file, pytest.raises(FileFailed) as failed:
        splice(ours, 8, (file.fileno(), 0), lambda _: None)
    assert isinstance(failed.value.__cause__, OSError)
    assert failed.value.__cause__.errno == errno.ENOSPC


def test_a_file_that_takes_nothing_spliced_is_written(pair: Any, tmp_path: Path) -> None:
    """Linux refuses to splice into a file that is open for appending, and writes to its end wherever it is told to."""
    ours, theirs = pair
    theirs.sendall(b"12345678")
    descriptor = os.open(tmp_path / "x", os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    try:
        assert splice(ours, 8, (descriptor, 0), lambda _: None) == 8
    finally:
        os.close(descriptor)
    assert (tmp_path / "x").read_bytes() == b"12345678"


def test_what_is_enciphered_is_not_spliced() -> None:
    class Enciphered(socket.socket):
        pass

    with socket.socket() as plain, Enciphered() as enciphered:
        assert can_splice(plain)
        assert not can_splice(enciphered)
    assert not can_splice(None)


# -- a load -----------------------------------------------------------------------------------------------


@pytest.fixture
def node(proxy: Any, settings_for: Any, tmp_path: Path) -> ClientSettings:
    settings = settings_for(proxy)
    return dataclasses.replace(settings, folder=tmp_path / "store", part=1 << 20, connections=2)


@pytest.fixture
def no_file_over_a_megabyte() -> Iterator[None]:
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, before[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, before)


#: Parts of what is published: a tensor each where it is proven, else of a megabyte or more, as many per connection.
PROVEN, UNSEEN = 2, 4


def publish(proxy: Any) -> torch.Tensor:
    weight = torch.arange(700_000.0)
    proxy.publish(REF, {"w": weight, "v": weight + 1})
    return weight


@pytest.mark.parametrize("verify", [True, False])
def test_a_load_into_the_store_is_as_published_seen_or_not(proxy: Any, node: ClientSettings, verify: bool) -> None:
    weight = publish(proxy)
    for _ in range(2):
        loaded = load(REF, settings=node, verify=verify)
        assert torch.equal(loaded["w"], weight)
        assert torch.equal(loaded["v"], weight + 1)
    assert proxy.paths.count("blobs") == (PROVEN if verify else UNSEEN)
    assert torch.equal(load(REF, settings=node)["v"], weight + 1)  # proven now, from the file


@pytest.mark.parametrize("verify", [True, False])
@pytest.mark.usefixtures("no_file_over_a_megabyte")
def test_a_disk_that_fills_up_in_mid_transfer_means_memory_and_is_no_proxys_fault(
    proxy: Any, node: ClientSettings, verify: bool, caplog: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(allocation, "_fallocate", lambda: None)  # which would have told before
    weight = publish(proxy)
    assert torch.equal(load(REF, settings=node, verify=verify)["v"], weight + 1)
    assert proxy.paths.count("blobs") > (PROVEN if verify else UNSEEN)
    assert "the node's store cannot be used (File too large)" in caplog.text.replace("[Errno 27] ", "")


def test_a_proxy_that_falls_silent_after_the_head_is_not_taken_for_a_full_disk(
    proxy: Any, node: ClientSettings, caplog: Any
) -> None:
    weight = publish(proxy)
    over = threading.Event()

    def silent(handler: Any) -> None:
        first, last = map(int, handler.headers["Range"][6:].split("-"))
        handler.send_response(206)
        handler.send_header("Content-Range", f"bytes {first}-{last}/*")
        handler.send_header("Content-Length", str(last + 1 - first))
        handler.end_headers()
        over.wait(30)

    proxy.misbehaviours["blobs"].append(silent)
    settings = dataclasses.replace(node, timeouts=Timeouts(connect=2.0, read=2.0))
    assert torch.equal(load(REF, settings=settings, verify=False)["v"], weight + 1)
    over.set()
    assert caplog.text == ""
    assert proxy.paths.count("blobs") == UNSEEN + 1


@pytest.mark.parametrize("spoil", [lambda body: body[:-9], lambda body: body[:100]])
def test_an_unseen_body_cut_short_is_asked_for_again(
    proxy: Any, node: ClientSettings, spoil: Callable[[bytes], bytes]
) -> None:
    weight = publish(proxy)

    def cut(handler: Any) -> None:
        first, last = map(int, handler.headers["Range"][6:].split("-"))
        whole = next(iter(proxy.blobs.values()))
        body = whole[first : last + 1]
        field = {"Content-Range": f"bytes {first}-{last}/{len(whole)}"}
        handler.reply(206, spoil(body), field, len(body))
        handler.close_connection = True

    proxy.misbehaviours["blobs"].append(cut)
    assert torch.equal(load(REF, settings=node, verify=False)["v"], weight + 1)
    assert proxy.paths.count("blobs") == UNSEEN + 1
