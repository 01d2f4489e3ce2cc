"""What a token that is limited to zoos may have: their names, and the files that these lead to."""

from __future__ import annotations

from starlette.requests import Request

from zooproxy.digest import Sha256
from zooproxy.errors import ZooNotAllowed
from zooproxy.names.catalog import Resolution
from zooproxy.provide.provider import Provider
from zooproxy.serving.access import Bearer

#: The member of a request's scope that says who makes it; absent where nobody was asked for a token.
BEARER = "zooproxy.bearer"


def bearer_of(request: Request) -> Bearer | None:
    found: Bearer | None = request.scope.get(BEARER)
    return found


def limit_of(request: Request) -> frozenset[str] | None:
    """The zoos that this request is limited to; None where it is not limited."""
    bearer = bearer_of(request)
    return None if bearer is None else bearer.zoos


def check_reach(request: Request, provider: Provider, resolution: Resolution) -> None:
    """
    Raises:
        ZooNotAllowed: the request's token is limited to other zoos.
    """
    zoos = limit_of(request)
    if zoos is None or resolution.zoo in zoos:
        return
    if resolution.zoo is not None:
        raise _refusal(zoos)
    check_url(request, provider, resolution.source.url)


def check_url(request: Request, provider: Provider, url: str) -> None:
    """
    Raises:
        ZooNotAllowed: the request's token is limited to zoos, and no name of them leads to ``url`` (canonical).
    """
    zoos = limit_of(request)
    if zoos is not None and zoos.isdisjoint(provider.names.zoos_of(url)):
        raise _refusal(zoos)


async def check_blob(request: Request, provider: Provider, digest: Sha256) -> None:
    """
    Raises:
        ZooNotAllowed: the request's token is limited to zoos, and what is held of them is not this blob.
    """
    zoos = limit_of(request)
    if zoos is None:
        return
    for url in await provider.sources_of(digest):
        if not zoos.isdisjoint(provider.names.zoos_of(url)):
            return
    raise _refusal(zoos)


def _refusal(zoos: frozenset[str]) -> ZooNotAllowed:
    return ZooNotAllowed(f"this token is limited to {', '.join(sorted(zoos))}; an operator can make one without limits")
