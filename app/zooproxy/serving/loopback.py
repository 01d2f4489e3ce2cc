"""Whether a request comes from a program on this very machine."""

from __future__ import annotations

import ipaddress
from urllib.parse import urlsplit

from starlette.requests import Request

#: Added by proxies in front: the peer's address is then theirs, not the client's.
_FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip")


def is_own(request: Request) -> bool:
    """From this machine, not passed on by a proxy on it, and not by a web page that a browser on it shows.

    Such a page either names its own host in ``Host`` (DNS rebinding) or itself in ``Origin``.
    """
    if request.client is None or any(name in request.headers for name in _FORWARDED):
        return False
    named = [_host_of(f"//{request.headers.get('host', '')}")]
    if "origin" in request.headers:
        named.append(_host_of(request.headers["origin"]))
    return all(_is_loopback(host) for host in (request.client.host, *named))


def _host_of(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _is_loopback(host: str) -> bool:
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback
