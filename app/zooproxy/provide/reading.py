"""The process that reads checkpoints: ``python -m zooproxy.provide.reading DESCRIPTOR`` (see ``reader_process``).

One request at a time on the socket at DESCRIPTOR, until its other end closes::

    request    8 bytes: the file's size; 64 bytes: its sha256; with them, the file's descriptor
    answer     8 bytes: the length of the rest; 1 byte: b"+" or b"-"; a tensor index as JSON, or ["class", "message"]
"""

from __future__ import annotations

import json
import os
import resource
import socket
import struct
import sys
from typing import Final

from zooproxy.digest import Sha256
from zooproxy.errors import FormatError, LimitExceeded
from zooproxy.formats.reader import read_tensor_index
from zooproxy.wire.tensors import tensor_index_to_json

REQUEST: Final = struct.Struct("<Q64s")
ANSWER: Final = struct.Struct("<Qc")

#: Bytes of address space beyond the file itself, which some containers have mapped.
MEMORY: Final = 1 << 30


def serve(descriptor: int) -> None:
    """Answers until the other end closes."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    with socket.socket(fileno=descriptor) as connection:
        while True:
            message, descriptors, _, _ = socket.recv_fds(connection, REQUEST.size, 1)
            if len(message) != REQUEST.size or len(descriptors) != 1:
                return
            size, blob = REQUEST.unpack(message)
            status, body = _answer(descriptors[0], size, Sha256(blob.decode()))
            connection.sendall(ANSWER.pack(len(body), status) + body)


def _answer(descriptor: int, size: int, blob: Sha256) -> tuple[bytes, bytes]:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY + size, resource.RLIM_INFINITY))
    try:
        with os.fdopen(descriptor, "rb") as file:
            index = read_tensor_index(file, size, blob)
            return b"+", json.dumps(tensor_index_to_json(index), separators=(",", ":")).encode()
    except FormatError as error:
        return b"-", json.dumps([type(error).__name__, str(error)]).encode()
    except (MemoryError, RecursionError):
        limit = f"reading the checkpoint takes more than {MEMORY >> 20:,} MiB of memory, or nests too deep"
        return b"-", json.dumps([LimitExceeded.__name__, limit]).encode()


if __name__ == "__main__":
    serve(int(sys.argv[1]))
