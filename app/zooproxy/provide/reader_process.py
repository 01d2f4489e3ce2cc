"""Reads tensor indexes in a process of its own, under limits of memory and time: a second wall behind the reader's own.

The process is started when first needed and kept; it is given open files, never paths, and never imports torch.
"""

from __future__ import annotations

import json
import logging
import socket
import subprocess
import sys
import threading
from typing import BinaryIO, Final

from zooproxy.digest import Sha256
from zooproxy.errors import FormatError, LimitExceeded, MalformedCheckpoint, UnsupportedFormat
from zooproxy.formats.reader import read_tensor_index
from zooproxy.provide.reading import ANSWER, REQUEST
from zooproxy.wire.tensors import TensorIndex, tensor_index_from_json

_log = logging.getLogger(__name__)

#: Seconds for one index. The largest honest ones take less than one.
SECONDS: Final = 30.0
_LONGEST_ANSWER: Final = 1 << 30
_ERRORS: Final = {kind.__name__: kind for kind in (FormatError, MalformedCheckpoint, LimitExceeded, UnsupportedFormat)}


class ReaderProcess:
    """One process, one file at a time; callers in several threads wait for each other."""

    def __init__(self, seconds: float = SECONDS) -> None:
        self._seconds = seconds
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._connection: socket.socket | None = None

    def read(self, file: BinaryIO, size: int, blob: Sha256) -> TensorIndex:
        """As ``read_tensor_index``; a file without a descriptor is read here.

        Raises:
            LimitExceeded: it takes more memory or time than any honest checkpoint does; or what the reader raises.
        """
        try:
            descriptor = file.fileno()
        except OSError:
            return read_tensor_index(file, size, blob)
        with self._lock:
            status, body = self._asked(descriptor, size, blob)
        if status == b"+":
            return tensor_index_from_json(json.loads(body))
        name, message = json.loads(body)
        raise _ERRORS.get(name, MalformedCheckpoint)(message)

    def _asked(self, descriptor: int, size: int, blob: Sha256) -> tuple[bytes, bytes]:
        try:
            connection = self._connection or self._start()
            socket.send_fds(connection, [REQUEST.pack(size, blob.encode())], [descriptor])
            length, status = ANSWER.unpack(_received(connection, ANSWER.size))
            return status, _received(connection, min(length, _LONGEST_ANSWER))
        except TimeoutError as error:
            self._kill()
            raise LimitExceeded(f"reading the checkpoint takes longer than {self._seconds:g} seconds") from error
        except (EOFError, OSError) as error:
            _log.error("the reader's process ended on the blob %s", blob)
            self._kill()
            raise LimitExceeded("reading the checkpoint takes more memory than any honest one does") from error

    def _start(self) -> socket.socket:
        ours, theirs = socket.socketpair()
        with theirs:
            command = [sys.executable, "-m", "zooproxy.provide.reading", str(theirs.fileno())]
            self._process = subprocess.Popen(command, stdin=subprocess.DEVNULL, pass_fds=[theirs.fileno()])  # noqa: S603
        ours.settimeout(self._seconds)
        self._connection = ours
        return ours

    def _kill(self) -> None:
        if self._process is not None:
            self._process.kill()
        self._end()

    def _end(self) -> None:
        if self._connection is not None:
            self._connection.close()
        if self._process is not None:
            try:
                self._process.wait(5)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._connection = self._process = None

    def close(self) -> None:
        """Ends the process, after the file that it reads."""
        with self._lock:
            self._end()


def _received(connection: socket.socket, length: int) -> bytes:
    """
    Raises:
        EOFError: the other end closed before ``length`` bytes.
        TimeoutError: it sends nothing for too long.
    """
    received = bytearray()
    while len(received) < length:
        block = connection.recv(min(length - len(received), 1 << 20))
        if not block:
            raise EOFError
        received += block
    return bytes(received)
