"""Whom a fill may ask: the allowed hosts, and the candidates that the operator's mirrors put before a host.

A mirror is the operator's own word and needs no place among the allowed hosts; a redirect needs one, from a mirror
as from anywhere else, unless it stays on the mirror.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlencode, urlsplit

from zooproxy.errors import HostDenied, HostNotAllowed, SettingsError
from zooproxy.names.published import published_file
from zooproxy.wire.routes import API, BLOB, CHECKPOINT, RAW

#: As the last entry of a host's mirrors: the host itself is not asked.
OFF = "off"
_TOLD_TO_PARENTS = frozenset({"http", "https", "s3", "pavi"})  # not the site's own files
_PORTS = {"http": 80, "https": 443}
_TOKEN = re.compile(r"[A-Za-z0-9._~+/-]+=*\Z")


#: The schemes whose URLs have hosts that have to be allowed, and may have mirrors.
WEB = ("http", "https")


def scheme_of(url: str) -> str:
    """The scheme of a source's URL; that of ``cluster:s3://bucket/key`` is s3."""
    return url.partition("://")[0].rpartition(":")[2]


def host_of(url: str) -> str:
    """Whom a source's URL leads to, as limits and circuits count them: ``host[:port]``, or the cluster of an object."""
    before, _, after = url.partition("://")
    return after.partition("/")[0].rpartition("@")[2].lower() if before in WEB else before


@dataclass(frozen=True, slots=True)
class Candidate:
    """One URL to ask; ``mirror_host`` is the ``host[:port]`` of a mirror, None where the URL is the source's own."""

    url: str
    mirror_host: str | None = None


class AllowedHosts:
    """The hosts whose URLs are fetched: exact names, ``*.suffix`` (the subdomains, not the suffix itself) or ``*``.

    An entry without a port allows every port of its host; one that is a whole URL allows just that. ``denied``, written
    likewise, outranks all of them.
    """

    def __init__(self, entries: Iterable[str], denied: Iterable[str] = ()) -> None:
        denied = tuple(denied)
        self._denied = AllowedHosts(denied) if denied else None
        entries = list(entries)
        self._urls = frozenset(entry for entry in entries if "://" in entry)
        entries = [entry.lower() for entry in entries if "://" not in entry]
        self._exact = frozenset(entry for entry in entries if not entry.startswith("*"))
        self._suffixes = tuple(entry[1:] for entry in entries if entry.startswith("*."))
        self._all = "*" in entries

    def denies(self, url: str) -> bool:
        return self._denied is not None and self._denied.allows(url)

    def allows(self, url: str) -> bool:
        if self.denies(url):
            return False
        parts = urlsplit(url)
        host = (parts.hostname or "").rstrip(".")  # "host." is the same host
        names = {host, parts.netloc.rpartition("@")[2].lower()}
        return self._all or bool(names & self._exact) or host.endswith(self._suffixes) or url in self._urls

    def check(self, url: str) -> None:
        """
        Raises:
            HostDenied, HostNotAllowed: the URL's host is denied, or not among them.
        """
        if self.denies(url):
            raise HostDenied(urlsplit(url).hostname or "")
        if not self.allows(url):
            raise HostNotAllowed(urlsplit(url).hostname or "")


class Mirrors:
    """Base URLs by host, tried in order before the host itself.

    ``https://host/path?query`` is asked of a mirror as ``<base>/path?query``, so that any plain copy of a host's
    tree serves as its mirror. ``parent`` is another zooproxy's base URL: it is asked first, for every source, and with
    ``parent_token``, if there is one.
    """

    def __init__(
        self, bases: Mapping[str, Sequence[str]], parent: str | None = None, parent_token: str | None = None
    ) -> None:
        for host, urls in bases.items():
            for position, url in enumerate(urls):
                _check_base(host, url, last=position == len(urls) - 1)
        self._parent = None if parent is None else parent.rstrip("/")
        if parent_token is not None and self._parent is None:
            raise SettingsError("PARENT_TOKEN: there is no PARENT to ask with it; set that, or leave the token out")
        if parent_token is not None and not _TOKEN.match(parent_token):
            raise SettingsError("PARENT_TOKEN: a token is letters, digits and -._~+/=, as RFC 6750 has it")
        self._parent_token = parent_token
        self._bases = {host.lower(): tuple(urls) for host, urls in bases.items()}

    def endpoints(self) -> frozenset[tuple[str, int]]:
        """Host and port of every mirror, and of the parent."""
        own = [base for bases in self._bases.values() for base in bases if base != OFF]
        parts = [urlsplit(base) for base in (*own, *([self._parent] if self._parent else []))]
        return frozenset((part.hostname or "", part.port or _PORTS[part.scheme]) for part in parts)

    @property
    def parent(self) -> str | None:
        """Its base URL, without a slash at the end."""
        return self._parent

    def credentials(self, url: str) -> Mapping[str, str]:
        """The headers with which ``url`` is asked for: those of the parent's own API have its token."""
        if self._parent is None or self._parent_token is None or not url.startswith(f"{self._parent}{API}/"):
            return {}
        return {"Authorization": f"Bearer {self._parent_token}"}

    def candidates(self, url: str) -> tuple[Candidate, ...]:
        """Whom to ask for ``url``, in order; nobody, where the operator left its host out."""
        own = self._own_candidates(url)
        published = published_file(url)
        if self._parent is not None and published is not None:
            asked = self._parent + BLOB.format(sha256=published.sha256)
            return Candidate(asked, host_of(self._parent)), *own
        if self._parent is None or scheme_of(url) not in _TOLD_TO_PARENTS:
            return own
        asked = f"{self._parent}{CHECKPOINT}?{urlencode({'ref': url, 'variant': RAW})}"
        return Candidate(asked, host_of(self._parent)), *own

    def _own_candidates(self, url: str) -> tuple[Candidate, ...]:
        if scheme_of(url) not in WEB:
            return (Candidate(url),)
        parts = urlsplit(url)
        bases = self._bases.get(parts.netloc.lower()) or self._bases.get(parts.hostname or "") or ()
        rest = parts.path + (f"?{parts.query}" if parts.query else "")
        mirrors = tuple(Candidate(base.rstrip("/") + rest, host_of(base)) for base in bases if base != OFF)
        return mirrors if bases and bases[-1] == OFF else (*mirrors, Candidate(url))


def _check_base(host: str, url: str, *, last: bool) -> None:
    if url == OFF and last:
        return
    parts = urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname or parts.query or parts.fragment:
        raise SettingsError(
            f"MIRRORS: the entries of '{host}' must be http(s) base URLs without a query, or 'off' as the last one"
        )
