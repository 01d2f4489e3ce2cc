"""The client's figures: ``zooproxy.load`` against curl, ``curl | sha256sum``, torch.hub and local safetensors."""

from __future__ import annotations

import contextlib
import io
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch
from urllib.parse import quote

from benchmarks.components import Server, fetch, program, running_nginx, running_proxy
from benchmarks.figures import Figure

_HOST = "download.pytorch.org"

# Each runs in a process of its own, after its imports: argv is what follows; the seconds are printed. Settings are the
# default ones.
_PROGRAM = """
import os, re, sys, time
import torch, zooproxy
from zooproxy.client import loader
from pathlib import Path
what, device, url, folder, ref = sys.argv[1:]
torch.empty(1 << 20, device=device).sum().item()
def memory(name):
    return int(re.search(name + r':\\s+(\\d+) kB', Path('/proc/self/status').read_text())[1]) << 10
os.environ['ZOOPROXY'] = url
os.environ['ZOOPROXY_CACHE_DIR'] = 'memory' if what in ('memory', 'hostpeak') else folder
start = time.perf_counter()
if what in ('load', 'unverified', 'memory', 'again'):
    loaded = zooproxy.load(ref, device, verify=what != 'unverified')
elif what == 'moved':
    loaded = {name: tensor.to(device) for name, tensor in zooproxy.load(ref).items()}
elif what in ('peak', 'hostpeak'):
    before = memory('VmRSS')
    Path('/proc/self/clear_refs').write_text('5')  # the high-water mark begins anew
    loaded = zooproxy.load(ref, device)
    if device == 'cpu':
        touched = [tensor.view(torch.uint8).flatten()[::4096].sum() for tensor in loaded.values()]
    print(memory('VmHWM') - before)
    sys.exit()
elif what == 'hub':
    loaded = torch.hub.load_state_dict_from_url(ref, folder, device, progress=False)
else:
    from safetensors.torch import load_file
    loaded = load_file(ref, device)
if device != 'cpu':
    torch.cuda.synchronize()
elif what in ('again', 'safetensors'):
    for tensor in loaded.values():
        tensor.view(torch.uint8).flatten()[::4096].sum()
print(time.perf_counter() - start)
"""

# A rank: ready, told to load, then its proportional set size before and after, in bytes.
_RANK = """
import os, re, sys
from pathlib import Path
import torch, zooproxy
from zooproxy.client import loader
def pss():
    return int(re.search(r'Pss:\\s+(\\d+) kB', Path('/proc/self/smaps_rollup').read_text())[1]) << 10
url, folder, ref = sys.argv[1:]
os.environ.update(ZOOPROXY=url, ZOOPROXY_CACHE_DIR=folder)
print('ready', flush=True)
sys.stdin.readline()
before = pss()
loaded = zooproxy.load(ref)
for tensor in loaded.values():
    tensor.view(torch.uint8).flatten()[::4096].sum()
print('loaded', flush=True)
sys.stdin.readline()
print(before, pss(), flush=True)
sys.stdin.readline()
"""


@dataclass(frozen=True)
class Bench:
    """A checkpoint of ``size`` bytes, held by the proxy and served by nginx, and a folder for what clients keep.

    ``fresh`` takes a new process for each load; without it (a smoke test) all happens in this one. ``device`` is where
    its tensors are loaded to.
    """

    name: str
    size: int
    nginx: Server
    proxy: Server
    folder: Path
    fresh: bool
    device: str = "cpu"

    @property
    def ref(self) -> str:
        return f"https://{_HOST}/{self.name}"

    @property
    def static(self) -> str:
        return f"{self.nginx.url}/{self.name}"

    def child(self, what: str, *, keep: bool = False, target: str = "") -> float:
        """Seconds (bytes, for a peak); what the client kept is removed first, unless it is to be found there."""
        kept = self.folder / "kept"
        if not keep:
            subprocess.run(["rm", "-rf", str(kept)], check=True)
        target = target or (self.static if what == "hub" else self.ref)
        arguments = [what, self.device, self.proxy.url, str(kept), target]
        if not self.fresh:
            return _here(arguments)
        command = [sys.executable, "-c", _PROGRAM, *arguments]
        return float(
            subprocess.run(
                command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, check=True
            ).stdout.split()[-1]
        )

    def ranks(self, count: int) -> tuple[float, int]:
        """``count`` processes of one node load at once: seconds until the last one has, and bytes that they then use
        more than before, each shared page counted once."""
        kept = self.folder / "kept"
        subprocess.run(["rm", "-rf", str(kept)], check=True)
        command = [sys.executable, "-c", _RANK, self.proxy.url, str(kept), self.ref]
        pipe = subprocess.PIPE
        ranks = [subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) for _ in range(count)]
        _told(ranks)
        start = time.perf_counter()
        _tell(ranks)
        _told(ranks)
        seconds = time.perf_counter() - start
        _tell(ranks)
        sizes = [list(map(int, line.split())) for line in _told(ranks)]
        for rank in ranks:
            rank.communicate()
        return seconds, sum(after for _, after in sizes) - sum(before for before, _ in sizes)

    def shell(self, command: str) -> float:
        start = time.perf_counter()
        subprocess.run(command, shell=True, check=True, stdout=subprocess.DEVNULL)
        return time.perf_counter() - start

    def curl(self) -> float:
        return self.shell(f"{program('curl')} -s -o /dev/null {self.static}")

    def curl_and_sum(self) -> float:
        return self.shell(f"{program('curl')} -s {self.static} | sha256sum")


def _here(arguments: list[str]) -> float:
    told = io.StringIO()
    with patch.object(sys, "argv", ["-c", *arguments]), patch.dict(os.environ), contextlib.redirect_stdout(told):
        exec(_PROGRAM, {})
    return float(told.getvalue().split()[-1])


def _tell(ranks: list[subprocess.Popen[str]]) -> None:
    for rank in ranks:
        assert rank.stdin
        rank.stdin.write("\n")
        rank.stdin.flush()


def _told(ranks: list[subprocess.Popen[str]]) -> list[str]:
    return [rank.stdout.readline() for rank in ranks if rank.stdout]


@contextlib.contextmanager
def held(smoke: bool) -> Iterator[dict[str, Bench]]:
    """Checkpoints that a proxy holds, small, large and of a detector; a smoke test's are small and all in here."""
    scale = 64 if smoke else 1
    small, large, detector = (size // scale for size in (102_000_000, 1_000_000_000, 200_000_000))
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        (root / "www").mkdir()
        _write_checkpoint(root / "www" / "small.pth", 160, small)
        _write_checkpoint(root / "www" / "large.pth", 600, large)
        _write_detector(root / "www" / "detector.pth", detector)
        with running_nginx(root / "www", root) as nginx:
            mirrors = json.dumps({_HOST: [nginx.url, "off"]})
            with running_proxy(root / "data", mirrors=mirrors) as proxy:
                sizes = {"small": small, "large": large, "detector": detector}
                benches = {n: Bench(f"{n}.pth", size, nginx, proxy, root, not smoke) for n, size in sizes.items()}
                for bench in benches.values():
                    fetch(f"{proxy.url}/v1/tensors?ref={quote(bench.ref)}&digests=wait")
                yield benches


def run(smoke: bool) -> list[Figure]:
    rounds = 0 if smoke else 5
    with held(smoke) as benches:
        large = benches["large"]
        figures = _small(benches["small"], rounds) + _large(large, rounds) + [_second(large, rounds)]
        figures += _node(large, 2 if smoke else 8, max(rounds, 1))
        if not smoke:  # of a process that has done nothing else
            figures.append(_peak(large))
        figures.append(_backbone(benches["detector"]))
    return figures


def _write_checkpoint(path: Path, count: int, size: int) -> None:
    import torch

    each = size // count // 4
    torch.save({f"layer{number}.weight": torch.rand(each) for number in range(count)}, path)


def _write_detector(path: Path, size: int) -> None:
    import torch

    each = size // 200 // 4
    names = [f"{part}.{number}" for number in range(50) for part in ("backbone", "neck", "head", "backbone.stem")]
    torch.save({"state_dict": {name: torch.rand(each) for name in names}, "meta": {}}, path)


def alternate(rounds: int, *candidates: Callable[[], float]) -> list[float]:
    """The median of each candidate; they take turns, and the first round, which warms caches, does not count."""
    results = [[candidate() for candidate in candidates] for _ in range(rounds + 1)]
    return [statistics.median(seconds) for seconds in zip(*results[min(rounds, 1) :], strict=True)]


def _small(bench: Bench, rounds: int) -> list[Figure]:
    unverified, curl, hub = alternate(rounds, lambda: bench.child("unverified"), bench.curl, lambda: bench.child("hub"))
    what = f"load {bench.size / 1e6:.0f} MB, unverified,"
    return [
        Figure(f"{what} against curl into /dev/null", unverified, curl, "s", "<= 1.3"),
        Figure(f"{what} against torch.hub", unverified, hub, "s", "<= 0.625"),
    ]


def _large(bench: Bench, rounds: int) -> list[Figure]:
    unverified, checked, memory, curl, summed, hub = alternate(
        rounds,
        lambda: bench.child("unverified"),
        lambda: bench.child("load"),
        lambda: bench.child("memory"),
        bench.curl,
        bench.curl_and_sum,
        lambda: bench.child("hub"),
    )
    what = f"load {bench.size / 1e6:,.0f} MB"
    return [
        Figure(f"{what}, unverified, against curl into /dev/null", unverified, curl, "s", "<= 1.15"),
        Figure(f"{what}, unverified, against torch.hub", unverified, hub, "s", "<= 0.4"),
        Figure(f"{what}, checked, against curl | sha256sum", checked, summed, "s", "<= 1.0"),
        Figure(f"{what}, checked, against torch.hub", checked, hub, "s", "<= 0.625"),
        Figure(f"{what}, checked, into memory only, against the store", memory, checked, "s", "told"),
    ]


def second_loads(bench: Bench, rounds: int) -> list[float]:
    """From the node's store, and the same tensors from a safetensors file, in seconds."""
    from safetensors.torch import save_file

    import zooproxy
    from zooproxy.client.settings import ClientSettings

    local = bench.folder / "local.safetensors"
    save_file(zooproxy.load(bench.ref, settings=ClientSettings((bench.proxy.url,))), local)
    bench.child("load")
    return alternate(
        rounds,
        lambda: bench.child("again", keep=True),
        lambda: bench.child("safetensors", keep=True, target=str(local)),
    )


def _second(bench: Bench, rounds: int) -> Figure:
    again, theirs = second_loads(bench, rounds)
    name = f"second load of {bench.size / 1e6:,.0f} MB on the node, touched, against safetensors"
    return Figure(name, again, theirs, "s", "<= 1.2")


def _peak(bench: Bench) -> Figure:
    """Pages of the node's store that the process has mapped count as its own."""
    name = f"load {bench.size / 1e6:,.0f} MB: peak memory of the process, against the tensors"
    return Figure(name, bench.child("peak") / 1e6, bench.size / 1e6, "MB", "<= 1.05")


def _node(bench: Bench, count: int, rounds: int) -> list[Figure]:
    """Includes the touching of every page, by each process."""
    alone = statistics.median(bench.ranks(1)[0] for _ in range(rounds))
    together = [bench.ranks(count) for _ in range(rounds)]
    seconds = statistics.median(seconds for seconds, _ in together)
    used = statistics.median(used for _, used in together)
    what = f"{count} processes of one node load {bench.size / 1e6:,.0f} MB"
    return [
        Figure(f"{what}: until the last one has, against one alone", seconds, alone, "s", "<= 1.3"),
        Figure(f"{what}: memory of all, against the checkpoint", used / 1e6, bench.size / 1e6, "MB", "<= 1.1"),
    ]


def _backbone(bench: Bench) -> Figure:
    """Bytes that the server sent, by its own account of the socket, against those of the tensors."""
    from zooproxy.client.plan import plan_of
    from zooproxy.wire.tensors import tensor_index_from_json

    answer = json.loads(fetch(f"{bench.proxy.url}/v1/tensors?ref={quote(bench.ref)}&prefix=backbone."))
    index = tensor_index_from_json(answer)
    moved = plan_of(index).bytes_to_receive
    needed = sum(index.storages[number].size for number in {tensor.storage for tensor in index.tensors})
    return Figure("backbone of a detector, bytes of ranges asked for", moved / 1e6, needed / 1e6, "MB", "<= 1.01")
