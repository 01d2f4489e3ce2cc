"""One source, fetched from the first candidate that delivers what was promised, into a partial that is proven."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import BinaryIO, Protocol, TypeVar
from urllib.parse import urlsplit

from zooproxy.digest import Sha256
from zooproxy.errors import FetchError, ProofError, UnsupportedSource, ZooproxyError
from zooproxy.fetch.http import HttpUpstream
from zooproxy.fetch.policy import AllowedHosts, Candidate, Mirrors
from zooproxy.fetch.proof import Wanted, prove_digest, prove_structure


class Sink(Protocol):
    """Where a fill's bytes go: a partial that hashes while it is written."""

    @property
    def size(self) -> int: ...

    async def write(self, data: bytes) -> None: ...

    def digest(self) -> Sha256: ...

    def file(self) -> BinaryIO: ...

    async def discard(self) -> None: ...


SinkT = TypeVar("SinkT", bound=Sink)


class Fetcher:
    def __init__(self, upstream: HttpUpstream, hosts: AllowedHosts, mirrors: Mirrors) -> None:
        self._upstream = upstream
        self._hosts = hosts
        self._mirrors = mirrors

    def candidates(self, url: str) -> tuple[str, ...]:
        """The URLs that ``fetch`` would ask, in order."""
        return tuple(candidate.url for candidate in self._mirrors.candidates(url))

    def check(self, url: str) -> None:
        """
        Raises:
            UnsupportedSource: ``url`` is not http(s).
            HostNotAllowed: ``url`` is on no allowed host; its mirrors need not be, the operator chose those.
        """
        scheme = urlsplit(url).scheme
        if scheme not in ("http", "https"):
            raise UnsupportedSource(f"{scheme}:// sources are understood, but this version fetches http(s) only")
        self._hosts.check(url)

    async def fetch(self, wanted: Wanted, stage: Callable[[], Awaitable[SinkT]]) -> SinkT:
        """A partial with the whole, proven body, for the caller to publish; each attempt gets a fresh one.

        Raises:
            SourceError: before anything is asked.
            FetchError, ProofError: the last candidate's failure; its ``attempts`` are those before it.
        """
        self.check(wanted.url)
        candidates = self._mirrors.candidates(wanted.url)
        if not candidates:
            raise UnsupportedSource(f"MIRRORS leaves nobody to ask for {wanted.url}: its host is off and has no mirror")
        failures: list[ZooproxyError] = []
        for candidate in candidates:
            sink = await stage()
            try:
                await self._attempt(candidate, wanted, sink)
            except (FetchError, ProofError) as error:
                await sink.discard()
                failures.append(error)
            except BaseException:
                await sink.discard()
                raise
            else:
                return sink
        last = failures[-1]
        last.attempts = tuple(failures[:-1])
        raise last

    async def _attempt(self, candidate: Candidate, wanted: Wanted, sink: Sink) -> None:
        async with self._upstream.get(candidate.url, self._allows_from(candidate)) as body:
            async for block in body.blocks:
                await sink.write(block)
        await asyncio.to_thread(prove_structure, sink.file(), sink.size)
        prove_digest(wanted, sink.digest(), candidate.url)

    def _allows_from(self, candidate: Candidate) -> Callable[[str], bool]:
        if candidate.mirror_host is None:
            return self._hosts.allows
        own = AllowedHosts([candidate.mirror_host])
        return lambda url: own.allows(url) or self._hosts.allows(url)
