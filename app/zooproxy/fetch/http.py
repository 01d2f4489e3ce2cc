"""HTTP upstreams: the one module that speaks through httpx2.

Bytes are taken as published: ``Accept-Encoding: identity``, raw reads, and a body that comes encoded all the same is
refused. Redirects are followed here by hand, each hop checked, headers built anew, so that nothing meant for one
origin reaches another (RFC 9110, section 15.4). No proxy is taken from the environment: the allowed hosts would be
checked here and resolved elsewhere.
"""

from __future__ import annotations

import asyncio
import json
import re
import ssl
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import replace
from email.utils import parsedate_to_datetime
from typing import Final
from urllib.parse import urljoin, urlsplit

import httpcore2
import httpx2

from zooproxy.errors import (
    AddressRefused,
    FetchError,
    RangeNotBelieved,
    RedirectRefused,
    UpstreamEncoded,
    UpstreamStalled,
    UpstreamStatus,
    UpstreamTruncated,
    UpstreamUnreachable,
)
from zooproxy.fetch.addresses import GuardedBackend, PrivateAddress
from zooproxy.fetch.certificates import trusted_certificates
from zooproxy.fetch.connections import CountedStream
from zooproxy.fetch.sighting import Sighting
from zooproxy.fetch.upstream import Allows, Body, Continuation, Patience, Version
from zooproxy.masking import masked
from zooproxy.wire.answers import FILLING
from zooproxy.wire.routes import PROBLEM, STATE_HEADER

MAX_REDIRECTS: Final = 5

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_NO_HEADS = frozenset({400, 403, 405, 501})  # a HEAD is refused, or the link is signed for a GET
_HEADERS = {"Accept": "*/*", "Accept-Encoding": "identity"}
_LARGEST_PROBLEM = 64 << 10  # bytes
_CONTENT_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19})\Z", re.ASCII | re.IGNORECASE)
_STRONG_TAG = re.compile(r'"[\x21\x23-\x7e]*"\Z')
_APART = 64 << 20  # bytes of a body from which on a new connection costs less than the library's parser
_SETTLED_SECONDS = 60  # a file written this long before the answer is not being written any more


class HttpUpstream:
    """GETs over one connection pool; ``open_http`` makes one."""

    def __init__(
        self, client: httpx2.AsyncClient, head_seconds: float, credentials: Callable[[str], Mapping[str, str]]
    ) -> None:
        self._client = client
        self._head_seconds = head_seconds
        self._credentials = credentials

    @asynccontextmanager
    async def get(self, url: str, allows: Allows, rest: Continuation | None = None) -> AsyncIterator[Body]:
        """The body of ``url``; ``allows`` judges the target of each redirect.

        Raises:
            UpstreamUnreachable: no answer (name, connection, TLS, time-out).
            AddressRefused: the name leads to an address that is not public.
            UpstreamStatus: any answer but 200, or 206 to ``rest``.
            RangeNotBelieved: an answer to ``rest`` that is not those bytes of that version.
            RedirectRefused: more than ``MAX_REDIRECTS``, a target that is not allowed, or a step down from https.
            UpstreamEncoded: a Content-Encoding although identity was asked for.
            UpstreamStalled: no whole head in time; or, while reading blocks, nothing came for too long.
            UpstreamTruncated: while reading blocks: the body ended early.
        """
        async with self._answered("GET", url, allows, _range_headers(rest)) as response:
            if response.status_code != 200 and (rest is None or response.status_code != 206):
                raise await _bad_status(response, masked(url), rest)
            yield _believed(response, masked(url), rest)  # the URL names the version, which is kept

    async def look(self, url: str, allows: Allows, known: Sighting | None = None) -> Sighting:
        """As ``get``, without a body: a HEAD, or, where a host refuses those, a GET that ends with its head."""
        conditions = _conditions(masked(url), known)
        for method in ("HEAD", "GET"):
            async with self._answered(method, url, allows, conditions) as response:
                if response.status_code == 304 and known is not None:
                    return known
                if response.status_code == 200:
                    return _version(response, masked(url)).sighting
                error = await _bad_status(response, url, None)
                if response.status_code not in _NO_HEADS:
                    raise error
        raise error

    @asynccontextmanager
    async def _answered(
        self, method: str, url: str, allows: Allows, headers: Mapping[str, str]
    ) -> AsyncIterator[httpx2.Response]:
        """The answer at the end of all redirects."""
        credentials = self._credentials(url)
        for _ in range(MAX_REDIRECTS + 1):
            response = await self._send(method, url, {**headers, **credentials})
            try:
                if response.status_code not in _REDIRECTS or "location" not in response.headers:
                    yield response
                    return
                url = _redirected(url, response.headers["location"], allows)
                credentials = {}  # meant for whom was asked, not for whom he names
            finally:
                _tell_what_came(response)
                await response.aclose()
        raise RedirectRefused(f"upstream redirected more than {MAX_REDIRECTS} times", url=url)

    async def _send(self, method: str, url: str, headers: Mapping[str, str]) -> httpx2.Response:
        try:
            # The client adds headers of its own; setting them per request keeps the list in sight.
            request = self._client.build_request(method, url, headers={**_HEADERS, **headers})
            async with asyncio.timeout(self._head_seconds):  # a head may drip: each read of it comes in time
                return await self._client.send(request, stream=True)
        except (httpx2.ReadTimeout, TimeoutError) as error:
            raise UpstreamStalled("upstream took the request and did not answer in time", url=url) from error
        except (httpx2.TransportError, httpx2.InvalidURL) as error:
            raise UpstreamUnreachable(f"upstream cannot be reached: {_reason(error)}", url=url) from error
        except PrivateAddress as error:
            raise AddressRefused(
                f"{error}; if it is yours, an operator can add it to PRIVATE_HOSTS", url=url
            ) from error


def _range_headers(rest: Continuation | None) -> dict[str, str]:
    if rest is None:
        return {}
    condition = {} if rest.validator is None else {"If-Range": rest.validator}
    return {"Range": rest.field(), **condition}


def _tell_what_came(response: httpx2.Response) -> None:
    stream = response.extensions.get("network_stream")
    if isinstance(stream, CountedStream):
        stream.answered(None if "transfer-encoding" in response.headers else response.num_bytes_downloaded)


def _conditions(url: str, known: Sighting | None) -> dict[str, str]:
    """Only for whoever sent them: another host's entity tags mean nothing to this one."""
    if known is None or known.candidate != url:
        return {}
    conditions = {"If-None-Match": known.etag, "If-Modified-Since": known.modified}
    return {name: value for name, value in conditions.items() if value}


def _reason(error: Exception) -> str:
    """The words of a transport error, or its kind where it has none (time-outs)."""
    return str(error) or type(error).__name__


def _redirected(url: str, location: str, allows: Allows) -> str:
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


def _believed(response: httpx2.Response, asked: str, rest: Continuation | None) -> Body:
    encoding = response.headers.get("content-encoding", "identity")
    if encoding.lower() not in ("", "identity"):
        raise UpstreamEncoded("upstream sent an encoded body although identity was asked for", url=asked)
    version = _version(response, asked)
    filling = response.headers.get(STATE_HEADER) == FILLING
    if rest is None or response.status_code == 200:
        return Body(version, 0, _blocks(response, asked, version.length), is_filling=filling)
    total = _believed_total(response, version, rest)
    stop = total if rest.stop is None else min(rest.stop, total)
    blocks = _blocks(response, asked, stop - rest.start)
    return Body(replace(version, length=total), rest.start, blocks, stop, filling)


def _version(response: httpx2.Response, asked: str) -> Version:
    declared = response.headers.get("content-length", "")
    length = int(declared) if declared.isascii() and declared.isdigit() else None
    etag, modified = response.headers.get("etag"), response.headers.get("last-modified")
    strong = etag if etag and _STRONG_TAG.match(etag) else None
    is_delimited = length is not None or "transfer-encoding" in response.headers
    return Version(asked, length, strong, _settled(response), is_delimited, etag, modified)


async def _bad_status(response: httpx2.Response, asked: str, rest: Continuation | None) -> FetchError:
    if rest is not None and response.status_code == 416:
        return RangeNotBelieved("upstream has no such range of what it had before", url=asked)
    status = response.status_code
    words = f"upstream answered {status} {response.reason_phrase}".rstrip()
    wait = response.headers.get("retry-after", "")
    # The date form is left alone: it needs two clocks that agree.
    retry_after = float(wait) if wait.isascii() and wait.isdigit() else None
    problem = await _problem(response)
    if status == 401 and problem is not None:
        words += ": it is a proxy that asks for a token; PARENT_TOKEN, or another one, is what the parent is asked with"
    return UpstreamStatus(words, url=asked, status=status, retry_after=retry_after, problem=problem)


async def _problem(response: httpx2.Response) -> dict[str, object] | None:
    """What another zooproxy says; an empty one where that cannot be read."""
    if not response.headers.get("content-type", "").startswith(PROBLEM):
        return None
    body = b""
    try:
        async for block in response.aiter_raw():
            body += block
            if len(body) > _LARGEST_PROBLEM:
                return {}
        said = json.loads(body)
    except (httpx2.TransportError, ValueError, RecursionError):
        return {}
    return said if isinstance(said, dict) else {}


def _believed_total(response: httpx2.Response, version: Version, rest: Continuation) -> int:
    """The length of the whole, of which a 206 carries just what ``rest`` asked for."""
    found = _CONTENT_RANGE.match(response.headers.get("content-range", ""))
    first, last, total = map(int, found.groups()) if found else (0, 0, 0)
    if found is None or not rest.is_met(first, last, total):
        raise RangeNotBelieved("upstream answered with another range than the one asked for", url=version.url)
    if rest.validator is not None:
        is_tag = rest.validator.startswith('"')
        told = version.etag if is_tag else response.headers.get("last-modified")
        if told not in (None, rest.validator):
            raise RangeNotBelieved("upstream answered with a range of another version", url=version.url)
    return total


def _settled(response: httpx2.Response) -> str | None:
    modified = response.headers.get("last-modified")
    try:
        age = parsedate_to_datetime(response.headers["date"]) - parsedate_to_datetime(modified or "")
    except (KeyError, ValueError, TypeError):
        return None
    return modified if age.total_seconds() >= _SETTLED_SECONDS else None


async def _blocks(response: httpx2.Response, url: str, length: int | None) -> AsyncIterator[bytes]:
    """Blocks as they come from the network; ``length`` is what this answer declared for itself."""
    received = 0
    try:
        async for block in _raw(response, length):
            received += len(block)
            yield block
    except (httpx2.ReadTimeout, httpcore2.ReadTimeout) as error:
        raise UpstreamStalled(f"nothing came for too long after {received} bytes", url=url) from error
    except (httpx2.TransportError, httpcore2.NetworkError) as error:
        message = f"upstream broke off after {received} bytes: {_reason(error)}"
        raise UpstreamTruncated(message, url=url, expected=length, received=received) from error
    if length is not None and received != length:
        message = f"upstream ended after {received} of {length} bytes"
        raise UpstreamTruncated(message, url=url, expected=length, received=received)


def _raw(response: httpx2.Response, length: int | None) -> AsyncIterator[bytes]:
    stream = response.extensions.get("network_stream")
    if length is None or length < _APART or "transfer-encoding" in response.headers:
        return response.aiter_raw()
    if not isinstance(stream, CountedStream) or not stream.has_body_apart:
        return response.aiter_raw()
    return stream.body(length, response.request.extensions["timeout"]["read"])


@asynccontextmanager
async def open_http(
    transport: httpx2.AsyncBaseTransport | None = None,
    *,
    patience: Patience = Patience(),  # noqa: B008  # frozen
    certificates: ssl.SSLContext | None = None,
    exempt: Callable[[str, int], bool] = lambda host, port: False,  # noqa: ARG005  # nobody
    credentials: Callable[[str], Mapping[str, str]] = lambda url: {},  # noqa: ARG005  # none
) -> AsyncIterator[HttpUpstream]:
    """The service's one HTTP client.

    ``transport`` replaces the network (a seam for tests); ``certificates``: those that are trusted, the system's if
    None; ``exempt`` names the hosts and ports that may have addresses inside the network; ``credentials`` are the
    headers with which a URL is asked for itself: a redirect never carries them along.
    """
    connect, stall = patience.connect_seconds, patience.stall_seconds
    timeout = httpx2.Timeout(connect=connect, read=stall, write=stall, pool=None)
    transport = transport or _guarded(exempt, certificates or trusted_certificates())
    async with httpx2.AsyncClient(
        transport=transport, timeout=timeout, trust_env=False, follow_redirects=False
    ) as client:
        yield HttpUpstream(client, connect + stall, credentials)


def _guarded(exempt: Callable[[str, int], bool], certificates: ssl.SSLContext) -> httpx2.AsyncHTTPTransport:
    transport = httpx2.AsyncHTTPTransport(verify=certificates, trust_env=False)
    # The transport takes no network backend of its own; its pool is where connections are made.
    transport._pool = httpcore2.AsyncConnectionPool(  # noqa: SLF001
        ssl_context=certificates,
        max_connections=None,
        max_keepalive_connections=20,
        keepalive_expiry=5.0,
        network_backend=GuardedBackend(exempt),
    )
    return transport
