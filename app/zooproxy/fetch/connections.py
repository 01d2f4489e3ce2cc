"""Connections that are not used again when an upstream has sent more on them than it had announced.

What comes after a body would be read as the answer to the next request on that connection: the HTTP library keeps it in
its buffer. Whoever can make a server send a body that is too long could so answer for any other file of that host.
"""

from __future__ import annotations

import ssl
from typing import Any, Final

import httpcore2

READ: Final = 1 << 20

_HEAD_ENDS: Final = b"\r\n\r\n"


class CountedStream(httpcore2.AsyncNetworkStream):
    """Counts what comes after each request. One that is spoilt says that it is readable, and so is never reused.

    It takes whatever has come, up to ``READ``. The HTTP library asks for 64 KiB at a time; the event loop hands over
    four times as much, and what is over would be copied for each piece that is cut off.
    """

    def __init__(self, inner: httpcore2.AsyncNetworkStream) -> None:
        self._inner = inner
        self._spoilt = False
        self._head = b""
        self._received = 0

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109  # the base class's
        data = await self._inner.read(max(max_bytes, READ), timeout)
        self._received += len(data)
        if _HEAD_ENDS not in self._head:
            self._head += data
        return data

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        self._head, self._received = b"", 0
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
        head = self._head.find(_HEAD_ENDS) + len(_HEAD_ENDS)
        self._spoilt = body is None or self._received > head + body
