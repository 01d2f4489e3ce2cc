"""Reads a bundle from its beginning to its end, once; nothing is unpacked and no position is sought."""

from __future__ import annotations

from typing import BinaryIO, Final

from zooproxy.errors import MalformedBundle
from zooproxy.provide.bundles import layout
from zooproxy.provide.bundles.manifest import LARGEST_MANIFEST, Manifest, Member, manifest_from_bytes

LARGEST_SIGNATURE: Final = 64 << 20  # bytes


class BundleReader:
    """Over an open file at the bundle's first byte; a pipe will do. Synchronous.

    The order of calls: for each of ``manifest.contents.members``, ``begin``, then ``read`` until it returns nothing;
    at last ``end``.

    Attributes:
        manifest_bytes, signature: as they stand in the file; no signature is None.

    Raises:
        MalformedBundle: what was read is not what a bundle has there; from every method.
        OSError: the file cannot be read.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._name = layout.MANIFEST
        self._left = self._padding = 0
        self._next: bytes | None = None
        block = self._header(layout.MANIFEST)
        size = layout.parsed_size(block, layout.MANIFEST)
        if size is None:
            raise layout.unexpected(block, layout.MANIFEST)
        self.manifest_bytes = self._whole(size, LARGEST_MANIFEST)
        self.manifest: Manifest = manifest_from_bytes(self.manifest_bytes)
        self.signature: bytes | None = None
        # Where no signature stands there is the next header, which may be the end's.
        self._next = self._header(layout.SIGNATURE)
        size = layout.parsed_size(self._next, layout.SIGNATURE)
        if size is not None:
            self._next, self._name = None, layout.SIGNATURE
            self.signature = self._whole(size, LARGEST_SIGNATURE)

    def begin(self, member: Member) -> None:
        """Goes to ``member``, whose turn it has to be."""
        self._name = layout.blob_name(member.sha256)
        block = self._header(self._name)
        if block != layout.header(self._name, member.size):
            raise layout.unexpected(block, self._name)
        self._open(member.size)

    def read(self, most: int) -> bytes:
        """At most ``most`` bytes of the member, one or more until it ends."""
        data = self._file.read(min(most, self._left))
        if not data and self._left:
            raise MalformedBundle(f"the bundle ends within {self._name}: it was cut short; copy it again")
        self._left -= len(data)
        if not self._left and self._padding:
            if self._exactly(self._padding).strip(b"\0"):
                raise MalformedBundle(f"what fills up {self._name} is not empty: the bundle is damaged")
            self._padding = 0
        return data

    def skip(self, member: Member) -> None:
        """As ``begin``, and past the member without a look at its bytes; reads them where the file cannot seek."""
        self.begin(member)
        if self._file.seekable() and self._left:
            self._file.seek(self._left - 1, 1)
            self._left = 1
        while self.read(1 << 20):
            pass

    def end(self) -> None:
        """Nothing but the end follows."""
        layout.read_end(self._rest)

    def _rest(self, size: int) -> bytes:
        taken, self._next = self._next or b"", None
        return taken + self._file_read(size - len(taken))

    def _header(self, wanted: str) -> bytes:
        block = self._rest(layout.BLOCK)
        if len(block) < layout.BLOCK:
            raise layout.unexpected(block, wanted)
        return block

    def _whole(self, size: int, largest: int) -> bytes:
        if size > largest:
            raise MalformedBundle(f"{self._name} has {size} bytes; no bundle of ours has more than {largest} there")
        self._open(size)
        parts = []
        while part := self.read(1 << 20):
            parts.append(part)
        return b"".join(parts)

    def _open(self, size: int) -> None:
        self._left, self._padding = size, layout.padding(size)

    def _exactly(self, size: int) -> bytes:
        data = self._file_read(size)
        if len(data) < size:
            raise MalformedBundle(f"the bundle ends within {self._name}: it was cut short; copy it again")
        return data

    def _file_read(self, size: int) -> bytes:
        data = b""
        while len(data) < size and (more := self._file.read(size - len(data))):
            data += more
        return data
