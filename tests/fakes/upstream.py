"""A real HTTP server in a thread that plays an upstream: honest by default, with a fault where a test asks for one."""

from __future__ import annotations

import os
import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import BinaryIO

Behaviour = Callable[[BaseHTTPRequestHandler], None]


class Upstream:
    """``put`` what it serves, read ``seen`` for what it was asked. Paths include the query."""

    def __init__(self, port: int, scheme: str = "http") -> None:
        self.port = port
        self.url = f"{scheme}://127.0.0.1:{port}"
        self.seen: list[str] = []
        self.methods: list[str] = []
        self.peers: list[tuple[str, int]] = []
        self.headers: list[dict[str, str]] = []
        self._behaviours: dict[str, Behaviour] = {}

    def put(self, path: str, what: bytes | Behaviour) -> str:
        """Serves ``what`` at ``path``; returns the URL."""
        self._behaviours[path] = honest(what) if isinstance(what, bytes) else what
        return self.url + path

    def answer(self, handler: BaseHTTPRequestHandler) -> None:
        self.seen.append(handler.path)
        self.methods.append(handler.command)
        self.peers.append(handler.client_address)
        self.headers.append({name.lower(): value for name, value in handler.headers.items()})
        self._behaviours.get(handler.path, status(404))(handler)


@contextmanager
def running_upstream(tls: ssl.SSLContext | None = None) -> Iterator[Upstream]:
    """Listens on every address of loopback, so that one server can play many hosts (127.0.1.1, 127.0.2.1, …)."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            upstream.answer(self)

        def do_HEAD(self) -> None:
            everything = self.wfile
            self.wfile = _FirstWrite(everything)  # type: ignore[assignment]  # as far as behaviours use it
            upstream.answer(self)
            self.wfile = everything

        def log_message(self, *_: object) -> None:
            """Silence: the tests read ``seen``."""

    class Server(ThreadingHTTPServer):
        daemon_threads = True
        request_queue_size = 256

        def verify_request(self, request: object, client_address: tuple[str, int]) -> bool:
            return client_address[0].startswith("127.")

        def handle_error(self, request: object, client_address: object) -> None:
            """Clients that leave in the middle are part of the play."""

    server = Server(("0.0.0.0", 0), Handler)
    if tls is not None:  # the handshake is the handler's: the accepting thread waits for nobody
        server.socket = tls.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
    upstream = Upstream(server.server_address[1], "http" if tls is None else "https")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield upstream
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


class _FirstWrite:
    """Lets the head pass, which is written at once, and no body."""

    def __init__(self, inner: BinaryIO) -> None:
        self._inner = inner
        self._passed = False

    def write(self, data: bytes) -> int:
        if not self._passed:
            self._passed = True
            self._inner.write(data)
        return len(data)

    def flush(self) -> None:
        self._inner.flush()


def _head(handler: BaseHTTPRequestHandler, code: int, **headers: str) -> None:
    handler.send_response(code)
    for name, value in headers.items():
        handler.send_header(name.replace("_", "-"), value)
    handler.end_headers()


def honest(body: bytes) -> Behaviour:
    def behave(handler: BaseHTTPRequestHandler) -> None:
        _head(handler, 200, Content_Length=str(len(body)))
        handler.wfile.write(body)

    return behave


def answer(code: int, body: bytes, **headers: str) -> Behaviour:
    def behave(handler: BaseHTTPRequestHandler) -> None:
        _head(handler, code, Content_Length=str(len(body)), **headers)
        handler.wfile.write(body)

    return behave


def status(code: int, body: bytes = b"no\n") -> Behaviour:
    def behave(handler: BaseHTTPRequestHandler) -> None:
        _head(handler, code, Content_Length=str(len(body)))
        handler.wfile.write(body)

    return behave


def redirect(target: str, code: int = 302) -> Behaviour:
    return lambda handler: _head(handler, code, Location=target, Content_Length="0")


def truncated(body: bytes, after: int) -> Behaviour:
    """Declares the whole length and hangs up after ``after`` bytes."""

    def behave(handler: BaseHTTPRequestHandler) -> None:
        _head(handler, 200, Content_Length=str(len(body)))
        handler.wfile.write(body[:after])
        handler.close_connection = True

    return behave


def reset(body: bytes, after: int) -> Behaviour:
    """As ``truncated``, with a TCP reset."""

    def behave(handler: BaseHTTPRequestHandler) -> None:
        handler.close_connection = True
        _head(handler, 200, Content_Length=str(len(body)))
        handler.wfile.write(body[:after])
        handler.wfile.flush()
        handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        os.close(handler.connection.detach())  # close() would wait for the handler's own files over the socket

    return behave


def close_delimited(body: bytes, version: str = "HTTP/1.1") -> Behaviour:
    """No length at all: the end of the connection is the end of the body, wherever it comes."""

    def behave(handler: BaseHTTPRequestHandler) -> None:
        handler.protocol_version = version
        _head(handler, 200, Connection="close")
        handler.wfile.write(body)
        handler.close_connection = True

    return behave


def chunked(body: bytes, size: int = 1000) -> Behaviour:
    def behave(handler: BaseHTTPRequestHandler) -> None:
        _head(handler, 200, Transfer_Encoding="chunked")
        for start in range(0, len(body), size):
            chunk = body[start : start + size]
            handler.wfile.write(b"%x\r\n%s\r\n" % (len(chunk), chunk))
        handler.wfile.write(b"0\r\n\r\n")

    return behave


def declaring(body: bytes, length: int) -> Behaviour:
    """Sends ``body`` and says that it has ``length`` bytes."""

    def behave(handler: BaseHTTPRequestHandler) -> None:
        _head(handler, 200, Content_Length=str(length))
        handler.wfile.write(body)
        handler.close_connection = True

    return behave


def overlong(body: bytes, more: bytes) -> Behaviour:
    """Sends ``more`` after the body that it has announced, and keeps the connection."""

    def behave(handler: BaseHTTPRequestHandler) -> None:
        _head(handler, 200, Content_Length=str(len(body)))
        handler.wfile.write(body + more)

    return behave


def dripping(body: bytes, seconds: float) -> Behaviour:
    """One byte every so many ``seconds``, for as long as somebody reads."""

    def behave(handler: BaseHTTPRequestHandler) -> None:
        _head(handler, 200, Content_Length=str(len(body)))
        _drip(handler, body, seconds)

    return behave


def dripping_head(seconds: float) -> Behaviour:
    return lambda handler: _drip(handler, b"HTTP/1.1 200 OK\r\nX-Waits: " + b"w" * 10_000, seconds)


def _drip(handler: BaseHTTPRequestHandler, data: bytes, seconds: float) -> None:
    handler.close_connection = True
    for number in range(len(data)):
        handler.wfile.write(data[number : number + 1])
        time.sleep(seconds)


def silent(handler: BaseHTTPRequestHandler) -> None:
    """Takes the request and answers nothing until the client leaves."""
    handler.close_connection = True
    handler.rfile.read(1)


def stalling(body: bytes, after: int) -> Behaviour:
    """As ``Ranged``, but not a byte comes after the position ``after``; returns when the client leaves."""
    return lambda handler: _stall(handler, body, after)


def _stall(handler: BaseHTTPRequestHandler, body: bytes, after: int) -> None:
    start, total = _range_start(handler), len(body)
    headers = {"Content_Length": str(total - start), "ETag": '"v1"'}
    if start:
        headers["Content_Range"] = f"bytes {start}-{total - 1}/{total}"
    _head(handler, 206 if start else 200, **headers)
    handler.wfile.write(body[start:after])
    handler.wfile.flush()
    silent(handler)


def _range_start(handler: BaseHTTPRequestHandler) -> int:
    asked = handler.headers.get("Range", "bytes=0-")
    return int(asked.removeprefix("bytes=").partition("-")[0])


def encoded(body: bytes, encoding: str = "gzip") -> Behaviour:
    def behave(handler: BaseHTTPRequestHandler) -> None:
        _head(handler, 200, Content_Length=str(len(body)), Content_Encoding=encoding)
        handler.wfile.write(body)

    return behave


class Gate:
    """Sends the head and ``after`` bytes, then waits until the test opens it."""

    def __init__(self, body: bytes, after: int) -> None:
        self._body = body
        self._after = after
        self.reached = threading.Event()
        self._open = threading.Event()

    def open(self) -> None:
        self._open.set()

    @property
    def is_open(self) -> bool:
        return self._open.is_set()

    def __call__(self, handler: BaseHTTPRequestHandler) -> None:
        _head(handler, 200, Content_Length=str(len(self._body)))
        handler.wfile.write(self._body[: self._after])
        handler.wfile.flush()
        self.reached.set()
        assert self._open.wait(60), "nobody opened the gate"
        handler.wfile.write(self._body[self._after :])


def in_turn(*behaviours: Behaviour) -> Behaviour:
    """Each request gets the next behaviour; the last one stays."""
    left = list(behaviours)
    return lambda handler: (left.pop(0) if len(left) > 1 else left[0])(handler)


class Ranged:
    """Ranges and a strong entity tag, as a good host has them.

    The first answers are cut short after ``cuts`` bytes each; every one begins after ``delay`` seconds, and stops at
    the byte ``hold`` until the test opens it.
    """

    def __init__(
        self,
        body: bytes,
        etag: str | None = '"v1"',
        cuts: Sequence[int] = (),
        delay: float = 0.0,
        hold: int | None = None,
    ) -> None:
        self.body = body
        self.etag = etag
        self.reached = threading.Event()
        self._open = threading.Event()
        self._hold = hold
        self._cuts = list(cuts)
        self._delay = delay

    def open(self) -> None:
        self._open.set()

    def __call__(self, handler: BaseHTTPRequestHandler) -> None:
        time.sleep(self._delay)
        start = self._start(handler)
        total = len(self.body)
        tag = {} if self.etag is None else {"ETag": self.etag}
        if self.etag is not None and handler.headers.get("If-None-Match") == self.etag:
            _head(handler, 304, **tag)
            return
        length = str(total - start)
        if start:
            _head(handler, 206, Content_Length=length, Content_Range=f"bytes {start}-{total - 1}/{total}", **tag)
        else:
            _head(handler, 200, Content_Length=length, **tag)
        rest = self.body[start:]
        cut = self._cuts.pop(0) if self._cuts else len(rest)
        if self._hold is not None and start <= self._hold:
            handler.wfile.write(rest[: self._hold - start])
            handler.wfile.flush()
            self.reached.set()
            assert self._open.wait(60), "nobody opened it"
            handler.wfile.write(rest[self._hold - start : cut])
        else:
            handler.wfile.write(rest[:cut])
        handler.close_connection = cut < len(rest)

    def _start(self, handler: BaseHTTPRequestHandler) -> int:
        condition = handler.headers.get("If-Range")
        return 0 if condition is not None and condition != self.etag else _range_start(handler)


class Parts:
    """A good host that is asked for parts: ranges with an end, a strong entity tag, If-Range and If-Match.

    ``faults`` are behaviours by the position that a request begins at; each is met once. ``asked`` are the ranges that
    were sent whole, ``most`` the most requests at once. ``rate`` is in bytes per second of each connection. What begins
    at ``hold`` or later waits until the test opens it.
    """

    def __init__(
        self,
        body: bytes,
        etag: str | None = '"v1"',
        faults: Mapping[int, Behaviour] | None = None,
        rate: float = 0.0,
        hold: int | None = None,
    ) -> None:
        self.body = body
        self.etag = etag
        self.asked: list[tuple[int, int]] = []
        self.most = 0
        self.held = threading.Semaphore(0)
        self._faults = dict(faults or {})
        self._rate = rate
        self._hold = hold
        self._open = threading.Event()
        self._running = 0
        self._turn = threading.Lock()

    def open(self) -> None:
        self._open.set()

    def __call__(self, handler: BaseHTTPRequestHandler) -> None:
        start, stop = self._range(handler)
        with self._turn:
            fault = self._faults.pop(start, None)
            self._running += 1
            self.most = max(self.most, self._running)
        try:
            if fault is not None:
                fault(handler)
                return
            if self._hold is not None and start >= self._hold:
                self.held.release()
                assert self._open.wait(60), "nobody opened it"
            self._send(handler, start, stop)
        finally:
            with self._turn:
                self._running -= 1

    def _send(self, handler: BaseHTTPRequestHandler, start: int, stop: int) -> None:
        total = len(self.body)
        tag = {} if self.etag is None else {"ETag": self.etag}
        if "Range" in handler.headers and self._is_met(handler):
            _head(
                handler,
                206,
                Content_Length=str(stop - start),
                Content_Range=f"bytes {start}-{stop - 1}/{total}",
                **tag,
            )
        else:
            start, stop = 0, total
            _head(handler, 200, Content_Length=str(total), **tag)
        step = max(1, int(self._rate / 50)) if self._rate else stop - start
        for position in range(start, stop, max(1, step)):
            handler.wfile.write(self.body[position : min(position + step, stop)])
            if self._rate:
                time.sleep(step / self._rate)
        with self._turn:
            self.asked.append((start, stop))

    def _is_met(self, handler: BaseHTTPRequestHandler) -> bool:
        return handler.headers.get("If-Range") in (None, self.etag)

    def _range(self, handler: BaseHTTPRequestHandler) -> tuple[int, int]:
        first, _, last = handler.headers.get("Range", "bytes=0-").removeprefix("bytes=").partition("-")
        total = len(self.body)
        return int(first), min(int(last) + 1, total) if last else total


def part(body: bytes, start: int, stop: int, etag: str = '"v1"', total: int | None = None) -> Behaviour:
    """A 206 that claims to be ``start`` to ``stop`` of ``total`` bytes, whatever it was asked for."""
    claimed = f"bytes {start}-{stop - 1}/{len(body) if total is None else total}"
    return answer(206, body[start:stop], Content_Range=claimed, ETag=etag)


def cut_part(body: bytes, start: int, stop: int, after: int, *, by_reset: bool = False) -> Behaviour:
    """A right 206 that hangs up ``after`` bytes, or resets the connection there."""

    def behave(handler: BaseHTTPRequestHandler) -> None:
        handler.close_connection = True
        claimed = f"bytes {start}-{stop - 1}/{len(body)}"
        _head(handler, 206, Content_Length=str(stop - start), Content_Range=claimed, ETag='"v1"')
        handler.wfile.write(body[start : start + after])
        handler.wfile.flush()
        if by_reset:
            handler.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            os.close(handler.connection.detach())

    return behave


def stalled_part(body: bytes, start: int, stop: int, after: int) -> Behaviour:
    """A right 206 that falls silent ``after`` bytes, until its client leaves."""

    def behave(handler: BaseHTTPRequestHandler) -> None:
        handler.close_connection = True
        claimed = f"bytes {start}-{stop - 1}/{len(body)}"
        _head(handler, 206, Content_Length=str(stop - start), Content_Range=claimed, ETag='"v1"')
        handler.wfile.write(body[start : start + after])
        handler.wfile.flush()
        handler.connection.settimeout(30)
        while handler.connection.recv(1 << 16):
            pass

    return behave
