"""One file over several connections, as its readers see it: in order, in every process, across a kill -9."""

from __future__ import annotations

import asyncio
import io
import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from itertools import count
from pathlib import Path
from urllib.parse import quote, urlsplit

import httpx2
import pytest

from end_to_end.conftest import StartProxy, played_by
from end_to_end.proxy_process import ProxyProcess, running_proxy
from end_to_end.test_following import PLAYED, ZOO, streaming, take
from fakes.upstream import Parts, Upstream, running_upstream

PART = 256 << 10
PARTED = {"segments": "4", "segment_bytes": str(PART)}
_numbers = count()


class Late:
    """A part that is answered, rightly, when the test says so."""

    def __init__(self, body: bytes, start: int) -> None:
        self._parts = Parts(body)
        self.asked = threading.Event()
        self._open = threading.Event()

    def open(self) -> None:
        self._open.set()

    def __call__(self, handler) -> None:
        self.asked.set()
        assert self._open.wait(60), "nobody opened it"
        self._parts(handler)


@pytest.fixture(scope="module")
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Upstream, list[ProxyProcess]]]:
    """Two proxies on one data directory."""
    data_dir = tmp_path_factory.mktemp("data")
    with ExitStack() as stack:
        upstream = stack.enter_context(running_upstream())
        both = [stack.enter_context(running_proxy(data_dir, mirrors=played_by(upstream), **PARTED)) for _ in range(2)]
        yield upstream, both


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline, "it never came about"
        time.sleep(0.01)


def islands(data_dir: Path) -> int:
    """Bytes that lie beyond a gap, as far as the disk tells: blocks of the one partial after its first hole."""
    sizes = []
    for file in (data_dir / "partial").iterdir():
        with file.open("rb") as opened:
            size = file.stat().st_size
            hole = os.lseek(opened.fileno(), 0, os.SEEK_HOLE) if size else 0
            sizes.append(file.stat().st_blocks * 512 - hole)
    return max(sizes)


def test_readers_in_both_processes_wait_at_the_gap_and_then_get_the_right_bytes_in_order(
    pair: tuple[Upstream, list[ProxyProcess]], large_checkpoint: bytes
) -> None:
    upstream, proxies = pair
    late = Late(large_checkpoint, PART)
    host = Parts(large_checkpoint, faults={PART: late})
    name = f"/net-{next(_numbers)}.pth"
    upstream.put(PLAYED + name, host)
    with ExitStack() as stack:
        whole = [stack.enter_context(streaming(proxy, ZOO + name)) for proxy in proxies]
        assert late.asked.wait(30)
        until(lambda: (4 * PART, 5 * PART) in host.asked)  # well beyond the gap
        field = {"Range": f"bytes={PART - 10}-{3 * PART + 9}"}
        across = [stack.enter_context(streaming(proxy, ZOO + name, field)) for proxy in proxies]
        begun = [(answer, blocks, take(answer, blocks, PART)) for answer in whole for blocks in [answer.iter_raw()]]
        assert [len(taken) for *_, taken in begun] == [PART, PART]
        late.open()
        assert [answer.read() for answer in across] == [large_checkpoint[PART - 10 : 3 * PART + 10]] * 2
        assert all(taken + b"".join(blocks) == large_checkpoint for _, blocks, taken in begun)
    assert sorted([*host.asked, (PART, 2 * PART)]) == [
        (start, min(start + PART, len(large_checkpoint))) for start in range(0, len(large_checkpoint), PART)
    ]


def test_kill_9_with_bytes_beyond_a_gap_hands_what_is_there_without_one_to_the_other_process(
    upstream: Upstream, data_dir: Path, large_checkpoint: bytes
) -> None:
    late = Late(large_checkpoint, PART)
    host = Parts(large_checkpoint, faults={PART: late})
    upstream.put(f"{PLAYED}/net.pth", host)
    with (
        running_proxy(data_dir, mirrors=played_by(upstream), **PARTED) as leader,
        running_proxy(data_dir, mirrors=played_by(upstream), **PARTED) as other,
        streaming(leader, f"{ZOO}/net.pth") as first,
    ):
        take(first, first.iter_raw(), 1)
        assert late.asked.wait(30)
        until(lambda: islands(data_dir) >= 2 * PART)
        with streaming(other, f"{ZOO}/net.pth") as answer:
            blocks = answer.iter_raw()
            begun = take(answer, blocks, PART)
            leader.kill()
            assert begun + b"".join(blocks) == large_checkpoint
    late.open()
    assert host.asked.count((0, PART)) == 1
    assert host.asked.count((PART, 2 * PART)) == 1


def test_what_kill_9_left_beyond_a_gap_is_fetched_again_after_a_restart(
    start_proxy: StartProxy, upstream: Upstream, data_dir: Path, large_checkpoint: bytes
) -> None:
    late = Late(large_checkpoint, PART)
    host = Parts(large_checkpoint, faults={PART: late})
    upstream.put(f"{PLAYED}/net.pth", host)
    first = start_proxy(**PARTED)
    with streaming(first, f"{ZOO}/net.pth") as answer:
        take(answer, answer.iter_raw(), PART)
        assert late.asked.wait(30)
        until(lambda: islands(data_dir) >= 2 * PART)
        first.kill()
    late.open()
    second = start_proxy(**PARTED)
    assert second.get("/v1/checkpoint", f"{ZOO}/net.pth", variant="raw").content == large_checkpoint
    assert host.asked.count((0, PART)) == 1


async def whole(url: str) -> bytes:
    """A body of a declared length, by the barest of clients: two hundred of another kind would be the test's load."""
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port, limit=1 << 20)
    try:
        writer.write(f"GET {parts.path}?{parts.query} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        head = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        assert head.startswith("http/1.1 200"), head
        return await reader.readexactly(int(head.split("content-length: ")[1].split("\r\n")[0]))
    finally:
        writer.close()


@pytest.fixture(scope="module")
def checkpoint() -> bytes:
    """One megabyte."""
    import torch

    file = io.BytesIO()
    torch.save({"weight": torch.rand(250_000)}, file)
    return file.getvalue()


@pytest.mark.parametrize("segments", ["1", "4"])
@pytest.mark.parametrize("processes", [1, 2])
def test_200_cold_clients_at_once_take_each_byte_from_upstream_once(
    upstream: Upstream, data_dir: Path, checkpoint: bytes, segments: str, processes: int
) -> None:
    host = Parts(checkpoint, rate=5e5 if segments == "4" else 2e6)  # slow enough for the others to join
    upstream.put(f"{PLAYED}/net.pth", host)
    mirrors, settings = played_by(upstream), {**PARTED, "segments": segments}

    async def all_of(proxies: list[ProxyProcess]) -> set[bytes]:
        path = f"/v1/checkpoint?variant=raw&ref={quote(f'{ZOO}/net.pth')}"
        return set(await asyncio.gather(*(whole(proxies[number % processes].url + path) for number in range(200))))

    with ExitStack() as stack:
        proxies = [stack.enter_context(running_proxy(data_dir, mirrors=mirrors, **settings)) for _ in range(processes)]
        assert asyncio.run(all_of(proxies)) == {checkpoint}
    if segments == "1":
        assert [headers.get("range") for headers in upstream.headers] == [None]
    else:
        assert sorted(host.asked) == [
            (start, min(start + PART, len(checkpoint))) for start in range(0, len(checkpoint), PART)
        ]


def test_a_fill_in_parts_that_proves_wrong_ends_its_readers_short_of_the_end(
    pair: tuple[Upstream, list[ProxyProcess]], large_checkpoint: bytes
) -> None:
    upstream, proxies = pair
    name = f"/net-{next(_numbers)}-0badc0de.pth"
    upstream.put(PLAYED + name, Parts(bytes(len(large_checkpoint))))
    with streaming(proxies[0], ZOO + name) as answer, pytest.raises(httpx2.RemoteProtocolError):
        answer.read()
    assert proxies[1].get("/v1/tensors", ZOO + name).status_code == 502
