"""Which addresses may be dialled, and that what was checked is what is dialled."""

from __future__ import annotations

from collections.abc import Sequence

import httpcore2
import pytest

from fakes.upstream import Upstream
from zooproxy.fetch.addresses import GuardedBackend, PrivateAddress, is_public, resolve

PRIVATE = [
    "127.0.0.1",
    "0.0.0.0",
    "10.1.2.3",
    "172.16.0.1",
    "192.168.1.1",
    "169.254.169.254",
    "100.64.0.1",
    "198.18.0.1",
    "224.0.0.1",
    "240.0.0.1",
    "255.255.255.255",
    "::1",
    "::",
    "fe80::1",
    "fe80::1%eth0",
    "fc00::1",
    "ff02::1",
    "::ffff:127.0.0.1",
    "64:ff9b::7f00:1",
    "2002:7f00:1::",
    "2001:db8::1",
]


@pytest.mark.parametrize("address", PRIVATE)
def test_an_address_inside_the_network_is_not_public(address: str) -> None:
    assert not is_public(address)


@pytest.mark.parametrize("address", ["1.1.1.1", "2606:4700::1111", "::ffff:1.1.1.1", "64:ff9b::101:101"])
def test_an_address_of_the_internet_is_public(address: str) -> None:
    assert is_public(address)


def nobody(host: str, port: int) -> bool:
    return False


class Resolver:
    """Answers with one list after the other."""

    def __init__(self, *answers: Sequence[str]) -> None:
        self.answers = list(answers)
        self.asked = 0

    async def __call__(self, host: str, port: int) -> Sequence[str]:
        self.asked += 1
        return self.answers.pop(0)


@pytest.mark.parametrize(
    "host",
    ["127.0.0.1", "localhost", "127.1", "2130706433", "0x7f000001", "0177.0.0.1", "0", "::1", "::ffff:127.0.0.1"],
)
async def test_every_spelling_of_loopback_is_refused(upstream: Upstream, host: str) -> None:
    with pytest.raises(PrivateAddress, match="not a public one"):
        await GuardedBackend(nobody).connect_tcp(host, upstream.port, timeout=5)
    assert upstream.seen == []


async def test_one_private_address_among_public_ones_refuses_them_all() -> None:
    backend = GuardedBackend(nobody, Resolver(["1.1.1.1", "10.0.0.1"]))
    with pytest.raises(PrivateAddress, match=r"10\.0\.0\.1"):
        await backend.connect_tcp("zoo.example", 80, timeout=5)


class Network(httpcore2.AsyncNetworkBackend):
    """Remembers what it was asked to dial; every address but ``alive`` refuses."""

    def __init__(self, alive: str = "") -> None:
        self.dialled: list[str] = []
        self._alive = alive

    async def connect_tcp(self, host: str, port: int, *_: object) -> httpcore2.AsyncNetworkStream:
        self.dialled.append(host)
        if host != self._alive:
            raise httpcore2.ConnectError(f"{host} refused")
        return httpcore2.AsyncNetworkStream()


async def test_what_was_checked_is_dialled_and_the_name_is_resolved_once() -> None:
    resolver, network = Resolver(["1.1.1.1"], ["127.0.0.1"]), Network("1.1.1.1")
    await GuardedBackend(nobody, resolver, network).connect_tcp("zoo.example", 443, timeout=5)
    assert (resolver.asked, network.dialled) == (1, ["1.1.1.1"])


async def test_every_address_is_tried_and_the_first_failure_is_told() -> None:
    network = Network()
    backend = GuardedBackend(nobody, Resolver(["1.1.1.1", "2606:4700::1111"]), network)
    with pytest.raises(httpcore2.ConnectError, match=r"1\.1\.1\.1 refused"):
        await backend.connect_tcp("zoo.example", 443, timeout=5)
    assert network.dialled == ["1.1.1.1", "2606:4700::1111"]


async def test_an_exempt_host_is_dialled_at_its_port_only(upstream: Upstream) -> None:
    backend = GuardedBackend(lambda host, port: (host, port) == ("127.0.0.1", upstream.port))
    stream = await backend.connect_tcp("127.0.0.1", upstream.port, timeout=5)
    await stream.aclose()
    with pytest.raises(PrivateAddress):
        await backend.connect_tcp("127.0.0.1", upstream.port + 1, timeout=5)


@pytest.mark.parametrize("answer", [[], None])
async def test_a_name_without_an_address_is_a_failed_connection(answer: Sequence[str] | None) -> None:
    async def lookup(host: str, port: int) -> Sequence[str]:
        if answer is None:
            raise OSError("no such name")
        return answer

    with pytest.raises(httpcore2.ConnectError):
        await GuardedBackend(nobody, lookup).connect_tcp("zoo.example", 80, timeout=5)


async def test_a_name_that_nobody_resolves_in_time_is_a_time_out() -> None:
    async def never(host: str, port: int) -> Sequence[str]:
        await GuardedBackend(nobody).sleep(60)
        return []

    with pytest.raises(httpcore2.ConnectTimeout):
        await GuardedBackend(nobody, never).connect_tcp("zoo.example", 80, timeout=0.01)


async def test_the_system_is_asked_for_every_address_once() -> None:
    found = await resolve("127.0.0.1", 80)
    assert found == ["127.0.0.1"]
