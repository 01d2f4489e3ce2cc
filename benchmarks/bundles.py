"""A bundle of 2,000 blobs, small and large, exported and imported, against ``cp -r`` of the same files.

Both sides end when their bytes are durable: ours are flushed by what is measured, cp's by a ``sync`` after it. An
import believes no byte that it has not hashed, nor does an export unless it is told to: what that costs at least is
``sha256sum`` of the same files, on all cores, after the copy. Where a processor has no instructions for it (SHA-NI),
that is most of the time.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.figures import Figure
from zooproxy.cache.database import open_database
from zooproxy.cache.index import HeldSource, Index
from zooproxy.cache.partial import blob_path
from zooproxy.cache.tables import moment
from zooproxy.digest import Sha256

_BLOBS, _SMALL_BYTES, _LARGE_BYTES = 2000, 200_000, 10_000_000
_EVERY = 12  # blobs, of which one is large


def run(smoke: bool) -> list[Figure]:
    blobs, rounds = (24, 1) if smoke else (_BLOBS, 3)
    with tempfile.TemporaryDirectory() as directory:
        root = Path(directory)
        (root / "data").mkdir()
        size = asyncio.run(_fill(root / "data", blobs))
        taken = [list(_round(root, number)) for number in range(rounds)]
        rates = [size / 1e6 / statistics.median(row[column].seconds for row in taken) for column in range(5)]
        largest = [max(row[column].memory for row in taken) for column in range(5)]
    what = f"of {blobs:,} blobs, {size / 1e9:.1f} GB"
    copied, hashed = rates[0], rates[1]
    return [
        Figure(f"bundle export {what}, against cp -r", rates[2], copied, "MB/s", ">= 0.7"),
        Figure(f"bundle export {what}, against cp -r + sha256sum", rates[2], hashed, "MB/s", ">= 1"),
        Figure(f"bundle export --no-proof {what}, against cp -r", rates[3], copied, "MB/s", ">= 0.7"),
        Figure(f"bundle import {what}, against cp -r", rates[4], copied, "MB/s", ">= 0.7"),
        Figure(f"bundle import {what}, against cp -r + sha256sum", rates[4], hashed, "MB/s", ">= 1"),
        Figure(f"memory of the export {what}, limit", largest[2], 150.0, "MB", "<= 1"),
        Figure(f"memory of the import {what}, limit", largest[4], 150.0, "MB", "<= 1"),
    ]


# The command, and then its largest resident size in KiB: what wait4(2) tells began with that of this very process.
_COMMAND = """
import sys
from zooproxy.cli import main
assert main(sys.argv[1:]) == 0
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM:")))
"""


@dataclass(frozen=True, slots=True)
class _Taken:
    """``memory``: the process's largest resident size in MB; 0 where nobody asks."""

    seconds: float
    memory: float = 0.0


def _round(root: Path, number: int) -> Iterator[_Taken]:
    """A copy, the same copy with a proof of it, an export, one without proof, an import."""
    blobs, bundle, gap = root / "data" / "blobs", root / f"{number}.tar", root / f"gap{number}"
    copied = _copied(blobs, root / "copy")
    yield _Taken(copied)
    yield _Taken(copied + _hashed(blobs))
    yield _command(root / "data", "export", "--held", "-o", str(bundle))
    bundle.unlink()
    yield _command(root / "data", "export", "--held", "--no-proof", "-o", str(bundle))
    yield _command(gap, "import", str(bundle))
    bundle.unlink()
    shutil.rmtree(gap)


async def _fill(data_dir: Path, count: int) -> int:
    """A data directory that holds ``count`` checkpoints; their bytes in all."""
    async with open_database(f"sqlite:///{data_dir / 'zooproxy.db'}") as database:
        held = [
            HeldSource(f"https://download.pytorch.org/{number}.pth", digest, size, moment(number))
            for number, (digest, size) in enumerate(_written(data_dir, count))
        ]
        await Index(database).publish_all(held)
    os.sync()
    return sum(one.size for one in held)


def _written(data_dir: Path, count: int) -> Iterator[tuple[Sha256, int]]:
    noise = os.urandom(_LARGE_BYTES)
    for number in range(count):
        size = _SMALL_BYTES if number % _EVERY else _LARGE_BYTES
        head = json.dumps({f"w{number}": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
        body = len(head).to_bytes(8, "little") + head + noise[:size]
        digest = Sha256.of(body)
        path = blob_path(data_dir / "blobs", digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(body)
        yield digest, len(body)


def _copied(source: Path, target: Path) -> float:
    """Seconds."""
    start = time.perf_counter()
    subprocess.run(["cp", "-r", source, target], check=True)
    subprocess.run(["sync", "-f", target], check=True)
    seconds = time.perf_counter() - start
    shutil.rmtree(target)
    return seconds


def _hashed(source: Path) -> float:
    """Seconds of ``sha256sum`` over all files, as many at once as there are cores."""
    files = b"\0".join(os.fsencode(path) for path in sorted(source.rglob("*")) if path.is_file())
    command = ["xargs", "-0", "-n", "16", "-P", str(os.cpu_count()), "sha256sum"]
    start = time.perf_counter()
    subprocess.run(command, input=files, stdout=subprocess.DEVNULL, check=True)
    return time.perf_counter() - start


def _command(data_dir: Path, *arguments: str) -> _Taken:
    data_dir.mkdir(exist_ok=True)
    environment = {**os.environ, "ZOOPROXY_DATA_DIR": str(data_dir)}
    start = time.perf_counter()
    command = [sys.executable, "-c", _COMMAND, "bundle", *arguments]
    done = subprocess.run(command, env=environment, cwd=data_dir, stdout=subprocess.PIPE, text=True, check=True)
    return _Taken(time.perf_counter() - start, int(done.stdout.splitlines()[-1]) / 1024)
