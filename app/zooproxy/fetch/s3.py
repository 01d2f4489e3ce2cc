"""S3 upstreams: ``s3://bucket/key`` and ``cluster:s3://bucket/key`` (``petrel`` is a spelling of it), over aiobotocore.

Where the endpoints are and how one signs in is the operator's word alone; a reference names a cluster, never a host.
What aiobotocore has to be told so that stores other than Amazon's work was found by trying: checksums only when
required, path addressing, version 4 signatures.
"""

from __future__ import annotations

import asyncio
import importlib
import re
import tempfile
from collections.abc import AsyncIterator, Awaitable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from zooproxy.errors import (
    FetchError,
    RangeNotBelieved,
    UnsupportedSource,
    UpstreamStalled,
    UpstreamStatus,
    UpstreamTruncated,
    UpstreamUnreachable,
)
from zooproxy.fetch.sighting import Sighting
from zooproxy.fetch.upstream import Allows, Body, Continuation, Patience, Version
from zooproxy.names.reference import ObjectReference, parse

DEFAULT: Final = "default"
_BLOCK: Final = 64 << 10
_CONTENT_RANGE = re.compile(r"bytes (\d{1,19})-(\d{1,19})/(\d{1,19})\Z", re.ASCII)


@dataclass(frozen=True, slots=True)
class Cluster:
    """One S3 service. Without keys it is asked anonymously; ``endpoint`` is None for Amazon's own."""

    endpoint: str | None = None
    region: str = "us-east-1"
    access_key: str | None = None
    secret_key: str | None = field(default=None, repr=False)
    path_style: bool = True


class S3Upstream:
    """``open_s3`` makes one; each cluster's client is made when it is first asked."""

    def __init__(
        self, clusters: Mapping[str, Cluster], stack: AsyncExitStack, patience: Patience, ca_file: Path | None
    ) -> None:
        self._clusters = clusters
        self._stack = stack
        self._patience = patience
        self._ca_file = ca_file
        self._clients: dict[str, Any] = {}
        self._turn = asyncio.Lock()

    @asynccontextmanager
    async def get(self, url: str, allows: Allows, rest: Continuation | None = None) -> AsyncIterator[Body]:  # noqa: ARG002
        """The object that ``url`` names.

        Raises:
            UnsupportedSource: its cluster is not among the settings, or aiobotocore is not installed.
            UpstreamUnreachable, UpstreamStatus: no answer, or another than the object.
            RangeNotBelieved: an answer to ``rest`` that is not those bytes; the object has changed, say.
            UpstreamStalled: no answer in time; or, while reading blocks, nothing came for too long.
            UpstreamTruncated: while reading blocks.
        """
        named = _named(url)
        client = await self._client(named.cluster or DEFAULT)
        response = await _asked(client, named, url, rest)
        # An unread body would keep its connection.
        async with response["Body"] as stream:
            yield _body(response, stream, url, rest)

    async def look(self, url: str, allows: Allows, known: Sighting | None = None) -> Sighting:  # noqa: ARG002
        """As ``get``, without a body."""
        named = _named(url)
        client = await self._client(named.cluster or DEFAULT)
        response = await _answered(client.head_object(Bucket=named.bucket, Key=named.key), url)
        return Sighting(url, response.get("ContentLength"), response.get("ETag"))

    async def _client(self, name: str) -> Any:
        async with self._turn:
            if name not in self._clients:
                self._clients[name] = await self._open(name)
            return self._clients[name]

    async def _open(self, name: str) -> Any:
        cluster = self._clusters.get(name)
        if cluster is None:
            raise UnsupportedSource(
                f"the S3 cluster '{name}' is not among this proxy's settings; an operator can add it"
            )
        try:
            # Imported here: it takes longer than the rest of a start, and most proxies never need it.
            session = await asyncio.to_thread(importlib.import_module, "aiobotocore.session")
            config = await asyncio.to_thread(importlib.import_module, "aiobotocore.config")
            botocore = importlib.import_module("botocore")
        except ModuleNotFoundError as error:
            raise UnsupportedSource("S3 needs aiobotocore: pip install 'zooproxy[server]'") from error
        options = config.AioConfig(
            signature_version="s3v4" if cluster.access_key else botocore.UNSIGNED,
            s3={"addressing_style": "path" if cluster.path_style else "auto"},
            request_checksum_calculation="when_required",
            response_checksum_validation="when_required",
            connect_timeout=self._patience.connect_seconds,
            read_timeout=self._patience.stall_seconds,
            retries={"mode": "standard", "total_max_attempts": 1},  # the fetcher retries, and tells of it
            max_pool_connections=64,
        )
        client = session.get_session().create_client(
            "s3",
            endpoint_url=cluster.endpoint,
            region_name=cluster.region,
            aws_access_key_id=cluster.access_key,
            aws_secret_access_key=cluster.secret_key,
            verify=await asyncio.to_thread(self._bundle),
            config=options,
        )
        return await self._stack.enter_async_context(client)

    def _bundle(self) -> str | None:
        """One file of all that is trusted, which is what botocore takes; None for what it brings along."""
        if self._ca_file is None:
            return None
        its_own = Path(importlib.import_module("botocore.httpsession").where())
        directory = self._stack.enter_context(tempfile.TemporaryDirectory(prefix="zooproxy-ca-"))
        bundle = Path(directory) / "ca.pem"
        bundle.write_bytes(its_own.read_bytes() + b"\n" + self._ca_file.read_bytes())
        return str(bundle)


@asynccontextmanager
async def open_s3(
    clusters: Mapping[str, Cluster],
    *,
    patience: Patience = Patience(),  # noqa: B008  # frozen
    ca_file: Path | None = None,
) -> AsyncIterator[S3Upstream]:
    """``ca_file`` holds certificate authorities (PEM) that are trusted besides those that botocore brings along."""
    async with AsyncExitStack() as stack:
        yield S3Upstream(clusters, stack, patience, ca_file)


def _named(url: str) -> ObjectReference:
    named = parse(url)
    if not isinstance(named, ObjectReference):
        raise UnsupportedSource(f"{url} names no object")
    return named


async def _asked(client: Any, named: ObjectReference, url: str, rest: Continuation | None) -> Any:
    asked: dict[str, str] = {} if rest is None else {"Range": rest.field()}
    if rest is not None and rest.validator is not None and rest.validator.startswith('"'):
        asked["IfMatch"] = rest.validator
    return await _answered(client.get_object(Bucket=named.bucket, Key=named.key, **asked), url)


async def _answered(call: Awaitable[Any], url: str) -> Any:
    errors = importlib.import_module("botocore.exceptions")
    try:
        return await call
    except errors.ClientError as error:
        raise _refusal(error, url) from error
    except errors.ReadTimeoutError as error:
        raise UpstreamStalled("the S3 cluster took the request and did not answer in time", url=url) from error
    except (errors.BotoCoreError, OSError) as error:
        raise UpstreamUnreachable(f"the S3 cluster cannot be reached: {type(error).__name__}", url=url) from error


def _refusal(error: Any, url: str) -> FetchError:
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 500))
    if status in (412, 416):
        return RangeNotBelieved("the object is not the one that was begun", url=url)
    code = str(error.response.get("Error", {}).get("Code", ""))[:40]
    words = f"the S3 cluster answered {status} {code}".rstrip()
    return UpstreamStatus(words, url=url, status=status)


def _body(response: Any, stream: Any, url: str, rest: Continuation | None) -> Body:
    length, etag = response.get("ContentLength"), response.get("ETag")
    strong = etag if isinstance(etag, str) and etag.startswith('"') else None
    found = response.get("ContentRange")
    if found is None:  # a store that does not do ranges sends the whole
        return Body(Version(url, length, strong), 0, _blocks(stream, url, length))
    match = _CONTENT_RANGE.match(found)
    first, last, total = map(int, match.groups()) if match else (0, 0, 0)
    if rest is None or match is None or not rest.is_met(first, last, total):
        raise RangeNotBelieved("the S3 cluster answered with another range than the one asked for", url=url)
    if rest.validator is not None and strong not in (None, rest.validator):
        raise RangeNotBelieved("the S3 cluster answered with a range of another version", url=url)
    return Body(Version(url, total, strong), rest.start, _blocks(stream, url, length), last + 1)


async def _blocks(stream: Any, url: str, length: int | None) -> AsyncIterator[bytes]:
    timed_out = importlib.import_module("aiobotocore.response").AioReadTimeoutError
    broken = importlib.import_module("aiohttp").ClientError
    received = 0
    try:
        async for block in stream.iter_chunks(_BLOCK):
            received += len(block)
            yield block
    except (TimeoutError, timed_out) as error:
        raise UpstreamStalled(f"nothing came for too long after {received} bytes", url=url) from error
    except (broken, OSError) as error:  # a body that breaks is aiohttp's error, not botocore's
        message = f"the S3 cluster broke off after {received} bytes"
        raise UpstreamTruncated(message, url=url, expected=length, received=received) from error
    if length is not None and received != length:
        message = f"the S3 cluster ended after {received} of {length} bytes"
        raise UpstreamTruncated(message, url=url, expected=length, received=received)
