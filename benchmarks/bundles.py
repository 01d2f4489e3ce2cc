"""A bundle of 2,000 blobs, small and large, exported and imported, against ``cp -r`` of the same files.

Both sides end when their bytes are durable: ours are flushed by what is measured, cp's by a ``sync`` after it.
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
        taken: list[list[float]] = []
        memory = [0.0, 0.0]
        for number in range(rounds):
            bundle = root / f"{number}.tar"
            copied = _copied(root / "data" / "blobs", root / "copy")
            exported, memory[0] = _command(root / "data", "export", "--held", "-o", str(bundle))
            imported, memory[1] = _command(root / f"gap{number}", "import", str(bundle))
            taken.append([copied, exported, imported])
            bundle.unlink()
            shutil.rmtree(root / f"gap{number}")
        copied, exported, imported = (size / 1e6 / statistics.median(times) for times in zip(*taken, strict=True))
    what = f"{blobs:,} blobs, {size / 1e9:.1f} GB"
    return [
        Figure(f"bundle export of {what}, against cp -r", exported, copied, "MB/s", ">= 0.7"),
        Figure(f"bundle import of {what}, against cp -r", imported, copied, "MB/s", ">= 0.7"),
        Figure(f"memory of the export of {what}, limit", memory[0], 150.0, "MB", "<= 1"),
        Figure(f"memory of the import of {what}, limit", memory[1], 150.0, "MB", "<= 1"),
    ]


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


def _command(data_dir: Path, *arguments: str) -> tuple[float, float]:
    """Seconds, and the process's largest resident size in MB."""
    data_dir.mkdir(exist_ok=True)
    environment = {**os.environ, "ZOOPROXY_DATA_DIR": str(data_dir)}
    start = time.perf_counter()
    command = [sys.executable, "-m", "zooproxy", "bundle", *arguments]
    process = subprocess.Popen(command, env=environment, cwd=data_dir, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, command
    return time.perf_counter() - start, usage.ru_maxrss / 1024
