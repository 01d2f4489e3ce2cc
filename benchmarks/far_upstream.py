"""An upstream that is far away: ``python -m benchmarks.far_upstream ROOT PORT [--latency S] [--each B] [--all B]``.

Files of ROOT with ranges and a strong entity tag, by sendfile. ``latency`` is a round trip in seconds: a connection is
answered one after it was made, and each request one after it came. ``each`` and ``all`` are bytes per second of every
connection, and of all of them together. ``/told`` answers how many bodies were asked for and how many bytes were sent.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import socket
import time
from dataclasses import dataclass, field
from pathlib import Path

_SLICE = 128 << 10
_CATCH_UP = 0.25  # seconds


@dataclass
class Pace:
    """Bytes per second; 0 is any."""

    rate: float
    free_at: float = 0.0

    async def take(self, size: int) -> None:
        if self.rate:
            now = time.monotonic()
            # Who was woken late catches up: a link does not go slower because this process was not scheduled.
            self.free_at = max(self.free_at, now - _CATCH_UP) + size / self.rate
            await asyncio.sleep(self.free_at - now)


@dataclass
class Upstream:
    root: Path
    latency: float
    each: float
    together: Pace
    bodies: int = 0
    sent: int = 0
    connections: set[asyncio.Task[None]] = field(default_factory=set)

    async def serve(self, port: int) -> None:
        loop = asyncio.get_running_loop()
        with socket.create_server(("127.0.0.1", port), backlog=256) as listening:
            listening.setblocking(False)
            while True:
                client, _ = await loop.sock_accept(listening)
                task = asyncio.create_task(self._connection(client))
                self.connections.add(task)
                task.add_done_callback(self.connections.discard)

    async def _connection(self, client: socket.socket) -> None:
        loop, pace, held = asyncio.get_running_loop(), Pace(self.each), b""
        client.setblocking(False)
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        await asyncio.sleep(self.latency)
        try:
            with client:
                while True:
                    while b"\r\n\r\n" not in held:
                        more = await loop.sock_recv(client, 1 << 16)
                        if not more:
                            return
                        held += more
                    head, _, held = held.partition(b"\r\n\r\n")
                    await asyncio.sleep(self.latency)
                    await self._answer(client, head.decode("latin-1"), pace)
        except ConnectionError:
            return

    async def _answer(self, client: socket.socket, head: str, pace: Pace) -> None:
        loop = asyncio.get_running_loop()
        path = head.split(" ", 2)[1]
        if path == "/told":
            body = f"{self.bodies} {self.sent}".encode()
            await loop.sock_sendall(client, b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))
            return
        self.bodies += 1
        with (self.root / path.lstrip("/")).open("rb") as file:
            total = file.seek(0, 2)
            asked = re.search(r"^range: bytes=(\d+)-(\d*)", head, re.MULTILINE | re.IGNORECASE)
            start = int(asked[1]) if asked else 0
            stop = min(int(asked[2]) + 1, total) if asked and asked[2] else total
            status = f"206 Partial Content\r\nContent-Range: bytes {start}-{stop - 1}/{total}" if asked else "200 OK"
            told = f'HTTP/1.1 {status}\r\nContent-Length: {stop - start}\r\nETag: "{total}"\r\n\r\n'
            await loop.sock_sendall(client, told.encode())
            for at in range(start, stop, _SLICE):
                size = min(_SLICE, stop - at)
                await pace.take(size)
                await self.together.take(size)
                await loop.sock_sendfile(client, file, at, size)
                self.sent += size


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("root", type=Path)
    parser.add_argument("port", type=int)
    for name in ("latency", "each", "all"):
        parser.add_argument(f"--{name}", type=float, default=0.0)
    options = parser.parse_args()
    asyncio.run(Upstream(options.root, options.latency, options.each, Pace(options.all)).serve(options.port))


if __name__ == "__main__":
    main()
