"""The built service as a real process on a free port."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx2

from zygote import Forked, zygote

_LISTENS = re.compile(r"listens on (https?://\S+)")
_PATIENCE = 60  # seconds for what takes milliseconds, or a few seconds where all else runs too

Process = Forked | subprocess.Popen[str]


def http_client() -> httpx2.Client:
    """For plain HTTP: reading the system's certificates would take twenty times as long as a request."""
    return httpx2.Client(verify=False, trust_env=False, timeout=_PATIENCE)


class ProxyProcess:
    """``url`` once it listens; ``log`` is what it has written to stderr so far."""

    def __init__(self, process: Process) -> None:
        self.process = process
        self.url = ""
        self._lines: list[str] = []
        self._listening = threading.Event()
        self._reader = threading.Thread(target=self._read)
        self._reader.start()
        assert self._listening.wait(_PATIENCE), f"the proxy never listened:\n{self.log}"
        assert self.url, f"the proxy ended at once:\n{self.log}"

    def _read(self) -> None:
        assert self.process.stderr is not None
        for line in self.process.stderr:
            self._lines.append(line)
            found = _LISTENS.search(line)
            if found and not self.url:
                self.url = found.group(1).replace("0.0.0.0", "127.0.0.1")
                self._listening.set()
        self._listening.set()

    @property
    def log(self) -> str:
        return "".join(self._lines)

    def says(self, words: str) -> bool:
        """Waits for them: a line may be read later than the answer that it is about."""
        deadline = time.monotonic() + _PATIENCE
        while words not in self.log:
            if time.monotonic() > deadline:
                return False
            time.sleep(0.01)
        return True

    def get(
        self, path: str, ref: str | None = None, headers: dict[str, str] | None = None, **query: str
    ) -> httpx2.Response:
        return self.request("GET", path, ref, headers, **query)

    def request(
        self, method: str, path: str, ref: str | None = None, headers: dict[str, str] | None = None, **query: str
    ) -> httpx2.Response:
        params = {"ref": ref, **query} if ref is not None else query
        with http_client() as client:
            return client.request(method, self.url + path, params=params, headers=headers)

    def kill(self) -> None:
        """As a power cut to the process: no handler of its own runs."""
        self.process.send_signal(signal.SIGKILL)
        self._end()

    def stop(self) -> int:
        """As a supervisor stops it; the exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self._end()

    def _end(self) -> int:
        status = self.process.wait(_PATIENCE)
        self._reader.join(_PATIENCE)
        assert self.process.stderr is not None
        self.process.stderr.close()
        return status


def clean_environment(**settings: Any) -> dict[str, str]:
    """This process's environment with nobody's ZOOPROXY variables but the ones given; maps and lists become JSON."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("ZOOPROXY")}
    given = {
        f"ZOOPROXY_{name.upper()}": value if isinstance(value, str) else json.dumps(value)
        for name, value in settings.items()
    }
    store = {name: value for name, value in os.environ.items() if name == "ZOOPROXY_CACHE_DIR"}  # the test's own
    return {**kept, **store, **given}


def spawn(data_dir: Path, within: Sequence[str] = (), **settings: Any) -> Process:
    """``zooproxy serve`` over ``data_dir``, on a free port unless told otherwise.

    ``within``: what runs it, as a program of its own from the interpreter's start; without, it is forked.
    """
    quick = {"data_dir": str(data_dir), "host": "127.0.0.1", "port": "0", "retry_seconds": "0.01"}
    environment = clean_environment(**{**quick, **settings})
    data_dir.mkdir(parents=True, exist_ok=True)
    if not within:
        return zygote().fork(["serve"], environment, data_dir)
    return subprocess.Popen(
        [*within, sys.executable, "-m", "zooproxy", "serve"],
        env=environment,
        cwd=data_dir,  # so that no zooproxy.toml of the developer's is read
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        text=True,
    )


@contextmanager
def running_proxy(data_dir: Path, within: Sequence[str] = (), **settings: Any) -> Iterator[ProxyProcess]:
    proxy = ProxyProcess(spawn(data_dir, within, **settings))
    try:
        yield proxy
    finally:
        proxy.stop()
