"""Reads a bundle from its beginning to its end, once; nothing is unpacked.

Where it is a file, and no pipe, members can be read side by side: the manifest says where each of them has to stand.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from typing import BinaryIO, Final, Protocol

from zooproxy.errors import MalformedBundle
from zooproxy.provide.bundles import layout
from zooproxy.provide.bundles.manifest import LARGEST_MANIFEST, Manifest, Member, manifest_from_bytes

LARGEST_SIGNATURE: Final = 64 << 20  # bytes

_BLOCK: Final = 512 << 10  # bytes; what was read is hashed and written while it is in a core's cache


class BundleReader:
    """Over an open file at the bundle's first byte; a pipe will do. Synchronous.

    The order of calls: ``blocks`` or ``skip`` for each of ``manifest.contents.members``; at last ``end``.

    Attributes:
        manifest_bytes, signature: as they stand in the file; no signature is None.
        apart: whether what ``blocks`` returns may be read later, and in another thread; else before the next call.

    Raises:
        MalformedBundle: what was read is not what a bundle has there; from every method.
        OSError: the file cannot be read.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.apart = _is_regular(file)
        self._files = _Files(file)
        size = self._files.open(layout.MANIFEST)
        if size is None:
            raise self._files.unexpected(layout.MANIFEST)
        self.manifest_bytes = self._files.whole(LARGEST_MANIFEST)
        self.manifest: Manifest = manifest_from_bytes(self.manifest_bytes)
        self.signature: bytes | None = None
        # Where no signature stands there is the next header, which may be the end's.
        if self._files.open(layout.SIGNATURE) is not None:
            self.signature = self._files.whole(LARGEST_SIGNATURE)

    def blocks(self, member: Member) -> Iterator[bytes]:
        """The bytes of ``member``, whose turn it has to be."""
        if not self.apart:
            return self._files.blocks(member)
        at = self._file.tell() - self._files.ahead
        self._files = _Files(self._file)
        self._file.seek(at + layout.footprint(member.size))
        return _Files(_FromHere(self._file.fileno(), at)).blocks(member)

    def skip(self, member: Member) -> None:
        """Past ``member``, whose turn it has to be, without a look at its bytes; reads them where it cannot seek."""
        self._files.skip(member, self._file if self._file.seekable() else None)

    def end(self) -> None:
        """Nothing but the end follows."""
        layout.read_end(self._files.exactly_or_less)


class _Readable(Protocol):
    def read(self, size: int, /) -> bytes: ...


class _FromHere:
    """A file from byte ``at`` on, wherever others read it."""

    def __init__(self, descriptor: int, at: int) -> None:
        self._descriptor = descriptor
        self._at = at

    def read(self, size: int, /) -> bytes:
        data = os.pread(self._descriptor, size, self._at)
        self._at += len(data)
        return data


class _Files:
    """What stands in a tar file from where ``file`` is, one after another."""

    def __init__(self, file: _Readable) -> None:
        self._file = file
        self._name = layout.MANIFEST
        self._left = self._padding = 0
        self._next = b""

    @property
    def ahead(self) -> int:
        """Bytes that were read and are still to be looked at: those of a header."""
        return len(self._next)

    def open(self, name: str) -> int | None:
        """The size of the file ``name``; None if it is not there, and what is there was not passed."""
        self._next = self._header(name)
        size = layout.parsed_size(self._next, name)
        if size is not None:
            self._enter(name, size)
        return size

    def unexpected(self, name: str) -> MalformedBundle:
        return layout.unexpected(self._next, name)

    def whole(self, largest: int) -> bytes:
        """All of the file that was opened."""
        if self._left > largest:
            raise MalformedBundle(
                f"{self._name} has {self._left} bytes; no bundle of ours has more than {largest} there"
            )
        return b"".join(self._blocks())

    def blocks(self, member: Member) -> Iterator[bytes]:
        self._begin(member)
        yield from self._blocks()

    def skip(self, member: Member, seekable: BinaryIO | None) -> None:
        self._begin(member)
        if seekable is not None and self._left:
            seekable.seek(self._left - 1, 1)
            self._left = 1
        for _ in self._blocks():
            pass

    def exactly_or_less(self, size: int) -> bytes:
        data, self._next = self._next, b""
        while len(data) < size and (more := self._file.read(size - len(data))):
            data += more
        return data

    def _begin(self, member: Member) -> None:
        name = layout.blob_name(member.sha256)
        self._next = self._header(name)
        if self._next != layout.header(name, member.size):
            raise self.unexpected(name)
        self._enter(name, member.size)

    def _header(self, wanted: str) -> bytes:
        block = self.exactly_or_less(layout.BLOCK)
        if len(block) < layout.BLOCK:
            raise layout.unexpected(block, wanted)
        return block

    def _enter(self, name: str, size: int) -> None:
        self._next, self._name = b"", name
        self._left, self._padding = size, layout.padding(size)

    def _blocks(self) -> Iterator[bytes]:
        while self._left:
            data = self._file.read(min(_BLOCK, self._left))
            if not data:
                raise self._cut_short()
            self._left -= len(data)
            yield data
        filling = self.exactly_or_less(self._padding)
        if len(filling) < self._padding:
            raise self._cut_short()
        if any(filling):
            raise MalformedBundle(f"what fills up {self._name} is not empty: the bundle is damaged")

    def _cut_short(self) -> MalformedBundle:
        return MalformedBundle(f"the bundle ends within {self._name}: it was cut short; copy it again")


def _is_regular(file: BinaryIO) -> bool:
    try:
        return stat.S_ISREG(os.fstat(file.fileno()).st_mode)
    except OSError:  # in memory
        return False
