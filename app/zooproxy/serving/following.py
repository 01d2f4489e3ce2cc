"""Replies of bytes that are still arriving: what is there goes out at once, the end only when the whole is proven."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from zooproxy.cache.blobs import HeldBlob
from zooproxy.errors import ZooproxyError
from zooproxy.provide.growing import Following, Growing
from zooproxy.serving.ranges import Answer, NotModified, Part, Unsatisfiable, Whole, answer
from zooproxy.serving.replies import ZERO_COPY, disposition, left, raw_representation, reply
from zooproxy.wire.answers import FILLING, HELD
from zooproxy.wire.routes import OCTETS, STATE_HEADER

_log = logging.getLogger(__name__)

_NO_TAG = '"-"'  # no client has it: before the end the digest is known only where it is pinned


@dataclass(frozen=True, slots=True)
class Cold:
    """A raw checkpoint that is being filled."""

    growing: Growing
    file_name: str


async def follow(request: Request, cold: Cold, extra: Mapping[str, str]) -> Response:
    """The reply to a GET: as from the cache if the fill is done before a byte may be shown, else as it grows.

    Raises:
        ZooproxyError: the fill failed before that.
    """
    found = await cold.growing.opened()
    if isinstance(found, Following) and found.length is None and "range" in request.headers:
        found = await cold.growing.done()  # nothing but the end tells what the range is a range of
    if isinstance(found, HeldBlob):
        return reply(request, raw_representation(found, cold.file_name), {STATE_HEADER: HELD, **extra})
    return _growing(request, cold, found, extra)


def _growing(request: Request, cold: Cold, following: Following, extra: Mapping[str, str]) -> Response:
    headers = {"Cache-Control": "no-cache", STATE_HEADER: FILLING, **extra}
    pin = cold.growing.pin
    if pin is not None:
        headers |= {"ETag": f'"{pin}"', "Repr-Digest": pin.repr_digest()}
    length = following.length
    found: Answer = Whole() if length is None else answer(request.headers, length, f'"{pin}"' if pin else _NO_TAG)
    if isinstance(found, NotModified):
        return Response(status_code=304, headers=headers)
    if isinstance(found, Unsatisfiable):
        return Response(status_code=416, headers={**headers, "Content-Range": f"bytes */{length}"})
    headers["Content-Disposition"] = disposition(cold.file_name)
    headers["X-Content-Type-Options"] = "nosniff"
    if length is None:
        return FollowingResponse(following, None, 200, headers)
    headers["Accept-Ranges"] = "bytes"
    if not isinstance(found, Part):
        return FollowingResponse(following, Part(0, length), 200, headers)
    headers["Content-Range"] = f"bytes {found.start}-{found.start + found.length - 1}/{length}"
    return FollowingResponse(following, found, 206, headers)


class FollowingResponse(Response):
    """Streams what grows; ``part`` is None where nobody has declared a length, and then the reply is chunked.

    A fill that fails ends the connection: short of Content-Length, or of the last chunk.
    """

    def __init__(self, following: Following, part: Part | None, status: int, headers: dict[str, str]) -> None:
        self._following = following
        self._start = part.start if part else 0
        self._length = part.length if part else None
        super().__init__(status_code=status, headers=headers, media_type=OCTETS)
        del self.headers["content-length"]
        if part is not None:
            self.headers["Content-Length"] = str(part.length)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        gone = asyncio.create_task(left(receive))
        by_kernel = self._length is not None and ZERO_COPY in scope.get("extensions", ())
        try:
            await self._stream(send, gone, by_kernel)
        except ZooproxyError as error:
            # The status is out; only a broken connection can still say that this is not the whole.
            _log.warning("a follower is cut off: %s", error)
            return
        finally:
            gone.cancel()
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    async def _stream(self, send: Send, gone: asyncio.Task[None], by_kernel: bool) -> None:
        with self._following.file() as file:
            async with aclosing(self._following.spans(self._start, self._length)) as spans:
                async for offset, count in spans:
                    if gone.done():
                        return
                    message: dict[str, Any] = {"type": ZERO_COPY, "file": file, "offset": offset, "count": count}
                    if not by_kernel:
                        block = await asyncio.to_thread(self._following.read, file, offset, count)
                        message = {"type": "http.response.body", "body": block}
                    await send({**message, "more_body": True})
