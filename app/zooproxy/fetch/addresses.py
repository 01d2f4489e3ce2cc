"""Which addresses an upstream may have, checked where connections are made.

A name is resolved once, every address it has must be public, and one of those very addresses is dialled; host name and
SNI stay as they were. Checked any earlier, a name that resolves differently the second time (DNS rebinding) or a
redirect would reach the cluster's own network.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Awaitable, Callable, Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address
from typing import Any, Final

import httpcore2

from zooproxy.fetch.connections import CountedStream

Resolve = Callable[[str, int], Awaitable[Sequence[str]]]

_NAT64: Final = IPv6Network("64:ff9b::/96")


class PrivateAddress(Exception):
    """A name that leads to an address which is not public; ``http`` turns it into an ``AddressRefused``."""

    def __init__(self, host: str, address: str) -> None:
        super().__init__(f"the host '{host}' has the address {address}, which is not a public one")
        self.host = host


def is_public(address: str) -> bool:
    """Whether ``address`` (IPv4 or IPv6 as text) and any IPv4 address wrapped in it are globally reachable unicast."""
    parsed = ip_address(address.partition("%")[0])
    inner = _wrapped(parsed) if isinstance(parsed, IPv6Address) else None
    if inner is not None:
        return _reachable(inner)
    return _reachable(parsed)


def _wrapped(address: IPv6Address) -> IPv4Address | None:
    if address in _NAT64:
        return IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)


def _reachable(address: IPv4Address | IPv6Address) -> bool:
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)


async def resolve(host: str, port: int) -> Sequence[str]:
    """Every address of ``host``, as the system has it, in the system's order."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return list(dict.fromkeys(str(entry[4][0]) for entry in found))


class GuardedBackend(httpcore2.AsyncNetworkBackend):
    """The network, with public addresses only, but for what ``exempt(host, port)`` allows: the operator's own hosts."""

    def __init__(
        self,
        exempt: Callable[[str, int], bool],
        resolve: Resolve = resolve,
        network: httpcore2.AsyncNetworkBackend | None = None,
    ) -> None:
        self._exempt = exempt
        self._resolve = resolve
        self._network = network or httpcore2.AnyIOBackend()

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109  # the base class's signature
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        options = (timeout, local_address, socket_options)
        if self._exempt(host, port):
            return CountedStream(await self._network.connect_tcp(host, port, *options))
        failure: httpcore2.ConnectError | httpcore2.ConnectTimeout | None = None
        for address in await self._public(host, port, timeout):
            try:
                return CountedStream(await self._network.connect_tcp(address, port, *options))
            except (httpcore2.ConnectError, httpcore2.ConnectTimeout) as error:
                failure = failure or error
        raise failure or httpcore2.ConnectError(f"{host} has no address")

    async def addresses(self, host: str, port: int, patience: float | None) -> Sequence[str]:
        """Those that ``connect_tcp`` would dial.

        Raises:
            PrivateAddress: one of them is not public, and the host is not exempt.
            httpcore2.ConnectError, httpcore2.ConnectTimeout: the name cannot be resolved, or not in time.
        """
        exempt = self._exempt(host, port)
        return await (self._resolved if exempt else self._public)(host, port, patience)

    async def _public(self, host: str, port: int, patience: float | None) -> Sequence[str]:
        addresses = await self._resolved(host, port, patience)
        for address in addresses:
            if not is_public(address):
                raise PrivateAddress(host, address)
        return addresses

    async def _resolved(self, host: str, port: int, patience: float | None) -> Sequence[str]:
        try:
            async with asyncio.timeout(patience):
                return await self._resolve(host, port)
        except TimeoutError as error:
            raise httpcore2.ConnectTimeout(f"the name {host} was not resolved in time") from error
        except (OSError, UnicodeError) as error:
            raise httpcore2.ConnectError(f"the name {host} cannot be resolved") from error

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)
