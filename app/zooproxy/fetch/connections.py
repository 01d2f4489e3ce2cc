"""Connections that are not used again when an upstream has sent more on them than it had announced; and large bodies
straight from them.

What comes after a body would be read as the answer to the next request on that connection: the HTTP library keeps it in
its buffer. Whoever can make a server send a body that is too long could so answer for any other file of that host.

The library takes a body through its parser, which copies every byte three times and turns over a dozen coroutines for
each block: more than all else that a proxy does to it but hashing. A body of a declared length needs no parser. It is
read here, block by block as the kernel has it; the library never sees it, and so closes the connection afterwards.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator
from typing import Any, Final

import httpcore2

READ: Final = 1 << 20

_HEAD_ENDS: Final = b"\r\n\r\n"


class CountedStream(httpcore2.AsyncNetworkStream):
    """Counts what comes after each request. One that is spoilt says that it is readable, and so is never reused.

    It takes whatever has come, up to ``READ``. The HTTP library asks for 64 KiB at a time; the event loop hands over
    four times as much, and what is over would be copied for each piece that is cut off. It is given the head of an
    answer apart from the body.
    """

    def __init__(self, inner: httpcore2.AsyncNetworkStream) -> None:
        self._inner = inner
        self._spoilt = False
        self._received = 0
        self._begin()

    def _begin(self) -> None:
        self._head = b""
        self._body = b""  # its first bytes, which came with the head
        self._body_is_whole = True  # nothing of it has been given away

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109  # the base class's
        if self._head.endswith(_HEAD_ENDS):
            self._body_is_whole = False
            data, self._body = self._body, b""
            return data or await self._take(max_bytes, timeout)
        before = len(self._head)
        self._head += await self._take(max_bytes, timeout)
        end = self._head.find(_HEAD_ENDS)
        if end >= 0:
            end += len(_HEAD_ENDS)
            self._head, self._body = self._head[:end], self._head[end:]
        return self._head[before:]

    async def body(self, length: int, timeout: float | None) -> AsyncIterator[bytes]:  # noqa: ASYNC109  # as above
        """The ``length`` bytes after the head, or fewer where the connection ends, for whoever the head was for.

        Raises:
            httpcore2.ReadTimeout, httpcore2.ReadError: as ``read``.
        """
        left, block = length, self._body
        while left and (block := block or await self._take(READ, timeout)):
            yield block if len(block) <= left else block[:left]
            left -= min(left, len(block))
            block = b""

    @property
    def has_body_apart(self) -> bool:
        """Whether all that follows the head of a final answer is still to be had from ``body``."""
        return self._body_is_whole and self._head.startswith(b"HTTP/1.1 2") and self._head.endswith(_HEAD_ENDS)

    async def _take(self, max_bytes: int, timeout: float | None) -> bytes:  # noqa: ASYNC109
        data = await self._inner.read(max(max_bytes, READ), timeout)
        self._received += len(data)
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        self._received = 0
        self._begin()
        await self._inner.write(buffer, timeout)

    async def aclose(self) -> None:
        await self._inner.aclose()

    async def start_tls(
        self,
        ssl_context: ssl.SSLContext,
        server_hostname: str | None = None,
        timeout: float | None = None,  # noqa: ASYNC109
    ) -> httpcore2.AsyncNetworkStream:
        return CountedStream(await self._inner.start_tls(ssl_context, server_hostname, timeout))

    def get_extra_info(self, info: str) -> Any:
        if info == "is_readable" and self._spoilt:
            return True
        return self._inner.get_extra_info(info)

    def answered(self, body: int | None) -> None:
        """The answer is over; its body had so many bytes, None where its framing hides how many were sent."""
        self._spoilt = body is None or self._received > len(self._head) + body
