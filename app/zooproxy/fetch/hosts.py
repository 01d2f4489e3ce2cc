"""What there is to know of a host before anything is asked of it: its addresses, and when its certificate ends."""

from __future__ import annotations

import ssl
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final
from urllib.parse import urlsplit

import httpcore2

from zooproxy.fetch.addresses import GuardedBackend, PrivateAddress
from zooproxy.fetch.policy import WEB
from zooproxy.fetch.upstream import Patience

_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class HostSighting:
    """``host`` as ``host[:port]``; ``certificate_ends`` is None without TLS, or where the certificate is not believed.

    ``problem`` says in words what is wrong; empty if nothing is.
    """

    host: str
    addresses: tuple[str, ...] = ()
    certificate_ends: datetime | None = None
    problem: str = ""


class Hosts:
    """Looks at hosts under the rules that hold for fetching from them: public addresses, but for ``exempt`` ones."""

    def __init__(self, exempt: Callable[[str, int], bool], certificates: ssl.SSLContext, patience: Patience) -> None:
        self._network = GuardedBackend(exempt)
        self._certificates = certificates
        self._seconds = patience.connect_seconds

    async def look(self, url: str) -> HostSighting | None:
        """The host of ``url``; None where its scheme knows no hosts."""
        parts = urlsplit(url)
        if parts.scheme not in WEB or not parts.hostname:
            return None
        name, host, port = parts.netloc.lower(), parts.hostname, parts.port or _PORTS[parts.scheme]
        addresses: tuple[str, ...] = ()
        try:
            addresses = tuple(sorted(await self._network.addresses(host, port, self._seconds)))
            ends = await self._certificate_ends(host, port) if parts.scheme == "https" else None
        except PrivateAddress as error:
            return HostSighting(name, problem=str(error))
        except (httpcore2.NetworkError, httpcore2.TimeoutException) as error:
            return HostSighting(name, addresses, problem=_words(error))
        return HostSighting(name, addresses, ends)

    async def _certificate_ends(self, host: str, port: int) -> datetime:
        stream = await self._network.connect_tcp(host, port, timeout=self._seconds)
        try:
            secure = await stream.start_tls(self._certificates, host, self._seconds)
            socket = secure.get_extra_info("ssl_object")
            ends = ssl.cert_time_to_seconds(socket.getpeercert()["notAfter"])
        finally:
            await stream.aclose()
        return datetime.fromtimestamp(ends, UTC)


def _words(error: Exception) -> str:
    cause = error.__cause__ or error
    if isinstance(cause, ssl.SSLCertVerificationError):
        return f"its certificate is not believed: {cause.verify_message}"
    return str(error) or type(error).__name__
