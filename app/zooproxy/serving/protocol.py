"""uvicorn's httptools protocol with what a server of large files needs beyond it.

* Zero copy: the ASGI extension ``http.response.zerocopysend`` (asgiref, extensions.rst) by ``sendfile``.
* A deadline and a size for request heads: uvicorn has neither, and an idle or dripping connection costs a descriptor.

Passed with uvicorn's ``http`` setting. Written against ``HttpToolsProtocol`` of uvicorn 0.54; what it leans on there
(``_start_asgi_task``, the cycle's ``send`` and ``expected_content_length``) is checked by the tests over real sockets.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol, RequestResponseCycle

from zooproxy.serving.replies import ZERO_COPY
from zooproxy.serving.sendfile import SendfilePool, Transfer

_TOO_LARGE = b"HTTP/1.1 431 Request Header Fields Too Large\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
_TOO_SLOW = b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"


class ZeroCopyProtocol(HttpToolsProtocol):
    """One connection. ``head_seconds`` and ``head_bytes`` bound each request's head."""

    pool = SendfilePool()
    head_seconds = 20.0
    head_bytes = 64 << 10

    def __init__(self, *args: Any, **keywords: Any) -> None:
        super().__init__(*args, **keywords)
        self._head_bytes = 0
        self._in_head = True
        self._head_deadline: asyncio.TimerHandle | None = None
        self._transfer: Transfer | None = None

    # -- request heads ------------------------------------------------------------------------------------

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        self._await_head()

    def data_received(self, data: bytes) -> None:
        if self._in_head:
            self._head_bytes += len(data)
        super().data_received(data)
        if self._in_head and self._head_bytes > self.head_bytes:
            self._refuse(_TOO_LARGE)

    def on_message_begin(self) -> None:
        super().on_message_begin()
        if not self._in_head:
            self._await_head()

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._head_bytes = 0
        self._cancel_deadline()
        if sum(len(name) + len(value) for name, value in self.headers) > self.head_bytes:
            self._refuse(_TOO_LARGE)
        else:
            super().on_headers_complete()

    def connection_lost(self, exc: Exception | None) -> None:
        self._cancel_deadline()
        if self._transfer is not None:
            self._transfer.abort()
        super().connection_lost(exc)

    def _await_head(self) -> None:
        self._in_head = True
        self._cancel_deadline()
        self._head_deadline = self.loop.call_later(self.head_seconds, self._refuse, _TOO_SLOW)

    def _cancel_deadline(self) -> None:
        if self._head_deadline is not None:
            self._head_deadline.cancel()
            self._head_deadline = None

    def _refuse(self, answer: bytes) -> None:
        if not self.transport.is_closing():
            self.transport.write(answer)
            self.transport.close()

    # -- zero copy ----------------------------------------------------------------------------------------

    def _start_asgi_task(self, cycle: RequestResponseCycle, app: Any) -> None:
        if self.scheme == "http":  # TLS encrypts in this process: there is nothing that the kernel could send
            app = self._offering(cycle, app)
        super()._start_asgi_task(cycle, app)

    def _offering(self, cycle: RequestResponseCycle, app: Any) -> Callable[..., Any]:
        """``app``, told of the extension and given a ``send`` that understands it."""

        async def send(message: Any) -> None:
            if message["type"] == ZERO_COPY:
                await self._send_file(cycle, message)
            else:
                await cycle.send(message)

        async def offered(scope: Any, receive: Any, _: Any) -> None:
            scope.setdefault("extensions", {})[ZERO_COPY] = {}
            await app(scope, receive, send)

        return offered

    async def _send_file(self, cycle: RequestResponseCycle, message: Any) -> None:
        count = message["count"]
        if cycle.chunked_encoding or count > cycle.expected_content_length:
            raise RuntimeError("zero-copy bodies need a Content-Length, and no more bytes than it says")
        await self._flushed()
        if self.transport.is_closing():
            cycle.disconnected = True
        if cycle.disconnected:
            return
        socket = self.transport.get_extra_info("socket").fileno()
        self._transfer = Transfer(socket, message["file"].fileno(), message["offset"], count)
        try:
            await self._transfer.send(self.pool)
        except ConnectionError:
            # The application learns of it as of any client that leaves: from ``receive``, and sends into the void.
            cycle.disconnected = True
            self.transport.abort()
            return
        finally:
            self._transfer = None
        cycle.expected_content_length -= count
        if not message.get("more_body", False):
            await cycle.send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _flushed(self) -> None:
        """Returns when the transport's own buffer is empty: what it still holds comes before the file's bytes."""
        self.transport.set_write_buffer_limits(0)
        try:
            await self.flow.drain()
        finally:
            self.transport.set_write_buffer_limits()
