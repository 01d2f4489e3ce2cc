"""HTTP upstreams: the one module that speaks through httpx2.

Bytes are taken as published: ``Accept-Encoding: identity``, raw reads, and a body that comes encoded all the same is
refused. Redirects are followed here by hand, each hop checked, headers built anew, so that nothing meant for one
origin reaches another (RFC 9110, section 15.4). No proxy is taken from the environment: the allowed hosts would be
checked here and resolved elsewhere.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Final
from urllib.parse import urljoin, urlsplit

import httpx2

from zooproxy.errors import (
    RedirectRefused,
    UpstreamEncoded,
    UpstreamStatus,
    UpstreamTruncated,
    UpstreamUnreachable,
)

MAX_REDIRECTS: Final = 5
BLOCK: Final = 1 << 20  # bytes handed on at once: one hop to a worker thread per MiB

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_HEADERS = {"Accept": "*/*", "Accept-Encoding": "identity"}
_TIMEOUT = httpx2.Timeout(connect=10.0, read=60.0, write=10.0, pool=None)


@dataclass(frozen=True, slots=True)
class Body:
    """An answer that is being read: the URL after redirects, the declared length in bytes, the blocks."""

    url: str
    length: int | None
    blocks: AsyncIterator[bytes]


class HttpUpstream:
    """GETs over one connection pool; ``open_http`` makes one."""

    def __init__(self, client: httpx2.AsyncClient) -> None:
        self._client = client

    @asynccontextmanager
    async def get(self, url: str, allows: Callable[[str], bool]) -> AsyncIterator[Body]:
        """The body of ``url``; ``allows`` judges the target of each redirect.

        Raises:
            UpstreamUnreachable: no answer (name, connection, TLS, time-out).
            UpstreamStatus: any answer but 200.
            RedirectRefused: more than ``MAX_REDIRECTS``, a target that is not allowed, or a step down from https.
            UpstreamEncoded: a Content-Encoding although identity was asked for.
            UpstreamTruncated: while reading blocks: the body ended early.
        """
        for _ in range(MAX_REDIRECTS + 1):
            response = await self._send(url)
            try:
                if response.status_code not in _REDIRECTS or "location" not in response.headers:
                    yield _believed(response, url)
                    return
                url = _redirected(url, response.headers["location"], allows)
            finally:
                await response.aclose()
        raise RedirectRefused(f"upstream redirected more than {MAX_REDIRECTS} times", url=url)

    async def _send(self, url: str) -> httpx2.Response:
        try:
            # The client adds headers of its own; setting them per request keeps the list in sight.
            return await self._client.send(self._client.build_request("GET", url, headers=_HEADERS), stream=True)
        except (httpx2.TransportError, httpx2.InvalidURL) as error:
            raise UpstreamUnreachable(f"upstream cannot be reached: {_reason(error)}", url=url) from error


def _reason(error: Exception) -> str:
    """The words of a transport error, or its kind where it has none (time-outs)."""
    return str(error) or type(error).__name__


def _redirected(url: str, location: str, allows: Callable[[str], bool]) -> str:
    target = urljoin(url, location)
    parts = urlsplit(target)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise RedirectRefused("upstream redirected to something that is no http(s) URL", url=url)
    if urlsplit(url).scheme == "https" and parts.scheme != "https":
        raise RedirectRefused("upstream redirected from https down to http", url=url)
    if not allows(target):
        raise RedirectRefused(
            f"upstream redirected to the host '{parts.hostname}', which is not among the allowed hosts", url=url
        )
    return target


def _believed(response: httpx2.Response, url: str) -> Body:
    if response.status_code != 200:
        raise UpstreamStatus(
            f"upstream answered {response.status_code} {response.reason_phrase}".rstrip(),
            url=url,
            status=response.status_code,
        )
    encoding = response.headers.get("content-encoding", "identity")
    if encoding.lower() not in ("", "identity"):
        raise UpstreamEncoded("upstream sent an encoded body although identity was asked for", url=url)
    declared = response.headers.get("content-length", "")
    length = int(declared) if declared.isascii() and declared.isdigit() else None
    return Body(url, length, _blocks(response, url, length))


async def _blocks(response: httpx2.Response, url: str, length: int | None) -> AsyncIterator[bytes]:
    received = 0
    try:
        async for block in response.aiter_raw(BLOCK):
            received += len(block)
            yield block
    except httpx2.TransportError as error:
        message = f"upstream broke off after {received} bytes: {_reason(error)}"
        raise UpstreamTruncated(message, url=url, expected=length, received=received) from error
    if length is not None and received != length:
        message = f"upstream ended after {received} of {length} bytes"
        raise UpstreamTruncated(message, url=url, expected=length, received=received)


@asynccontextmanager
async def open_http(transport: httpx2.AsyncBaseTransport | None = None) -> AsyncIterator[HttpUpstream]:
    """The service's one HTTP client; ``transport`` replaces the network (a seam for tests)."""
    async with httpx2.AsyncClient(
        transport=transport, timeout=_TIMEOUT, trust_env=False, follow_redirects=False, limits=httpx2.Limits()
    ) as client:
        yield HttpUpstream(client)
