"""Reading a tensor index against ``torch.load(mmap=True)``, with and without ``save_file``; and against its limits."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

from benchmarks.figures import Figure

# Each runs in a process of its own; prints the best of its rounds in milliseconds and its largest resident size in MB.
_PROGRAM = """
import json, os, re, sys, time
what, path, out, rounds = sys.argv[1:]
if what == 'index':
    from zooproxy.digest import Sha256
    from zooproxy.formats.reader import read_tensor_index
    def work():
        with open(path, 'rb') as file:
            read_tensor_index(file, os.fstat(file.fileno()).st_size, Sha256('0' * 64))
else:
    import torch
    from safetensors.torch import save_file
    def work():
        loaded = torch.load(path, mmap=True, weights_only=True)
        if what == 'convert':
            save_file(loaded, out)
taken = []
for _ in range(int(rounds)):
    start = time.perf_counter()
    work()
    taken.append(time.perf_counter() - start)
largest = re.search(r'VmHWM:\\s+(\\d+) kB', open('/proc/self/status').read())
print(json.dumps([min(taken) * 1e3, int(largest[1]) / 1024]))
"""


def run(smoke: bool) -> list[Figure]:
    sizes = [(160, 1 << 20)] if smoke else [(160, 100 << 20), (2000, 2 << 30)]
    figures = []
    with tempfile.TemporaryDirectory() as folder:
        for tensors, size in sizes:
            path = Path(folder) / "checkpoint.pth"
            _write(path, tensors, size)
            figures += _figures(path, f"{size >> 20:,} MiB, {tensors:,} tensors", tensors, 1 if smoke else 5)
    return figures


def _write(path: Path, tensors: int, size: int) -> None:
    import torch

    part = size // tensors // 4
    torch.save({f"layer{at // 4}.block.{at % 4}.weight": torch.empty(part) for at in range(tensors)}, path)


def _figures(path: Path, what: str, tensors: int, rounds: int) -> list[Figure]:
    index, memory = _measured("index", path, rounds)
    convert, _ = _measured("convert", path, min(rounds, 2))
    load, _ = _measured("load", path, rounds)
    limit = 5.0 if tensors == 160 else 60.0
    return [
        Figure(f"tensor index of {what}: torch.load(mmap) + save_file", convert, index, "ms", ">= 25"),
        Figure(f"tensor index of {what}: torch.load(mmap)", load, index, "ms", "more than 1"),
        Figure(f"tensor index of {what}: time, limit", index, limit, "ms", "<= 1"),
        Figure(f"tensor index of {what}: memory of the process, limit", memory, 40.0, "MB", "<= 1"),
    ]


def _measured(what: str, path: Path, rounds: int) -> tuple[float, float]:
    command = [sys.executable, "-c", _PROGRAM, what, str(path), f"{path}.out", str(rounds)]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    best, memory = json.loads(done.stdout)
    return best, memory
