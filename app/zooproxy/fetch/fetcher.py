"""One source, fetched from the first candidate that delivers what was promised, and proven before it is believed."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from zooproxy.errors import FetchError, ProofError, RangeNotBelieved, UnsupportedSource, ZooproxyError
from zooproxy.fetch.attempt import Asked, Attempt, Destination, Limits
from zooproxy.fetch.breaker import Breakers
from zooproxy.fetch.policy import WEB, AllowedHosts, Candidate, Mirrors, host_of, scheme_of
from zooproxy.fetch.proof import Wanted, prove_digest, prove_structure
from zooproxy.fetch.retries import blames_host
from zooproxy.fetch.sighting import Glance, Sighting
from zooproxy.fetch.slots import Interest
from zooproxy.fetch.upstream import Continuation, Upstream
from zooproxy.fetch.verdicts import verdict_of
from zooproxy.masking import masked


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

    @property
    def limits(self) -> Limits:
        return self._limits

    def obey(self, hosts: AllowedHosts, mirrors: Mirrors, limits: Limits) -> None:
        """From now on; a candidate that is being asked is asked to its end, but for redirects."""
        self._hosts, self._mirrors, self._limits = hosts, mirrors, limits

    def candidates(self, url: str) -> tuple[str, ...]:
        """The URLs that ``fetch`` would ask, in order, without credentials."""
        return tuple(masked(candidate.url) for candidate in self._mirrors.candidates(url))

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

    async def fetch(self, wanted: Wanted, into: Destination, interest: Interest | None = None) -> None:
        """Returns when ``into`` holds the whole, proven body. What it held before is continued where that is sound.

        Its requests queue for connections as those of ``interest``.

        Raises:
            SourceError: before anything is asked.
            FetchError, ProofError: the last candidate's failure; its ``attempts`` are those before it.
            NotLocked: another zooproxy's verdict, after which nobody else is asked (``verdicts``).
        """
        self.check(wanted.url)
        candidates = self._mirrors.candidates(wanted.asked)
        if not candidates:
            raise UnsupportedSource(f"MIRRORS leaves nobody to ask for {wanted.url}: its host is off and has no mirror")
        failures: list[ZooproxyError] = []
        for candidate in candidates:
            try:
                await self._guarded(candidate, wanted, into, interest or Interest())
            except FetchError as error:
                verdict = verdict_of(error, wanted)
                failures.append(verdict or error)
                if verdict is not None:
                    break
            except ProofError as error:
                failures.append(error)
            else:
                return
        last = failures[-1]
        last.attempts = tuple(failures[:-1])
        raise last

    async def _guarded(self, candidate: Candidate, wanted: Wanted, into: Destination, interest: Interest) -> None:
        """One candidate, unless its host is left alone."""
        with self._circuit(candidate) as host:
            await self._persistent(self._asked(candidate, host, interest), wanted, into)

    async def look(self, url: str, known: Sighting | None, *, everyone: bool) -> list[Glance]:
        """Asks the candidates for ``url``, in order and once each, what they have; not for the bytes.

        ``everyone``: all of them, and not only up to the first that has it.
        """
        glances = []
        for candidate in self._mirrors.candidates(url):
            upstream = self._upstreams[scheme_of(candidate.url)]
            try:
                with self._circuit(candidate):
                    found = await upstream.look(candidate.url, self._allows_from(candidate), known)
            except FetchError as error:
                glances.append(Glance(masked(candidate.url), error=error))
            else:
                glances.append(Glance(masked(candidate.url), found))
                if not everyone:
                    break
        return glances

    @contextmanager
    def _circuit(self, candidate: Candidate) -> Iterator[str]:
        """The candidate's host, whose circuit learns how it went.

        Raises:
            UpstreamResting: it is left alone for now.
        """
        host = host_of(candidate.url)
        self.breakers.enter(host, candidate.url)
        try:
            yield host
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

    async def _persistent(self, asked: Asked, wanted: Wanted, into: Destination) -> None:
        number, fruitless, furthest = 0, 0, into.size
        joins, in_parts = True, self._limits.segments.connections > 1
        while True:
            number += 1
            into.trying(masked(asked.url), number)
            rest = _continuation(asked.url, wanted, into) if joins else None
            attempt = Attempt(asked, self._limits, into, promised=bool(wanted.promise))
            try:
                if rest is None or rest.start != rest.length:
                    await (attempt.in_parts(rest) if in_parts else attempt.in_one(rest))
                await asyncio.to_thread(prove_structure, into.file(), into.size)
                prove_digest(wanted, await into.digest(), asked.url)
                return
            except ProofError:
                may_be_cut = into.version is not None and not into.version.is_delimited
                await into.reset()
                if rest is not None or attempt.is_parted:
                    # Joined from several answers, it may be the joining that was wrong: once more, in one piece.
                    joins = in_parts = False
                    continue
                fruitless += 1
                delay = self._limits.retries.pause(fruitless, number) if may_be_cut else None
                if delay is None:
                    raise
                await asyncio.sleep(delay)
            except FetchError as error:
                in_parts = in_parts and not attempt.is_parted
                fruitless = 1 if into.size > furthest else fruitless + 1
                furthest = max(furthest, into.size)
                delay = self._limits.retries.delay(error, fruitless, number)
                if delay is None:
                    raise
                if isinstance(error, RangeNotBelieved):
                    await into.reset()
                    in_parts = False
                await asyncio.sleep(delay)

    def _asked(self, candidate: Candidate, host: str, interest: Interest) -> Asked:
        upstream = self._upstreams[scheme_of(candidate.url)]
        return Asked(upstream, candidate.url, host, self._allows_from(candidate), interest)

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
    same = version.url == masked(url)
    if wanted.promise and (not same or version.validator is None):
        return Continuation(into.size, version.length, None)
    validator = version.validator if same else version.etag
    return None if validator is None else Continuation(into.size, version.length, validator)
