"""The server's figures: hot raw GETs against nginx with sendfile, look-ups against an empty route, memory, start."""

from __future__ import annotations

import json
import re
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from benchmarks.components import Server, fetch, program, running_nginx, running_proxy
from benchmarks.figures import Figure

REF = "https://download.pytorch.org/models/net.pth"


@dataclass(frozen=True)
class Load:
    """One measured run: bytes per second, server CPU seconds per GB."""

    throughput: float
    cpu_per_gb: float


def run(smoke: bool) -> list[Figure]:
    rounds, size = (1, 4 << 20) if smoke else (5, 128 << 20)
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        (root / "www" / "models").mkdir(parents=True)
        _write_checkpoint(root / "www" / "models" / "net.pth", size)
        with running_nginx(root / "www", root) as nginx:
            mirrors = json.dumps({"download.pytorch.org": [nginx.url, "off"]})
            with running_proxy(root / "data", mirrors=mirrors) as proxy:
                fetch(f"{proxy.url}/v1/resolve?ref=mmcls://vgg16")
                program("wrk")
                figures = _hot(nginx, proxy, rounds, connections=(1,) if smoke else (1, 16, 64))
                figures += _lookups(proxy, rounds, seconds=1 if smoke else 2)
                figures.append(_memory(proxy, size))
            figures.append(_start(root / "data", mirrors))
    return figures


def _write_checkpoint(path: Path, size: int) -> None:
    import torch

    torch.save({"weight": torch.rand(size // 4)}, path)


def _hot(nginx: Server, proxy: Server, rounds: int, connections: tuple[int, ...]) -> list[Figure]:
    raw = f"{proxy.url}/v1/checkpoint?ref={quote(REF)}&variant=raw"
    model = f"{proxy.url}/v1/checkpoint?ref={quote(REF)}"
    static = f"{nginx.url}/models/net.pth"
    figures = []
    for count in connections:
        ours, theirs, models = _alternate(
            rounds,
            lambda count=count: _load(proxy, raw, count),
            lambda count=count: _load(nginx, static, count),
            lambda count=count: _load(proxy, model, count),
        )
        at = f"{count} connection{'s' if count > 1 else ''}"
        speed = [_median(loads, "throughput") / 1e6 for loads in (ours, theirs, models)]
        cpu = [_median(loads, "cpu_per_gb") for loads in (ours, theirs)]
        figures.append(Figure(f"hot raw GET, {at}, against nginx", speed[0], speed[1], "MB/s", ">= 0.95"))
        figures.append(Figure(f"the same, server CPU per GB, {at}", cpu[0], cpu[1], "s", "<= 1.1"))
        figures.append(Figure(f"model as safetensors against raw, {at}", speed[2], speed[0], "MB/s", ">= 0.9"))
    return figures


def _alternate(rounds: int, *candidates: Callable[[], Load]) -> list[list[Load]]:
    """Each candidate once per round, the first round thrown away: it warms caches."""
    results = [[candidate() for candidate in candidates] for _ in range(rounds + 1)]
    return [list(loads) for loads in zip(*results[1:], strict=True)]


def _median(loads: list[Load], what: str) -> float:
    return statistics.median(getattr(load, what) for load in loads)


def _load(server: Server, url: str, connections: int) -> Load:
    """``connections`` curls at once, each one whole body into /dev/null."""
    command = [program("curl"), "-s", "-o", "/dev/null", "-w", "%{size_download}\n", url]
    cpu, start = server.cpu_seconds(), time.perf_counter()
    clients = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(connections)]
    received = sum(int(client.communicate()[0]) for client in clients)
    seconds = time.perf_counter() - start
    return Load(received / seconds, (server.cpu_seconds() - cpu) / (received / 1e9))


def _lookups(proxy: Server, rounds: int, seconds: int) -> list[Figure]:
    paths = {
        "resolve of a name": "/v1/resolve?ref=torchvision://resnet50",
        "resolve of what is held": f"/v1/resolve?ref={quote(REF)}",
        "a zoo's map": "/v1/zoos/mmcls/map",
    }
    figures = []
    for name, path in paths.items():
        pairs = [(_requests(proxy, path, seconds), _requests(proxy, "/healthz", seconds)) for _ in range(rounds)]
        ours, theirs = (statistics.median(values) for values in zip(*pairs, strict=True))
        figures.append(Figure(f"{name}, against an empty route", ours, theirs, "requests/s", ">= 0.8"))
    return figures


def _requests(server: Server, path: str, seconds: int) -> float:
    command = [program("wrk"), "-t1", "-c16", f"-d{seconds}s", server.url + path]
    report = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "Non-2xx" not in report, report
    found = re.search(r"Requests/sec:\s+([\d.]+)", report)
    assert found, report
    return float(found.group(1))


def _memory(proxy: Server, size: int) -> Figure:
    _load(proxy, f"{proxy.url}/v1/checkpoint?ref={quote(REF)}&variant=raw", 64)
    name = f"resident memory after 64 clients at once on {size >> 20} MB"
    return Figure(name, proxy.resident_bytes() / 1e6, 150.0, "MB", "<= 1 of 150 MB")


def _start(data_dir: Path, mirrors: str) -> Figure:
    start = time.perf_counter()
    with running_proxy(data_dir, mirrors=mirrors) as proxy:
        fetch(f"{proxy.url}/readyz")
        seconds = time.perf_counter() - start
    return Figure("start to ready on a migrated database", seconds, 1.0, "s", "<= 1 of 1 s")
