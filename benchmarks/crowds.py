"""Many at once: 64 clients on a 2 GB checkpoint, 500 connections that only wait, 100 ranges in one request."""

from __future__ import annotations

import http.client
import json
import socket
import statistics
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from urllib.parse import quote, urlsplit

from benchmarks.components import Server, fetch, running_nginx, running_proxy
from benchmarks.figures import Figure
from benchmarks.loads import load, look_ups_per_second, write_checkpoint

REF = "https://download.pytorch.org/models/large.pth"
_RAW = f"/v1/checkpoint?ref={quote(REF)}&variant=raw"
_RANGES = 100


def run(smoke: bool) -> list[Figure]:
    size, clients, idle, rounds = (4 << 20, 8, 50, 1) if smoke else (2 << 30, 64, 500, 5)
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        (root / "www" / "models").mkdir(parents=True)
        write_checkpoint(root / "www" / "models" / "large.pth", size)
        with running_nginx(root / "www", root) as nginx:
            mirrors = json.dumps({"download.pytorch.org": [nginx.url, "off"]})
            with running_proxy(root / "data", mirrors=mirrors) as proxy:
                _touch(proxy)
                before = proxy.resident_bytes()
                figures = [_ranges(proxy, rounds), _idle(proxy, idle, rounds, 0.2 if smoke else 1)]
                load(proxy, proxy.url + _RAW, clients)
                after = proxy.resident_bytes()
    what = f"{clients} clients at once on {size >> 20} MB"
    return [
        *figures,
        Figure(f"{what}: resident memory of the proxy", after / 1e6, 150.0, "MB", "<= 1 of 150 MB"),
        Figure(f"{what}: the same, against before they came", after / 1e6, before / 1e6, "MB", "told"),
    ]


def _touch(proxy: Server) -> None:
    """Brings the file in without reading it here."""
    connection = http.client.HTTPConnection(urlsplit(proxy.url).netloc, timeout=600)
    connection.request("GET", _RAW, headers={"Range": "bytes=-1"})
    connection.getresponse().read()
    connection.close()
    fetch(f"{proxy.url}/v1/resolve?ref={quote(REF)}")


def _ranges(proxy: Server, rounds: int) -> Figure:
    """Ranges that touch, against the one that they make."""
    step = 4096
    many = ",".join(f"{at * step}-{at * step + step - 1}" for at in range(_RANGES))
    one = f"0-{_RANGES * step - 1}"
    pairs = [(_ranged(proxy, many), _ranged(proxy, one)) for _ in range(rounds + 1)][-rounds:]
    ours, theirs = (statistics.median(taken) for taken in zip(*pairs, strict=True))
    return Figure(f"{_RANGES} ranges that touch, against the one they make", ours * 1e3, theirs * 1e3, "ms", "<= 1.5")


def _ranged(proxy: Server, ranges: str, requests: int = 50) -> float:
    """Seconds for one request, over one connection."""
    connection = http.client.HTTPConnection(urlsplit(proxy.url).netloc, timeout=60)
    start = time.perf_counter()
    for _ in range(requests):
        connection.request("GET", _RAW, headers={"Range": f"bytes={ranges}"})
        answer = connection.getresponse()
        assert (answer.status, len(answer.read())) == (206, _RANGES * 4096)
    seconds = time.perf_counter() - start
    connection.close()
    return seconds / requests


def _idle(proxy: Server, count: int, rounds: int, seconds: float) -> Figure:
    """Look-ups while others keep their connections open, against look-ups alone."""
    path = "/v1/resolve?ref=torchvision://resnet50"
    pairs = []
    for _ in range(rounds):
        alone = look_ups_per_second(proxy, path, seconds)
        with _waiting(proxy, count):
            pairs.append((look_ups_per_second(proxy, path, seconds), alone))
    ours, theirs = (statistics.median(rates) for rates in zip(*pairs, strict=True))
    return Figure(f"resolve beside {count} idle connections, against alone", ours, theirs, "requests/s", ">= 0.9")


@contextmanager
def _waiting(proxy: Server, count: int) -> Iterator[None]:
    """Connections that have had one answer and keep still, for less time than the proxy's keep-alive."""
    address = urlsplit(proxy.url)
    with ExitStack() as stack:
        for _ in range(count):
            one = stack.enter_context(socket.create_connection((address.hostname or "", address.port or 0), 10))
            one.sendall(b"GET /healthz HTTP/1.1\r\nHost: proxy\r\n\r\n")
            assert one.recv(4096).startswith(b"HTTP/1.1 200")
        yield
