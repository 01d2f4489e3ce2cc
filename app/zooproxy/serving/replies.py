"""Replies of bytes: a list of segments over a blob, whole or in part, without a copy of the blob in memory."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import BinaryIO, Final
from urllib.parse import quote

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from zooproxy.cache.blobs import HeldBlob
from zooproxy.digest import Sha256
from zooproxy.errors import BlobAbsent, BlobCorrupt, BlobLeft
from zooproxy.formats.segments import BlobRange, Literal, Rendition, Segment, cut
from zooproxy.serving.digest_wishes import HEADER as WANT_DIGEST
from zooproxy.serving.digest_wishes import sha256_wish
from zooproxy.serving.ranges import NotModified, Part, Unsatisfiable, answer
from zooproxy.wire.routes import OCTETS

#: The ASGI extension by which a server sends a file's bytes itself (asgiref, extensions.rst).
ZERO_COPY: Final = "http.response.zerocopysend"
BATCH: Final = 1 << 20
WORTH_A_CALL: Final = 128 << 10


@dataclass(frozen=True, slots=True)
class Representation:
    """What is served: ``length`` bytes as segments over ``blob``, under a strong entity tag and a file name."""

    blob: HeldBlob
    segments: Sequence[Segment]
    length: int
    etag: str
    file_name: str
    digest: Sha256 | None = None
    media_type: str = OCTETS


def raw_representation(blob: HeldBlob, file_name: str) -> Representation:
    """The blob as it was published: its digest is its entity tag."""
    whole = (BlobRange(0, blob.size),) if blob.size else ()
    return Representation(blob, whole, blob.size, f'"{blob.digest}"', file_name, blob.digest)


def rendered_representation(
    blob: HeldBlob, rendition: Rendition, file_name: str, digest: Sha256 | None = None
) -> Representation:
    """A rendition of the blob: its segments and the blob's digest determine every byte, so their hash tags it."""
    etag = f'"{Sha256.of((blob.digest + rendition.fingerprint).encode())}"'
    stem = file_name.rpartition(".")[0] or file_name
    name = stem + rendition.suffix
    return Representation(blob, rendition.segments, rendition.length, etag, name, digest, rendition.media_type)


def reply(request: Request, what: Representation, extra: Mapping[str, str]) -> Response:
    """The reply to a GET or a HEAD: 200, 206, 304 or 416."""
    found = answer(request.headers, what.length, what.etag)
    headers = {**common_headers(request, what), **extra}
    if isinstance(found, NotModified):
        return Response(status_code=304, headers=headers)
    if isinstance(found, Unsatisfiable):
        headers["Content-Range"] = f"bytes */{what.length}"
        return Response(status_code=416, headers=headers)
    headers |= body_headers(what)
    if not isinstance(found, Part):
        return SegmentsResponse(what, what.segments, what.length, 200, headers)
    end = found.start + found.length - 1
    headers["Content-Range"] = f"bytes {found.start}-{end}/{what.length}"
    return SegmentsResponse(what, cut(what.segments, found.start, found.length), found.length, 206, headers)


def common_headers(request: Request, what: Representation) -> dict[str, str]:
    """What every reply about ``what`` says, with a body or without."""
    headers = {"ETag": what.etag, "Accept-Ranges": "bytes", "Cache-Control": "no-cache"}
    if what.digest is not None and sha256_wish(request.headers.get(WANT_DIGEST)) != 0:
        headers["Repr-Digest"] = what.digest.repr_digest()
    return headers


def body_headers(what: Representation) -> dict[str, str]:
    return {"Content-Disposition": disposition(what.file_name), "X-Content-Type-Options": "nosniff"}


class SegmentsResponse(Response):
    """Streams segments, by the kernel where server and blob allow it.

    A failure in the middle ends the connection short of Content-Length, never cleanly.
    """

    def __init__(
        self, what: Representation, segments: Sequence[Segment], length: int, status: int, headers: dict[str, str]
    ) -> None:
        self._blob = what.blob
        self._segments = segments
        super().__init__(
            status_code=status, headers={**headers, "Content-Length": str(length)}, media_type=what.media_type
        )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        start = {"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers}
        if scope["method"] == "HEAD":
            await send(start)
        else:
            # Opened before the status goes out, and until the end: from here on nobody evicts it.
            with self._opened() as file:
                await send(start)
                await self._send_body(scope, receive, send, file)
        await send({"type": "http.response.body", "body": b"", "more_body": False})

    def _opened(self) -> BinaryIO:
        try:
            return self._blob.file()
        except BlobAbsent as error:
            raise BlobLeft("the blob was removed while this request waited; ask again") from error

    async def _send_body(self, scope: Scope, receive: Receive, send: Send, file: BinaryIO) -> None:
        # Servers drop what is sent after a client has left; unwatched, the rest of the blob would be read for it.
        gone = asyncio.create_task(left(receive))
        zero_copy = ZERO_COPY in scope.get("extensions", ()) and self._blob.path is not None
        try:
            await (self._send_by_kernel(send, gone, file) if zero_copy else self._send_blocks(send, gone))
        finally:
            gone.cancel()

    async def _send_by_kernel(self, send: Send, gone: asyncio.Task[None], file: BinaryIO) -> None:
        for batch in batches(self._segments):
            if gone.done():
                return
            if isinstance(batch, BlobRange):
                message = {"file": file, "offset": batch.offset, "count": batch.length, "more_body": True}
                await send({"type": ZERO_COPY, **message})
            else:
                await send({"type": "http.response.body", "body": await _gathered(batch, file), "more_body": True})

    async def _send_blocks(self, send: Send, gone: asyncio.Task[None]) -> None:
        async with aclosing(self._blocks()) as blocks:
            async for block in blocks:
                if gone.done():
                    return
                await send({"type": "http.response.body", "body": block, "more_body": True})

    async def _blocks(self) -> AsyncGenerator[bytes]:
        for segment in self._segments:
            if isinstance(segment, Literal):
                yield segment.data
            else:
                async with aclosing(self._blob.chunks(segment.offset, segment.length)) as chunks:
                    async for block in chunks:
                        yield block


def batches(segments: Sequence[Segment]) -> Iterator[BlobRange | list[Segment]]:
    """Segments in order: each range worth a system call of its own alone, the small ones in lists of ``BATCH`` bytes.

    A checkpoint of thousands of small tensors is thousands of ranges: a call and a thread's hop for each would cost
    more than copying them.
    """
    small: list[Segment] = []
    room = BATCH
    for segment in segments:
        length = len(segment.data) if isinstance(segment, Literal) else segment.length
        if small and (length > room or length >= WORTH_A_CALL):
            yield small
            small, room = [], BATCH
        if length >= WORTH_A_CALL and isinstance(segment, BlobRange):
            yield segment
        else:
            small.append(segment)
            room -= length
    if small:
        yield small


async def _gathered(batch: list[Segment], file: BinaryIO) -> bytes:
    if all(isinstance(segment, Literal) for segment in batch):
        return b"".join(segment.data for segment in batch if isinstance(segment, Literal))
    return await asyncio.to_thread(_read, batch, file.fileno())


def _read(batch: list[Segment], descriptor: int) -> bytes:
    parts = [
        segment.data if isinstance(segment, Literal) else os.pread(descriptor, segment.length, segment.offset)
        for segment in batch
    ]
    for segment, part in zip(batch, parts, strict=True):
        if isinstance(segment, BlobRange) and len(part) < segment.length:
            raise BlobCorrupt(f"a blob ends before byte {segment.offset + segment.length}; it has to be fetched again")
    return b"".join(parts)


async def left(receive: Receive) -> None:
    """Returns when the client has."""
    while (await receive())["type"] != "http.disconnect":
        pass


def disposition(file_name: str) -> str:
    """A ``Content-Disposition`` (RFC 6266): a plain ASCII name, and the real one as in RFC 8187 where it differs."""
    plain = "".join(c if c.isascii() and (c.isalnum() or c in "._-+") else "_" for c in file_name)
    if plain == file_name:
        return f'attachment; filename="{plain}"'
    return f"attachment; filename=\"{plain}\"; filename*=UTF-8''{quote(file_name, safe='')}"
