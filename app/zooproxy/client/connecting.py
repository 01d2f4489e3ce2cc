"""How a proxy is reached: straight, or through the HTTP proxy that the environment names for it."""

from __future__ import annotations

import http.client
import socket
from typing import Any
from urllib.parse import urlsplit

from zooproxy.client.settings import ClientSettings


def connection_to(base: str, settings: ClientSettings) -> tuple[http.client.HTTPConnection, str]:
    """A connection that is not open yet, and what stands before each path in its requests."""
    url, gateway = urlsplit(base), settings.gateway_of(base)
    kind = http.client.HTTPSConnection if url.scheme == "https" else http.client.HTTPConnection
    if gateway is None:
        connection = kind(url.hostname or "", url.port, timeout=settings.timeouts.connect)
        # Not public: a version that names it otherwise connects all the same, a little later.
        connection._create_connection = _connected  # type: ignore[attr-defined]  # noqa: SLF001
        return connection, url.path
    via = urlsplit(gateway if "://" in gateway else f"http://{gateway}")
    connection = kind(via.hostname or "", via.port or 80, timeout=settings.timeouts.connect)
    if url.scheme != "https":
        return connection, base  # a request to an HTTP proxy names the whole URL (RFC 9112, section 3.2.2)
    connection.set_tunnel(url.hostname or "", url.port)
    return connection, url.path


def _connected(address: tuple[str, int], *rest: Any) -> socket.socket:
    """As bytes, a host's name needs none of the tables that the socket module would load for it: milliseconds of the
    first load in a process."""
    host, port = address
    named: Any = host.encode("ascii") if host.isascii() else host
    return socket.create_connection((named, port), *rest)
