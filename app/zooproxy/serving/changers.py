"""Who may make a call that changes state: the bearer of a token, or, where no token is set, this machine itself."""

from __future__ import annotations

import hmac
import ipaddress
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.requests import Request

from zooproxy.errors import NotFromHere, TokenRequired

#: Added by proxies in front: the peer's address is then theirs, not the client's.
_FORWARDED = ("forwarded", "x-forwarded-for", "x-real-ip")


class Changers:
    def __init__(self, tokens: Iterable[str]) -> None:
        self._tokens = tuple(token.encode() for token in tokens if token)

    def check(self, request: Request) -> None:
        """
        Raises:
            TokenRequired: tokens are set, and the request bears none of them.
            NotFromHere: no token is set, and the request does not come from a program on this machine.
        """
        if self._tokens:
            self._check_token(request.headers.get("authorization", ""))
        elif not _is_own(request):
            raise NotFromHere(
                "calls that change state are taken from the proxy's own machine only; an operator can set "
                "ADMIN_TOKENS, whose bearers may make them from anywhere"
            )

    def _check_token(self, authorization: str) -> None:
        scheme, _, token = authorization.partition(" ")
        given = token.strip().encode()
        # All are compared, so that the time says nothing about which one is near.
        matches = [hmac.compare_digest(given, known) for known in self._tokens]
        if scheme.lower() != "bearer" or not any(matches):
            raise TokenRequired("this call needs one of the proxy's ADMIN_TOKENS: Authorization: Bearer <token>")


def _is_own(request: Request) -> bool:
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
