"""Cold references: the proxy's fills and those who wait for them, against the same client on the same upstream."""

from __future__ import annotations

import json
import os
import secrets
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

from benchmarks.components import Server, fetch, program, running, running_nginx, running_proxy
from benchmarks.figures import Figure
from benchmarks.loads import write_checkpoint

_HOST = "download.pytorch.org"
_MB = 1_000_000

# In a process of its own, after its imports: seconds to the first byte and to the last, and how many there were.
_CLIENT = """
import sys, time
import httpx2
start, first, size = time.perf_counter(), 0.0, 0
with httpx2.Client(trust_env=False, timeout=600) as client:
    with client.stream("GET", sys.argv[1], headers={"Accept-Encoding": "identity"}) as answer:
        for block in answer.iter_raw():
            first = first or time.perf_counter() - start
            size += len(block)
print(first, time.perf_counter() - start, size)
"""

# As the client, and with what a proxy cannot do without: every byte hashed, and in a file.
_KEEPER = """
import hashlib, sys, tempfile, time
import httpx2
start, first, proof = time.perf_counter(), 0.0, hashlib.sha256()
with httpx2.Client(trust_env=False, timeout=600) as client, tempfile.TemporaryFile(dir=sys.argv[2]) as file:
    with client.stream("GET", sys.argv[1], headers={"Accept-Encoding": "identity"}) as answer:
        for block in answer.iter_raw():
            first = first or time.perf_counter() - start
            proof.update(block)
            file.write(block)
    last = time.perf_counter() - start
print(first, last, 0)
"""

_LOADER = """
import sys, time
from pathlib import Path
import torch, zooproxy
from zooproxy.client.settings import ClientSettings
settings = ClientSettings((sys.argv[1],), folder=Path(sys.argv[3]))
start = time.perf_counter()
zooproxy.load(sys.argv[2], settings=settings)
print(0.0, time.perf_counter() - start, 0)
"""


@dataclass(frozen=True)
class Taken:
    """Seconds until the first byte and until the last."""

    first: float
    last: float


@dataclass(frozen=True)
class Far:
    """What ``benchmarks.far_upstream`` is told: seconds, and bytes per second."""

    latency: float = 0.0
    each: float = 0.0
    all: float = 0.0


@dataclass(frozen=True)
class Bench:
    """One file below ``root``, under as many names as there are fills; ``proxy`` has ``upstream`` as its mirror."""

    root: Path
    upstream: Server
    proxy: Server

    def cold(self) -> str:
        """A name that nobody has asked for yet."""
        name = f"{secrets.token_hex(8)}.pth"
        os.link(self.root / "www" / "net.pth", self.root / "www" / name)
        return name

    def direct(self) -> Taken:
        return _taken(_CLIENT, f"{self.upstream.url}/{self.cold()}")

    def kept(self) -> Taken:
        return _taken(_KEEPER, f"{self.upstream.url}/{self.cold()}", self.root)

    def proxied(self, variant: str = "raw") -> Taken:
        name = self.cold()
        taken = _taken(_CLIENT, self.raw(name, variant))
        self.settle(name)
        return taken

    def model(self) -> Taken:
        return self.proxied("model")

    def loaded(self) -> Taken:
        with tempfile.TemporaryDirectory(dir=self.root) as folder:
            return _taken(_LOADER, self.proxy.url, self.ref(self.cold()), folder)

    @property
    def length(self) -> int:
        return (self.root / "www" / "net.pth").stat().st_size

    def ref(self, name: str) -> str:
        return f"https://{_HOST}/{name}"

    def raw(self, name: str, variant: str = "raw") -> str:
        return f"{self.proxy.url}/v1/checkpoint?variant={variant}&ref={quote(self.ref(name))}"

    def settle(self, name: str) -> None:
        """Returns when the fill is durable: its last pages are written while nobody's time is taken."""
        while json.loads(fetch(f"{self.proxy.url}/v1/resolve?ref={quote(self.ref(name))}"))["state"] != "held":
            time.sleep(0.01)


def run(smoke: bool) -> list[Figure]:
    with tempfile.TemporaryDirectory() as directory:
        return _small(Path(directory)) if smoke else _full(Path(directory))


def _small(root: Path) -> list[Figure]:
    with _far(root / "far", 1 * _MB, Far(latency=0.01), segment_bytes="65536") as bench:
        return [_throttled(bench, 1), *_crowd(bench, 4)]


def _full(root: Path) -> list[Figure]:
    """Each upstream is as far away, and as slow, as the function that asks it says."""
    figures = _near(root / "near", 1000 * _MB, 3, segments=("1", "4"))
    with _far(root / "first", 1 * _MB, Far(latency=0.1)) as bench:
        figures.append(_first_byte(bench, 3))
    with _far(root / "throttled", 200 * _MB, Far(latency=0.05, each=20 * _MB), segments="4") as bench:
        figures.append(_throttled(bench, 3))
    with _far(root / "crowd", 40 * _MB, Far(latency=0.05, all=10 * _MB)) as bench:
        figures += _crowd(bench, 64)
    with _far(root / "loads", 1000 * _MB, Far(latency=0.05, all=100 * _MB)) as bench:
        figures += _loads(bench, 2)
    return figures


def _near(root: Path, size: int, rounds: int, segments: Sequence[str]) -> list[Figure]:
    """An upstream that is as fast as the machine."""
    www = _published(root, size)
    figures = []
    with running_nginx(www, root) as nginx:
        for connections in segments:
            with _proxy(root, nginx, segments=connections) as proxy:
                bench = Bench(root, nginx, proxy)
                before = proxy.resident_bytes()
                ours, theirs, kept = _alternate(rounds, bench.proxied, bench.direct, bench.kept)
                after = proxy.resident_bytes()
            what = f"cold raw GET of {size // _MB} MB, SEGMENTS={connections}"
            ours_rate, alone, keeping = (size / _MB / taken.last for taken in (ours, theirs, kept))
            figures.append(Figure(f"{what}, against httpx alone", ours_rate, alone, "MB/s", ">= 0.95"))
            figures.append(
                Figure(f"{what}, against httpx that hashes and keeps", ours_rate, keeping, "MB/s", ">= 0.95")
            )
            figures.append(Figure(f"{what}: resident memory", after / 1e6, 150.0, "MB", "<= 1 of 150 MB"))
            figures.append(Figure(f"{what}: the same, against before", after / 1e6, before / 1e6, "MB", "told"))
    return figures


def _first_byte(bench: Bench, rounds: int) -> Figure:
    """100 ms away."""
    ours, theirs = _alternate(rounds, bench.proxied, bench.direct)
    name = "first byte of a cold raw GET, against direct and a round trip"
    return Figure(name, ours.first, theirs.first + 0.1, "s", "<= 1.0")


def _throttled(bench: Bench, rounds: int) -> Figure:
    """20 MB/s for each connection."""
    ours, theirs = _alternate(rounds, bench.proxied, bench.direct)
    rates = [bench.length / _MB / taken.last for taken in (ours, theirs)]
    return Figure("cold raw GET, throttled by connection, 4 of them against one", *rates, "MB/s", ">= 3")


def _crowd(bench: Bench, clients: int) -> list[Figure]:
    """A link of 10 MB/s, and many who want the same file at once."""
    direct, name = bench.direct(), bench.cold()
    _, before = _told(bench.upstream)
    command = [program("curl"), "-s", "-f", "-o", "/dev/null", bench.raw(name)]
    start = time.perf_counter()
    crowd = [subprocess.Popen(command) for _ in range(clients)]
    assert [one.wait() for one in crowd] == [0] * clients
    seconds = time.perf_counter() - start
    _, after = _told(bench.upstream)
    what = f"{clients} cold clients of one reference"
    return [
        Figure(f"{what}: the last one, against one direct", seconds, direct.last, "s", "<= 1.15"),
        Figure(f"{what}: bytes that the upstream sent", (after - before) / 1e6, bench.length / 1e6, "MB", "<= 1.0"),
    ]


def _loads(bench: Bench, rounds: int) -> list[Figure]:
    """A link of 100 MB/s."""
    loaded, model, raw, theirs = _alternate(rounds, bench.loaded, bench.model, bench.proxied, bench.direct)
    what = f"of {bench.length // _MB} MB over a link"
    return [
        Figure(f"cold zooproxy.load {what}, against direct", loaded.last, theirs.last, "s", "<= 1.15"),
        Figure(f"cold raw GET {what}, against direct", raw.last, theirs.last, "s", "<= 1.05"),
        Figure(f"cold model as safetensors {what}, against raw", model.last, raw.last, "s", "told"),
    ]


def _published(root: Path, size: int) -> Path:
    (root / "www").mkdir(parents=True)
    write_checkpoint(root / "www" / "net.pth", size)
    return root / "www"


@contextmanager
def _far(root: Path, size: int, far: Far, **settings: str) -> Iterator[Bench]:
    www = _published(root, size)
    command = [sys.executable, "-m", "benchmarks.far_upstream", str(www), "{port}"]
    command += [f"--{name}={value}" for name, value in vars(far).items()]
    with running("upstream", command) as upstream, _proxy(root, upstream, **settings) as proxy:
        yield Bench(root, upstream, proxy)


@contextmanager
def _proxy(root: Path, upstream: Server, **settings: str) -> Iterator[Server]:
    mirrors = json.dumps({_HOST: [upstream.url, "off"]})
    with tempfile.TemporaryDirectory(dir=root) as data, running_proxy(Path(data), mirrors=mirrors, **settings) as proxy:
        fetch(f"{proxy.url}/readyz")  # it listens before it is
        yield proxy


def _told(upstream: Server) -> tuple[int, int]:
    bodies, sent = fetch(f"{upstream.url}/told").split()
    return int(bodies), int(sent)


def _taken(code: str, *arguments: str | Path) -> Taken:
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True)
    first, last, _ = done.stdout.split()
    return Taken(float(first), float(last))


def _alternate(rounds: int, *candidates: Callable[[], Taken]) -> list[Taken]:
    """The medians of each candidate; they take turns."""
    results = [[candidate() for candidate in candidates] for _ in range(rounds)]
    return [
        Taken(statistics.median(one.first for one in taken), statistics.median(one.last for one in taken))
        for taken in zip(*results, strict=True)
    ]
