"""Processes of the ``zooproxy`` command, forked from one that has imported the service already.

::

    pytest ── arguments, environment, streams ──> zygote ── fork ──> zooproxy serve
       │  <── its process id, later its exit status: a pipe for each ──┘

Two thirds of a start are imports, and there are a hundred starts in the tests. What is forked is the command all the
same: a process of its own with the environment, directory and streams that it was given, from ``main`` to the
interpreter's end. A test of what comes before ``main`` starts ``python -m zooproxy``.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from functools import cache
from importlib import import_module
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO

_NUMBER = struct.Struct("q")
_LONGEST = 1 << 20
_WHEN_IT_SERVES = ("zooproxy.serving.server", "alembic.command", "pysqlite3", "uvloop", "anyio._backends._asyncio")


class Forked:
    """As far as the tests need it, the ``subprocess.Popen`` of a process."""

    def __init__(self, told: int, stderr: IO[str]) -> None:
        self.stderr = stderr
        self.returncode: int | None = None
        self._told = told
        self.pid = self._number()

    def poll(self) -> int | None:
        return self._ended(0)

    def wait(self, timeout: float | None = None) -> int:
        status = self._ended(timeout)
        if status is None:
            raise subprocess.TimeoutExpired("zooproxy", timeout or 0)
        return status

    def communicate(self, timeout: float | None = None) -> tuple[None, str]:
        self.wait(timeout)
        with self.stderr:
            return None, self.stderr.read()

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def _ended(self, timeout: float | None) -> int | None:
        if self.returncode is None and select.select([self._told], [], [], timeout)[0]:
            self.returncode = self._number()
            os.close(self._told)
        return self.returncode

    def _number(self) -> int:
        (number,) = _NUMBER.unpack(os.read(self._told, _NUMBER.size))
        return int(number)


class Zygote:
    """Started when it is first needed."""

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._control, self._its = socket.socketpair(type=socket.SOCK_SEQPACKET)
        self._starting = threading.Lock()

    def fork(self, arguments: Sequence[str], environment: Mapping[str, str], directory: Path, out: int = -1) -> Forked:
        """``zooproxy`` with these arguments; ``out``: where its standard output goes, instead of nowhere."""
        with self._starting:
            if self._process is None:
                self._start()
        told, tells = os.pipe()
        errors, stderr = os.pipe()
        asked = json.dumps([list(arguments), dict(environment), str(directory)]).encode()
        socket.send_fds(self._control, [asked], [tells, stderr] + [out] * (out >= 0))
        os.close(tells)
        os.close(stderr)
        return Forked(told, os.fdopen(errors, encoding="utf-8"))

    def run(
        self, arguments: Sequence[str], environment: Mapping[str, str], directory: Path
    ) -> subprocess.CompletedProcess[str]:
        """The same, until its end and with its output."""
        with TemporaryFile("w+", encoding="utf-8") as out:
            process = self.fork(arguments, environment, directory, out.fileno())
            _, complaint = process.communicate(60)
            out.seek(0)
            return subprocess.CompletedProcess(["zooproxy", *arguments], process.wait(), out.read(), complaint)

    def close(self) -> None:
        self._control.close()
        self._its.close()
        if self._process is not None:
            assert self._process.wait(60) == 0

    def _start(self) -> None:
        command = [sys.executable, "-P", __file__, str(self._its.fileno())]
        self._process = subprocess.Popen(command, pass_fds=[self._its.fileno()], stdout=subprocess.DEVNULL)
        self._its.close()


@cache
def zygote() -> Zygote:
    """This session's: one for each process of pytest's."""
    return Zygote()


class _Forking:
    """In the zygote: waits for what to become."""

    def __init__(self, control: socket.socket) -> None:
        self._control = control
        self._tells: dict[int, int] = {}  # to whom each child's end is told
        signal.signal(signal.SIGCHLD, self._tell_ends)

    def until_forked(self) -> list[str] | None:
        """The arguments of the command, in each process that is to run it; None in the zygote, at the end."""
        while True:
            asked, descriptors, _, _ = socket.recv_fds(self._control, _LONGEST, 3)
            if not asked:
                return None
            tells, *streams = descriptors
            signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGCHLD])  # no end before it is known whose it is
            child = os.fork()
            if not child:
                return self._become(asked, tells, streams)
            self._tells[child] = tells
            os.write(tells, _NUMBER.pack(child))
            for stream in streams:
                os.close(stream)
            signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])

    def _become(self, asked: bytes, tells: int, streams: list[int]) -> list[str]:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGCHLD])
        for stream, its in zip(streams, (2, 1), strict=False):
            os.dup2(stream, its)
        self._control.close()
        for descriptor in (tells, *streams, *self._tells.values()):
            os.close(descriptor)
        arguments, environment, directory = json.loads(asked)
        os.environ.clear()
        os.environ.update(environment)
        os.chdir(directory)
        return list(arguments)

    def _tell_ends(self, *_: object) -> None:
        while self._tells:
            child, status = os.waitpid(-1, os.WNOHANG)
            if not child:
                return
            tells = self._tells.pop(child)
            os.write(tells, _NUMBER.pack(os.waitstatus_to_exitcode(status)))
            os.close(tells)


if __name__ == "__main__":
    from zooproxy.cli import main
    from zooproxy.names.catalog import Catalog

    Catalog.shipped().prepare()
    Catalog.shipped().allowed()
    for imported in _WHEN_IT_SERVES:
        import_module(imported)
    gc.freeze()  # a collection in a child need not copy what all have
    arguments = _Forking(socket.socket(fileno=int(sys.argv[1]))).until_forked()
    sys.exit(0 if arguments is None else main(arguments))
