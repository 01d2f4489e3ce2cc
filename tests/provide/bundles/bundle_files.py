"""Bundles made by hand: honest ones, and what a stranger might send."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Iterable
from datetime import UTC, datetime

from zooproxy.digest import Sha256
from zooproxy.provide.bundles import layout
from zooproxy.provide.bundles.manifest import BundledSource, Contents, Manifest, Member, sealed

WHEN = datetime(2026, 1, 31, tzinfo=UTC)


def checkpoint(size: int) -> bytes:
    """A safetensors file of ``size`` floats."""
    head = json.dumps({"w": {"dtype": "F32", "shape": [size], "data_offsets": [0, 4 * size]}}).encode()
    return len(head).to_bytes(8, "little") + head + bytes([size % 251]) * (4 * size)


def url_of(number: int) -> str:
    return f"https://download.pytorch.org/{number}.safetensors"


def contents_of(bodies: dict[str, bytes], **more: object) -> Contents:
    sources = [BundledSource(url, Sha256.of(body), len(body), WHEN, False, ()) for url, body in bodies.items()]
    members = [Member(Sha256.of(body), len(body)) for body in bodies.values()]
    given = {"sources": tuple(sorted(sources, key=lambda one: one.url)), "members": tuple(members), **more}
    return Contents(**given)  # type: ignore[arg-type]


def filed(name: str, data: bytes) -> bytes:
    return layout.header(name, len(data)) + data + bytes(layout.padding(len(data)))


def blob(data: bytes) -> bytes:
    return filed(layout.blob_name(Sha256.of(data)), data)


def manifest(contents: Contents) -> Manifest:
    return sealed("zooproxy test", [contents])[0]


def bundle(contents: Contents, bodies: Iterable[bytes], signature: bytes | None = None) -> bytes:
    """A whole bundle of ``contents`` whose members are ``bodies``."""
    head = filed(layout.MANIFEST, manifest(contents).to_bytes())
    signed = b"" if signature is None else filed(layout.SIGNATURE, signature)
    return head + signed + b"".join(map(blob, bodies)) + layout.END


def changed_header(block: bytes, at: int, value: bytes) -> bytes:
    """``block`` with ``value`` at ``at`` and a checksum that is right again."""
    header = bytearray(block[:512])
    header[at : at + len(value)] = value
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + block[512:]


def by_tarfile(*members: tarfile.TarInfo | tuple[tarfile.TarInfo, bytes], form: int = tarfile.PAX_FORMAT) -> bytes:
    """What Python's tarfile writes."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w", format=form) as tar:
        for member in members:
            if isinstance(member, tuple):
                tar.addfile(member[0], io.BytesIO(member[1]))
            else:
                tar.addfile(member)
    return file.getvalue()


def named(name: str, kind: bytes = tarfile.REGTYPE, size: int = 0, link: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.size, info.linkname = kind, size, link
    return info
