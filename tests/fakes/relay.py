"""A TCP relay between a client and a real server, which breaks connections where a test says so."""

from __future__ import annotations

import contextlib
import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

_BLOCK: Final = 16 << 10
_RESET: Final = b"\1\0\0\0\0\0\0\0"  # SO_LINGER: on, zero seconds


class Relay:
    """``reached`` is set when a connection is about to break.

    ``sent``: what each connection has brought the client since ``break_once``, in bytes; clients keep connections.
    """

    def __init__(self, target: int, listening: socket.socket) -> None:
        self._target = target
        self._listening = listening
        self._after: int | None = None
        self._go = threading.Event()
        self._turn = 0
        self.sent: list[int] = []
        self.reached = threading.Event()
        self.port: int = listening.getsockname()[1]

    def break_once(self, after: int, *, wait: bool = False) -> None:
        """The connection that first brings ``after`` bytes is reset then; with ``wait`` not before ``go_on``."""
        self._turn += 1
        self.sent = []
        self.reached.clear()
        self._go.clear()
        if not wait:
            self._go.set()
        self._after = after

    def go_on(self) -> None:
        self._go.set()

    def serve(self) -> None:
        with contextlib.suppress(OSError):  # closed under its feet: the end
            while True:
                client, _ = self._listening.accept()
                threading.Thread(target=self._carry, args=(client,), daemon=True).start()

    def _carry(self, client: socket.socket) -> None:
        turn = -1
        with client, socket.create_connection(("127.0.0.1", self._target)) as server, contextlib.suppress(OSError):
            threading.Thread(target=_pour, args=(client, server), daemon=True).start()
            while block := server.recv(_BLOCK):
                client.sendall(block)
                if turn != self._turn:
                    turn, number = self._turn, len(self.sent)
                    self.sent.append(0)
                self.sent[number] += len(block)
                if self._after is not None and self.sent[number] >= self._after:
                    self._break(client)
                    return

    def _break(self, client: socket.socket) -> None:
        self._after = None
        self.reached.set()
        assert self._go.wait(60), "nobody let it go on"
        client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        client.shutdown(socket.SHUT_RD)  # wakes the other direction, which would keep the socket open


def _pour(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while block := source.recv(_BLOCK):
            target.sendall(block)
    with contextlib.suppress(OSError):
        target.shutdown(socket.SHUT_RDWR)


@contextmanager
def running_relay(target: int) -> Iterator[Relay]:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        relay = Relay(target, listening)
        thread = threading.Thread(target=relay.serve)
        thread.start()
        try:
            yield relay
        finally:
            listening.shutdown(socket.SHUT_RDWR)  # wakes the accept; closing alone would not
            thread.join()
