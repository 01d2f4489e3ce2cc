"""``zooproxy pull``: a checkpoint, in any variant and format, into a file; a pull that was cut short is resumed."""

from __future__ import annotations

import contextlib
import hashlib
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Callable, Final, Optional
from urllib.parse import unquote

from zooproxy.client.chain import DirectReached, Route
from zooproxy.client.locked import locked_entry, prove_locked
from zooproxy.client.settings import ClientSettings
from zooproxy.client.transport import Body, Connection
from zooproxy.digest import Hasher, Sha256
from zooproxy.errors import BadRequest, LockedOtherwise, ProxyNotConfigured, TransferCorrupt
from zooproxy.names.lock import Locked
from zooproxy.wire import routes

_PARTIAL: Final = ".partial"
_TAG: Final = ".etag"
_NAME = re.compile(r"filename\*=UTF-8''([^;\s]+)|filename=\"([^\"]+)\"")
_DIGEST = re.compile(r"sha-256=:[A-Za-z0-9+/=]+:")
_BLOCK: Final = 1 << 20

#: Told (label, bytes done, bytes in all or None) whenever some have arrived.
Report = Callable[[str, int, Optional[int]], None]


@dataclass(frozen=True)
class Rendition:
    """What to pull: the query of ``GET /v1/checkpoint``. ``format`` and ``prefix`` mean nothing to ``raw``."""

    ref: str
    variant: str = routes.RAW
    format: str = routes.SAFETENSORS
    prefix: Optional[str] = None

    @property
    def query(self) -> Mapping[str, str]:
        query = {"ref": self.ref, "variant": self.variant}
        if self.variant != routes.RAW:
            query["format"] = self.format
            if self.prefix is not None:
                query["prefix"] = self.prefix
        return query


@dataclass(frozen=True)
class Pulled:
    """``path`` of ``size`` bytes; ``warnings`` are what the proxy has to say about the reference."""

    path: Path
    size: int
    warnings: tuple[str, ...]


def pull(wanted: Rendition, to: Path, settings: ClientSettings, report: Report = lambda *_: None) -> Pulled:
    """Writes the rendition to ``to``: a file, or a directory in which it gets its published name.

    The bytes lie in a file ending in ``.partial`` until they are complete and have the digest that the proxy promised;
    what is there from an earlier pull of the same rendition is not moved again.

    Raises:
        ProxyRefused, ProxyUnreachable, ProxyNotConfigured, TransferCorrupt: see ``zooproxy.load``.
        NotLocked, LockedOtherwise, MalformedLock: what the lock file does not allow.
        BadRequest: there is a lock file, which can prove a published file only, and another variant is asked for.
        OSError: it cannot be written.
    """
    locked = locked_entry(wanted.ref, settings)
    if locked and wanted.variant != routes.RAW:
        raise BadRequest(
            "ZOOPROXY_LOCK lists published files, and a converted one cannot be proven by it; pull --variant raw, then "
            "zooproxy convert"
        )
    try:
        with Route(settings) as route:
            return route.do(lambda proxy: _pull(proxy, wanted, to, report, locked))
    except DirectReached:
        if wanted.variant != routes.RAW:
            raise ProxyNotConfigured("no proxy serves, and 'direct' can pull raw files only: --variant raw") from None
        from zooproxy.client.direct import copy_published

        path = copy_published(wanted.ref, to, settings)
        return Pulled(path, path.stat().st_size, ())


def _pull(proxy: Connection, wanted: Rendition, to: Path, report: Report, locked: Optional[Locked]) -> Pulled:
    key = hashlib.sha256(repr(sorted(wanted.query.items())).encode()).hexdigest()[:16]
    partial = (to if to.is_dir() else to.parent) / f".{key}{_PARTIAL}"
    tag = partial.with_suffix(_TAG)
    have = partial.stat().st_size if partial.exists() and tag.exists() else 0
    headers = {"Range": f"bytes={have}-", "If-Range": tag.read_text(encoding="ascii")} if have else {}
    body = proxy.open(routes.CHECKPOINT, wanted.query, headers)
    name = _name_of(body) or "checkpoint"
    with partial.open("ab" if body.start else "wb") as file:
        tag.write_text(body.header("ETag"), encoding="ascii")
        _receive(body, file, lambda done: report(name, done, body.size))
    _prove(body, partial, tag, locked)
    path = to / name if to.is_dir() else to
    partial.replace(path)
    tag.unlink(missing_ok=True)
    return Pulled(path, path.stat().st_size, body.warnings)


def _receive(body: Body, file: IO[bytes], report: Callable[[int], None]) -> None:
    done = body.start
    report(done)
    for block in body.blocks(_BLOCK):
        file.write(block)
        done += len(block)
        report(done)


def _prove(body: Body, partial: Path, tag: Path, locked: Optional[Locked]) -> None:
    """By ``Repr-Digest``, which tells of the whole whatever range was sent (RFC 9530, section 3), and by the lock."""
    match = _DIGEST.search(body.header("Repr-Digest"))
    if match is None and locked is None:
        return
    digest = sha256_of(partial)
    try:
        if match is not None and digest.repr_digest() != match[0]:
            raise TransferCorrupt("the file arrived with another sha256 than the proxy promised; it was removed")
        if locked is not None:
            prove_locked(locked, digest, "the file arrived with")
    except (TransferCorrupt, LockedOtherwise):
        for path in (partial, tag):
            path.unlink(missing_ok=True)
        raise


def sha256_of(path: Path) -> Sha256:
    hasher = Hasher()
    with path.open("rb") as file:
        for block in iter(lambda: file.read(_BLOCK), b""):
            hasher.update(block)
    return hasher.digest()


def _name_of(body: Body) -> str:
    """The published name, and nothing that could lead out of a directory."""
    match = _NAME.search(body.header("Content-Disposition"))
    if match is None:
        return ""
    with contextlib.suppress(UnicodeDecodeError):
        name = Path(unquote(match[1], errors="strict") if match[1] else match[2]).name
        return "" if name in (".", "..") or "\0" in name else name
    return ""
