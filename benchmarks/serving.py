"""The server's figures: hot raw GETs against nginx with sendfile, look-ups against an empty route, start."""

from __future__ import annotations

import json
import statistics
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from benchmarks.components import Server, fetch, running_nginx, running_proxy
from benchmarks.figures import Figure
from benchmarks.loads import Load, load, look_ups_per_second, write_checkpoint


@dataclass(frozen=True)
class _File:
    """What is fetched: ``rounds`` times at each number of connections, each candidate in turn."""

    name: str
    size: int
    rounds: int
    connections: tuple[int, ...]

    @property
    def ref(self) -> str:
        return f"https://download.pytorch.org/models/{self.name}"


_FILES = (_File("net.pth", 100_000_000, 5, (1, 16, 64)), _File("large.pth", 1 << 30, 1, (1, 16, 64)))
_SMALL = (_File("net.pth", 4 << 20, 1, (1,)),)


def run(smoke: bool) -> list[Figure]:
    files = _SMALL if smoke else _FILES
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        (root / "www" / "models").mkdir(parents=True)
        for file in files:
            write_checkpoint(root / "www" / "models" / file.name, file.size)
        with running_nginx(root / "www", root) as nginx:
            mirrors = json.dumps({"download.pytorch.org": [nginx.url, "off"]})
            with running_proxy(root / "data", mirrors=mirrors) as proxy:
                for file in files:  # what is computed behind the first request is not to be counted with the others
                    fetch(f"{proxy.url}/v1/tensors?ref={quote(file.ref)}&digests=wait")
                figures = [figure for file in files for figure in _hot(nginx, proxy, file)]
                figures += _look_ups(proxy, files[0].ref, *((1, 0.2) if smoke else (5, 2)))
            figures.append(_start(root / "data", mirrors))
    return figures


def _hot(nginx: Server, proxy: Server, file: _File) -> list[Figure]:
    model = f"{proxy.url}/v1/checkpoint?ref={quote(file.ref)}"
    static = f"{nginx.url}/models/{file.name}"
    figures = []
    for count in file.connections:
        ours, theirs, models = _alternate(
            file.rounds,
            lambda count=count: load(proxy, f"{model}&variant=raw", count),
            lambda count=count: load(nginx, static, count),
            lambda count=count: load(proxy, model, count),
        )
        at = f"{file.size // 1_000_000} MB, {count} connection{'s' if count > 1 else ''}"
        speed = [_median(loads, "throughput") / 1e6 for loads in (ours, theirs, models)]
        cpu = [_median(loads, "cpu_per_gb") for loads in (ours, theirs)]
        figures.append(Figure(f"hot raw GET, {at}, against nginx", speed[0], speed[1], "MB/s", ">= 0.95"))
        figures.append(Figure(f"server CPU per GB, {at}, against nginx", cpu[0], cpu[1], "s", "<= 1.1"))
        figures.append(Figure(f"model as safetensors, {at}, against raw", speed[2], speed[0], "MB/s", ">= 0.9"))
    return figures


def _alternate(rounds: int, *candidates: Callable[[], Load]) -> list[list[Load]]:
    """Each candidate once per round, the first round thrown away: it warms caches."""
    results = [[candidate() for candidate in candidates] for _ in range(rounds + 1)]
    return [list(loads) for loads in zip(*results[1:], strict=True)]


def _median(loads: list[Load], what: str) -> float:
    return statistics.median(getattr(load, what) for load in loads)


def _look_ups(proxy: Server, held: str, rounds: int, seconds: float) -> list[Figure]:
    paths = {
        "resolve of a name": "/v1/resolve?ref=torchvision://resnet50",
        "resolve of what is held": f"/v1/resolve?ref={quote(held)}",
        "a zoo's map": "/v1/zoos/mmcls/map",
    }
    figures = []
    for name, path in paths.items():
        rates = [[look_ups_per_second(proxy, one, seconds) for one in (path, "/healthz")] for _ in range(rounds)]
        ours, theirs = (statistics.median(values) for values in zip(*rates, strict=True))
        figures.append(Figure(f"{name}, against an empty route", ours, theirs, "requests/s", ">= 0.8"))
    return figures


def _start(data_dir: Path, mirrors: str) -> Figure:
    start = time.perf_counter()
    with running_proxy(data_dir, mirrors=mirrors) as proxy:
        fetch(f"{proxy.url}/readyz")
        seconds = time.perf_counter() - start
    return Figure("start to ready on a migrated database", seconds, 1.0, "s", "<= 1 of 1 s")
