"""What servers are put under: whole bodies into curl, look-ups from wrk; and the file that is asked for."""

from __future__ import annotations

import re
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from benchmarks.components import Server, program


@dataclass(frozen=True)
class Load:
    """One measured run: bytes per second, server CPU seconds per GB."""

    throughput: float
    cpu_per_gb: float


def write_checkpoint(path: Path, size: int) -> None:
    """``size`` bytes of tensors that do not compress, in four of them."""
    import torch

    part = torch.rand(size // 16)
    torch.save({f"weight{number}": part + number for number in range(4)}, path)


def load(server: Server, url: str, connections: int) -> Load:
    """``connections`` curls at once, each one whole body into /dev/null."""
    command = [program("curl"), "-s", "-o", "/dev/null", "-w", "%{size_download}\n", url]
    cpu, start = server.cpu_seconds(), time.perf_counter()
    clients = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(connections)]
    received = sum(int(client.communicate()[0]) for client in clients)
    seconds = time.perf_counter() - start
    return Load(received / seconds, (server.cpu_seconds() - cpu) / (received / 1e9))


def look_ups_per_second(server: Server, path: str, seconds: float) -> float:
    """From wrk over 16 connections."""
    limited = [program("timeout"), "--preserve-status", "--signal=INT", str(seconds)]  # wrk itself counts whole ones
    command = [*limited, program("wrk"), "-t1", "-c16", f"-d{seconds + 60:.0f}s", server.url + path]
    report = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert "Non-2xx" not in report, report
    found = re.search(r"Requests/sec:\s+([\d.]+)", report)
    assert found, report
    return float(found.group(1))
