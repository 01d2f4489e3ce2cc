"""What is measured, and against what: the proxy and nginx as real processes on loopback, with their CPU accounts."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_PACKAGES = {"nginx": "nginx-core", "wrk": "wrk", "curl": "curl", "timeout": "coreutils"}


class MissingComponent(Exception):
    """A program that a figure needs is not installed; the message says how to get it."""


def program(name: str) -> str:
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")
    if found is None:
        raise MissingComponent(f"{name} is missing: apt-get install -y {_PACKAGES[name]}")
    return found


@dataclass(frozen=True)
class Server:
    """A running server; ``cpu_seconds`` is what it and its children have used so far."""

    name: str
    url: str
    process: subprocess.Popen[bytes]

    def cpu_seconds(self) -> float:
        return sum(_cpu_seconds(process) for process in (self.process.pid, *_children(self.process.pid)))

    def resident_bytes(self) -> int:
        """The largest resident size so far."""
        status = Path(f"/proc/{self.process.pid}/status").read_text()
        found = re.search(r"VmHWM:\s+(\d+) kB", status)
        assert found
        return int(found.group(1)) << 10


def _cpu_seconds(process: int) -> float:
    """Of all its threads, ended ones too, to the nanosecond: clock ticks are too coarse for a few milliseconds."""
    clock = ~process << 3 | 2  # as clock_getcpuclockid(3) makes it, which Python has for threads alone
    return time.clock_gettime(clock)


def _children(process: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{process}/task/{process}/children").read_text().split()]


@contextmanager
def running_nginx(root: Path, directory: Path) -> Iterator[Server]:
    """nginx with sendfile and one worker, serving ``root``; its own files lie in ``directory``."""
    port = free_port()
    configuration = directory / "nginx.conf"
    configuration.write_text(
        f"daemon off; worker_processes 1; user root; pid {directory}/nginx.pid; error_log {directory}/error.log;\n"
        f"events {{ worker_connections 1024; }}\n"
        f"http {{ sendfile on; tcp_nopush on; access_log off; keepalive_requests 1000000;\n"
        f"  server {{ listen 127.0.0.1:{port} backlog=1024; root {root}; }} }}\n"
    )
    yield from _running("nginx", [program("nginx"), "-c", str(configuration)], port, {})


@contextmanager
def running_proxy(data_dir: Path, **settings: str) -> Iterator[Server]:
    port = free_port()
    environment = {f"ZOOPROXY_{name.upper()}": value for name, value in settings.items()}
    environment |= {"ZOOPROXY_DATA_DIR": str(data_dir), "ZOOPROXY_HOST": "127.0.0.1", "ZOOPROXY_PORT": str(port)}
    yield from _running("zooproxy", [sys.executable, "-m", "zooproxy", "serve"], port, environment)


@contextmanager
def running(name: str, command: list[str]) -> Iterator[Server]:
    """Any program that serves on loopback; ``{port}`` in its command becomes a free one."""
    port = free_port()
    yield from _running(name, [part.format(port=port) for part in command], port, {})


def _running(name: str, command: list[str], port: int, environment: dict[str, str]) -> Iterator[Server]:
    process = subprocess.Popen(
        command, env={**os.environ, **environment}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        _wait_for(port, process)
        yield Server(name, f"http://127.0.0.1:{port}", process)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(30)


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while True:
        try:
            socket.create_connection(("127.0.0.1", port), timeout=1).close()
        except OSError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{process.args!r} never listened") from None
            time.sleep(0.01)
        else:
            return


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def fetch(url: str) -> bytes:
    """A small answer, read whole."""
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(url, timeout=600) as answer:
        body: bytes = answer.read()
        return body
