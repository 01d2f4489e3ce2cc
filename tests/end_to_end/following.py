"""A client that reads a raw checkpoint while it is filled."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import httpx2

from end_to_end.proxy_process import ProxyProcess, http_client


@contextmanager
def streaming(proxy: ProxyProcess, ref: str, headers: dict[str, str] | None = None) -> Iterator[httpx2.Response]:
    with (
        http_client() as client,
        client.stream(
            "GET", f"{proxy.url}/v1/checkpoint", params={"ref": ref, "variant": "raw"}, headers=headers
        ) as answer,
    ):
        yield answer


def take(answer: httpx2.Response, blocks: Iterator[bytes], size: int) -> bytes:
    """At least ``size`` bytes of a body that need not end."""
    taken = b""
    while len(taken) < size:
        taken += next(blocks)
    return taken


def read_until_broken(answer: httpx2.Response) -> tuple[bytes, bool]:
    received = b""
    try:
        for block in answer.iter_raw():
            received += block
    except httpx2.RemoteProtocolError:
        return received, True
    return received, False
