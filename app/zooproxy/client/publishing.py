"""``zooproxy publish``: a file of this machine becomes a checkpoint of the proxy, under a name of the site's own."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Final
from urllib.parse import quote

from zooproxy.client.pulling import Report, sha256_of
from zooproxy.client.settings import DIRECT, OFF, ClientSettings
from zooproxy.client.transport import Connection
from zooproxy.errors import ProxyNotConfigured, TransferCorrupt
from zooproxy.names.published import PublishedName
from zooproxy.wire import routes

_BLOCK: Final = 1 << 20


@dataclass(frozen=True)
class Published:
    """The references that lead to the file now, and its sha256."""

    refs: tuple[str, ...]
    sha256: str


def publish(
    file: Path, name: PublishedName, settings: ClientSettings, *, force: bool = False, report: Report = lambda *_: None
) -> Published:
    """Uploads ``file`` to the first proxy of ``settings``: read once for its digest, and once while it is sent.

    Raises:
        OSError: it cannot be read.
        ProxyNotConfigured: the first entry is no proxy.
        ProxyRefused: the proxy's verdict, told before the file is sent where it can be.
        ProxyUnreachable, TransferCorrupt: see ``client.transport``.
    """
    digest, size = sha256_of(file), file.stat().st_size
    path, query = (
        _path(name),
        {**_tag(name), "sha256": digest, "file": file.name, **({"force": "true"} if force else {})},
    )
    with _connected(settings) as proxy, file.open("rb") as opened:
        proxy.get_json(path, {**query, "size": str(size)})  # could it be published? Gigabytes later is too late
        blocks = _blocks(opened.read, lambda done: report(file.name, done, size))
        answer = proxy.put(path, query, blocks, size)
    if not isinstance(answer, dict) or not isinstance(answer.get("refs"), list):
        raise TransferCorrupt("the proxy answered in another shape; is it a zooproxy of this version?")
    return Published(tuple(answer["refs"]), digest)


def withdraw(name: PublishedName, settings: ClientSettings) -> None:
    """Removes the tag, or without one the name and all its tags; raises as ``publish``."""
    with _connected(settings) as proxy:
        proxy.delete(_path(name), _tag(name))


def _path(name: PublishedName) -> str:
    return routes.ZOO_FILE.replace("{zoo}", quote(name.zoo, safe="")).replace("{name:path}", quote(name.name))


def _tag(name: PublishedName) -> dict[str, str]:
    return {} if name.tag is None else {"tag": name.tag}


@contextlib.contextmanager
def _connected(settings: ClientSettings) -> Iterator[Connection]:
    base = settings.proxies[0]
    if base in (DIRECT, OFF):
        raise ProxyNotConfigured("ZOOPROXY names no proxy first; there is none to publish to")
    proxy = Connection(base, settings)
    try:
        yield proxy
    finally:
        proxy.close()


def _blocks(read: Callable[[int], bytes], report: Callable[[int], None]) -> Iterator[bytes]:
    done = 0
    while True:
        block = read(_BLOCK)
        if not block:
            return
        yield block
        done += len(block)
        report(done)
