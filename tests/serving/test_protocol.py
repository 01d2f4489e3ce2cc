"""The protocol over real sockets: zero-copy bodies, orders of requests, clients that misbehave. On both event loops."""

from __future__ import annotations

import asyncio
import http.client
import logging
import os
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
import uvicorn
import uvloop
from starlette.requests import Request

from zooproxy.cache.blobs import HeldBlob
from zooproxy.cache.local import LocalBlob
from zooproxy.digest import Sha256
from zooproxy.formats.segments import BlobRange, Literal, Segment
from zooproxy.serving.protocol import ZeroCopyProtocol
from zooproxy.serving.replies import Representation, reply

SIZE = 24 << 20


class Hasty(ZeroCopyProtocol):
    head_seconds = 0.3
    head_bytes = 4096


@dataclass
class Served:
    """A server in a thread; ``show`` sets what it answers with."""

    port: int
    blob: HeldBlob
    data: bytes
    segments: tuple[Segment, ...] = ()
    left: threading.Event = None  # type: ignore[assignment]

    def show(self, *segments: Segment) -> bytes:
        """Serves ``segments``; returns the bytes that they are."""
        self.segments = segments
        return b"".join(
            segment.data
            if isinstance(segment, Literal)
            else self.data[segment.offset : segment.offset + segment.length]
            for segment in segments
        )

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.port), timeout=30)

    def get(self, headers: dict[str, str] | None = None, method: str = "GET") -> tuple[int, bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        try:
            connection.request(method, "/", headers=headers or {})
            answer = connection.getresponse()
            return answer.status, answer.read()
        finally:
            connection.close()


@pytest.fixture(scope="module", params=[asyncio.SelectorEventLoop, uvloop.Loop], ids=["asyncio", "uvloop"])
def served(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    path = tmp_path_factory.mktemp("blobs") / "blob"
    data = os.urandom(SIZE)
    path.write_bytes(data)
    listening = socket.create_server(("127.0.0.1", 0), backlog=512)
    served = Served(listening.getsockname()[1], LocalBlob(Sha256.of(data), SIZE, path), data)
    with running(listening, served, request.param):
        yield served


class running:  # noqa: N801  # reads as what it is: `with running(…)`
    """uvicorn with the protocol under test, on ``listening``, in a thread with an event loop of its own."""

    def __init__(self, listening: socket.socket, served: Served, loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
        async def app(scope: dict, receive: object, send: object) -> None:
            what = Representation(served.blob, served.segments, length_of(served.segments), '"tag"', "net.pth")
            await reply(Request(scope), what, {})(scope, receive, send)  # type: ignore[arg-type]

        config = uvicorn.Config(app, http=Hasty, lifespan="off", log_config=None, timeout_graceful_shutdown=10)
        self.server = uvicorn.Server(config)
        self._listening = listening
        self._loop = loop
        self.thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        with self._listening, asyncio.Runner(loop_factory=self._loop) as runner:
            runner.run(self.server.serve([self._listening]))

    def __enter__(self) -> uvicorn.Server:
        self.thread.start()
        return self.server

    def __exit__(self, *_: object) -> None:
        self.server.should_exit = True
        self.thread.join(30)
        assert not self.thread.is_alive()


def length_of(segments: tuple[Segment, ...]) -> int:
    return sum(len(segment.data) if isinstance(segment, Literal) else segment.length for segment in segments)


def read_all(connection: socket.socket) -> bytes:
    with connection.makefile("rb") as file:
        return file.read()


def split(answers: bytes) -> tuple[bytes, bytes]:
    """The first answer's head, and all that follows it."""
    head, _, rest = answers.partition(b"\r\n\r\n")
    return head, rest


def test_a_whole_blob_arrives_bit_for_bit(served: Served) -> None:
    expected = served.show(BlobRange(0, SIZE))
    assert served.get() == (200, expected)


def test_heads_small_ranges_and_large_ones_arrive_in_order(served: Served) -> None:
    small = [BlobRange(at * 1000, 100) for at in range(3000)]
    expected = served.show(
        Literal(b"head"), BlobRange(7, 1 << 20), *small, Literal(b""), BlobRange(3, 200_000), Literal(b"tail"), *small
    )
    assert served.get() == (200, expected)


@pytest.mark.parametrize(("start", "end"), [(0, 0), (3, 5), (100, 1_500_000), (SIZE - 5, SIZE + 3)])
def test_a_range_cuts_across_segments(served: Served, start: int, end: int) -> None:
    whole = served.show(Literal(b"head"), BlobRange(0, SIZE - 50), BlobRange(9, 50))
    assert served.get({"Range": f"bytes={start}-{end}"}) == (206, whole[start : end + 1])


def test_head_sends_no_body_and_leaves_the_connection_usable(served: Served) -> None:
    expected = served.show(BlobRange(0, 1 << 20))
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=30)
    for method, body in (("HEAD", b""), ("GET", expected), ("HEAD", b""), ("GET", expected)):
        connection.request(method, "/")
        answer = connection.getresponse()
        assert answer.read() == body
        assert answer.getheader("content-length") == str(len(expected))
    connection.close()


def test_pipelined_requests_are_answered_in_order(served: Served) -> None:
    expected = served.show(BlobRange(5, 3 << 20))
    with served.connect() as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n" * 3 + b"GET / HTTP/1.0\r\n\r\n")
        rest = read_all(connection)
    for _ in range(4):
        head, rest = split(rest)
        assert head.startswith(b"HTTP/1.1 200")
        body, rest = rest[: len(expected)], rest[len(expected) :]
        assert body == expected
    assert rest == b""


def test_http_1_0_ends_with_the_connection(served: Served) -> None:
    expected = served.show(BlobRange(0, SIZE))
    with served.connect() as connection:
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        head, body = split(read_all(connection))
    assert b"connection: close" in head
    assert body == expected


def test_many_slow_readers_at_once_get_every_byte(served: Served) -> None:
    expected = served.show(BlobRange(0, 8 << 20))

    turn = threading.Event()

    def read_slowly(_: int) -> bool:
        with served.connect() as connection:
            connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
            parts = []
            while part := connection.recv(1 << 18):
                parts.append(part)
                turn.wait(0.002)
        return split(b"".join(parts))[1] == expected

    with ThreadPoolExecutor(24) as clients:
        assert all(clients.map(read_slowly, range(24)))


def descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_clients_that_leave_in_the_middle_leave_no_descriptor_behind(served: Served) -> None:
    served.show(BlobRange(0, 1 << 20))
    assert served.get()[0] == 200
    before = descriptors()
    served.show(BlobRange(0, SIZE))
    for _ in range(20):
        with served.connect() as connection:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            assert connection.recv(1)
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    until(lambda: descriptors() <= before)


def until(condition: Callable[[], bool]) -> None:
    """Waits for what another thread does on its own; there is no event to wait for when it is the kernel's."""
    turn = threading.Event()
    for _ in range(1000):
        if condition():
            return
        turn.wait(0.01)
    pytest.fail("it never came to that")


def test_a_client_that_shuts_its_side_down_costs_the_server_nothing(served: Served) -> None:
    served.show(BlobRange(0, SIZE))
    with served.connect() as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        connection.shutdown(socket.SHUT_WR)
        read_all(connection)
    assert served.get()[0] == 200


def test_a_blob_that_is_shorter_than_it_was_ends_short_of_content_length(
    served: Served, caplog: pytest.LogCaptureFixture
) -> None:
    served.show(BlobRange(SIZE - 1000, 1_000_000))
    with caplog.at_level(logging.CRITICAL), pytest.raises(http.client.IncompleteRead):
        served.get()
    served.show(BlobRange(SIZE - 1000, 2000))
    with caplog.at_level(logging.CRITICAL), pytest.raises(http.client.IncompleteRead):
        served.get()


@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost: x\r\nX: "])
def test_a_head_that_does_not_come_is_408_after_its_deadline(served: Served, sent: bytes) -> None:
    with served.connect() as connection:
        connection.sendall(sent)
        assert read_all(connection).startswith(b"HTTP/1.1 408")


def test_the_deadline_holds_for_the_second_head_of_a_connection_too(served: Served) -> None:
    expected = served.show(BlobRange(0, 1000))
    with served.connect() as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\nGET / HTTP/1.1\r\nX: ")
        _, rest = split(read_all(connection))
    assert rest.startswith(expected + b"HTTP/1.1 408")


@pytest.mark.parametrize("end", [b"", b"\r\n\r\n"])
def test_a_head_that_is_too_large_is_431(served: Served, end: bytes) -> None:
    with served.connect() as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 5000 + end)
        assert read_all(connection).startswith(b"HTTP/1.1 431")


@pytest.mark.parametrize("loop", [asyncio.SelectorEventLoop, uvloop.Loop])
def test_shutdown_lets_running_transfers_finish(loop: Callable[[], asyncio.AbstractEventLoop], tmp_path: Path) -> None:
    data = os.urandom(SIZE)
    (tmp_path / "blob").write_bytes(data)
    listening = socket.create_server(("127.0.0.1", 0))
    served = Served(listening.getsockname()[1], LocalBlob(Sha256.of(data), SIZE, tmp_path / "blob"), data)
    expected = served.show(BlobRange(0, SIZE))
    with running(listening, served, loop) as server, served.connect() as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
        first = connection.recv(1000)
        server.should_exit = True
        _, body = split(first + read_all(connection))
        assert body == expected
