"""A real nginx with a configuration of the project's own."""

from __future__ import annotations

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from components.programs import program

_PATIENCE = 10  # seconds


@contextmanager
def running_nginx(directory: Path, servers: str) -> Iterator[None]:
    """Over the ``server`` blocks given, with its own files in ``directory``; returns when it has bound its ports."""
    configuration = directory / "nginx.conf"
    user = "user root;" if os.geteuid() == 0 else ""
    configuration.write_text(
        f"daemon off; worker_processes 1; {user} pid {directory}/nginx.pid; error_log {directory}/error.log;\n"
        f"events {{ worker_connections 256; }}\n"
        f"http {{ access_log off; client_body_temp_path {directory}/body; proxy_temp_path {directory}/proxy;\n"
        f"{servers}\n}}\n"
    )
    process = subprocess.Popen([program("nginx"), "-p", str(directory), "-c", str(configuration)])
    try:
        _await_pid(directory / "nginx.pid", process)
        yield
    finally:
        process.terminate()
        process.wait(_PATIENCE)


def _await_pid(file: Path, process: subprocess.Popen[bytes]) -> None:
    """nginx writes its pid when it has bound its ports."""
    deadline = time.monotonic() + _PATIENCE
    while not file.is_file() or not file.read_text().strip():
        assert process.poll() is None, "nginx ended at once"
        assert time.monotonic() < deadline, "nginx never started"
        time.sleep(0.01)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port
