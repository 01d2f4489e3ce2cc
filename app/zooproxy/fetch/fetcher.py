"""One source, fetched from the first candidate that delivers what was promised, and proven before it is believed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import BinaryIO, Protocol

from zooproxy.digest import Sha256
from zooproxy.errors import FetchError, ProofError, RangeNotBelieved, UnsupportedSource, UpstreamTooLarge, ZooproxyError
from zooproxy.fetch.breaker import Breakers
from zooproxy.fetch.pace import Bandwidth, MinimumRate, read_ahead
from zooproxy.fetch.policy import WEB, AllowedHosts, Candidate, Mirrors, host_of, scheme_of
from zooproxy.fetch.proof import Wanted, prove_digest, prove_structure
from zooproxy.fetch.retries import Retries, blames_host
from zooproxy.fetch.upstream import Body, Continuation, Upstream, Version


class Destination(Protocol):
    """Where a fill's bytes go: it hashes them while it is written, and outlives any one attempt."""

    @property
    def size(self) -> int:
        """Bytes that are there, from position 0 on without a gap."""
        ...

    @property
    def version(self) -> Version | None:
        """Whose bytes they are; None where there are none."""
        ...

    def trying(self, url: str, attempt: int) -> None:
        """Told before each request, for those who watch; ``attempt`` counts from 1 for each candidate."""
        ...

    async def begin(self, version: Version) -> None:
        """Drops what is there; what is written next are the bytes of ``version``, from position 0."""
        ...

    def go_on(self) -> None:
        """The upstream has confirmed what is there; what is written next are the bytes after it."""
        ...

    async def write(self, data: bytes) -> None: ...

    async def reset(self) -> None:
        """Drops what is there: it was not believed."""
        ...

    def digest(self) -> Sha256: ...

    def file(self) -> BinaryIO: ...


@dataclass(frozen=True, slots=True)
class Limits:
    """What a transfer must keep to; ``largest`` is the size of a file in bytes, 0 for any."""

    retries: Retries = field(default_factory=Retries)
    minimum_rate: MinimumRate = field(default_factory=MinimumRate)
    bandwidth: Bandwidth = field(default_factory=Bandwidth)
    largest: int = 0


class Fetcher:
    """``upstreams`` by scheme; the allowed hosts and the mirrors concern http(s)."""

    def __init__(
        self,
        upstreams: Mapping[str, Upstream],
        hosts: AllowedHosts,
        mirrors: Mirrors,
        limits: Limits | None = None,
        breakers: Breakers | None = None,
    ) -> None:
        self._upstreams = upstreams
        self._hosts = hosts
        self._mirrors = mirrors
        self._limits = limits or Limits()
        self.breakers = breakers or Breakers()

    def candidates(self, url: str) -> tuple[str, ...]:
        """The URLs that ``fetch`` would ask, in order."""
        return tuple(candidate.url for candidate in self._mirrors.candidates(url))

    def check(self, url: str) -> None:
        """
        Raises:
            UnsupportedSource: nothing here speaks the scheme of ``url``.
            HostNotAllowed: ``url`` is on no allowed host; its mirrors need not be, the operator chose those.
        """
        scheme = scheme_of(url)
        if scheme not in self._upstreams:
            known = ", ".join(f"{name}://" for name in sorted(self._upstreams))
            raise UnsupportedSource(f"{scheme}:// sources are understood, but this proxy fetches from {known} only")
        if scheme in WEB:
            self._hosts.check(url)

    async def fetch(self, wanted: Wanted, into: Destination) -> None:
        """Returns when ``into`` holds the whole, proven body. What it held before is continued where that is sound.

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
            try:
                await self._guarded(candidate, wanted, into)
            except (FetchError, ProofError) as error:
                failures.append(error)
            else:
                return
        last = failures[-1]
        last.attempts = tuple(failures[:-1])
        raise last

    async def _guarded(self, candidate: Candidate, wanted: Wanted, into: Destination) -> None:
        """One candidate, unless its host is left alone; the host's circuit learns how it went."""
        host = host_of(candidate.url)
        self.breakers.enter(host, candidate.url)
        try:
            await self._persistent(candidate, wanted, into)
        except FetchError as error:
            (self.breakers.failed if blames_host(error) else self.breakers.delivered)(host)
            raise
        except ProofError:
            self.breakers.delivered(host)
            raise
        except BaseException:
            self.breakers.left(host)
            raise
        self.breakers.delivered(host)

    async def _persistent(self, candidate: Candidate, wanted: Wanted, into: Destination) -> None:
        attempt, fruitless, furthest, joins = 0, 0, into.size, True
        while True:
            attempt += 1
            into.trying(candidate.url, attempt)
            rest = _continuation(candidate.url, wanted, into) if joins else None
            try:
                await self._attempt(candidate, wanted, into, rest)
                return
            except ProofError:
                await into.reset()
                # Joined from two answers, it may be the joining that was wrong: once more, in one piece.
                if rest is None:
                    raise
                joins = False
            except FetchError as error:
                fruitless = 1 if into.size > furthest else fruitless + 1
                furthest = max(furthest, into.size)
                delay = self._limits.retries.delay(error, fruitless, attempt)
                if delay is None:
                    raise
                if isinstance(error, RangeNotBelieved):
                    await into.reset()
                await asyncio.sleep(delay)

    async def _attempt(
        self, candidate: Candidate, wanted: Wanted, into: Destination, rest: Continuation | None
    ) -> None:
        if rest is None or rest.start < rest.length:
            upstream = self._upstreams[scheme_of(candidate.url)]
            async with upstream.get(candidate.url, self._allows_from(candidate), rest) as body:
                await self._copy(body, into)
        await asyncio.to_thread(prove_structure, into.file(), into.size)
        prove_digest(wanted, into.digest(), candidate.url)

    async def _copy(self, body: Body, into: Destination) -> None:
        self._check_size(body.version, body.version.length or 0)
        if body.start == 0:
            await into.begin(body.version)
        else:
            into.go_on()
        limits = self._limits
        async with aclosing(read_ahead(body.blocks, body.version.url, limits.minimum_rate, limits.bandwidth)) as blocks:
            async for block in blocks:
                await into.write(block)
                self._check_size(body.version, into.size)

    def _check_size(self, version: Version, size: int) -> None:
        largest = self._limits.largest
        if largest and size > largest:
            message = f"the file has {size} bytes or more; MAX_FILE_BYTES allows {largest}"
            raise UpstreamTooLarge(message, url=version.url)

    def _allows_from(self, candidate: Candidate) -> Callable[[str], bool]:
        if candidate.mirror_host is None:
            return self._hosts.allows
        own = AllowedHosts([candidate.mirror_host])
        return lambda url: own.allows(url) or self._hosts.allows(url)


def _continuation(url: str, wanted: Wanted, into: Destination) -> Continuation | None:
    """The rest of what is there, if the answer can be known to carry the same bytes.

    From the candidate that sent them: by its validator. From another one: by a promised digest, which tells at the
    end, else by the very same strong entity tag.
    """
    version = into.version
    if version is None or version.length is None or not 0 < into.size <= version.length:
        return None
    same = version.url == url
    if wanted.promise and (not same or version.validator is None):
        return Continuation(into.size, version.length, None)
    validator = version.validator if same else version.etag
    return None if validator is None else Continuation(into.size, version.length, validator)
