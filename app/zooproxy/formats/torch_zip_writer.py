"""Any tensor index as a fresh torch zip file: a pickle of our own, and the storages as ranges of the blob.

The layout is ``torch_zip``'s, the zip's own that of ``zip_directory``. As torch does, each storage's bytes start at a
multiple of 64, by an extra field in its local header (caffe2/serialize/inline_container.cc, ``getPadding``).
"""

from __future__ import annotations

import struct
import zlib
from dataclasses import dataclass
from typing import Final, Optional, Union

from zooproxy.formats.segments import BlobRange, Literal, Rendition, Segment
from zooproxy.formats.torch_pickle_writer import write_torch_pickle
from zooproxy.wire.routes import OCTETS
from zooproxy.wire.tensors import TensorIndex

_ROOT: Final = "archive"
_VERSION: Final = b"3\n"  # torch/csrc/jit/serialization: kProducedFileFormatVersion of plain tensors
_ALIGNMENT: Final = 64

# signature, needed, flags, method, time, date, crc, packed, size, name length, extra length
_LOCAL = struct.Struct("<4s5H3L2H")
# signature, made by, needed, flags, method, time, date, crc, packed, size, name, extra, comment, disk, internal,
# external, offset of the local header
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_END64 = struct.Struct("<4sQ2H2L4Q")
_LOCATOR = struct.Struct("<4sLQL")
_END = struct.Struct("<4s4H2LH")
_NEEDED: Final = 45  # zip64
_DATE: Final = 0x21  # 1980-01-01: the same index gives the same bytes
_ZIP64: Final = 0x0001
_PADDING: Final = 0x4246  # torch's "FB"
_FULL16: Final = 0xFFFF
_FULL32: Final = 0xFFFFFFFF


def pth_rendition(index: TensorIndex) -> Rendition:
    """The index as a file for ``torch.load(weights_only=True)``; see ``torch_pickle_writer`` for what it holds.

    ``index`` has the CRC-32 of every storage (``reader.with_digests``).

    Raises:
        UnsupportedFormat: a tensor that such a file cannot hold.
        ValueError: a storage without a CRC-32.
    """
    pickle = write_torch_pickle(index)
    archive = _Archive()
    archive.add("data.pkl", pickle.data)
    archive.add("byteorder", index.byteorder.encode())
    for key, lies in pickle.storages.items():
        if isinstance(lies, bytes):
            archive.add(f"data/{key}", lies)
            continue
        storage = index.storages[lies]
        if storage.crc32 is None and storage.size:
            raise ValueError("a torch file needs the CRC-32 of every storage")
        archive.add(f"data/{key}", BlobRange(storage.offset, storage.size), storage.crc32 or 0)
    archive.add("version", _VERSION)
    segments = archive.finish()
    return Rendition(segments, sum(map(len, segments)), OCTETS, ".pth")


@dataclass(frozen=True)
class _Entry:
    name: bytes
    crc32: int
    size: int
    header: int


class _Archive:
    """A zip archive under construction: what is generated, and ranges between it."""

    def __init__(self) -> None:
        self._segments: list[Segment] = []
        self._pending = bytearray()
        self._at = 0
        self._entries: list[_Entry] = []

    def add(self, name: str, data: Union[bytes, BlobRange], crc32: Optional[int] = None) -> None:
        crc = zlib.crc32(data) if isinstance(data, bytes) else crc32 or 0
        entry = _Entry(f"{_ROOT}/{name}".encode(), crc, len(data), self._at)
        self._entries.append(entry)
        self._put(_local_header(entry))
        if isinstance(data, bytes):
            self._put(data)
        elif len(data):
            self._flush()
            self._segments.append(data)
            self._at += len(data)

    def _put(self, data: bytes) -> None:
        self._pending += data
        self._at += len(data)

    def _flush(self) -> None:
        if self._pending:
            self._segments.append(Literal(bytes(self._pending)))
            self._pending.clear()

    def finish(self) -> tuple[Segment, ...]:
        start = self._at
        for entry in self._entries:
            self._put(_central_header(entry))
        count, length = len(self._entries), self._at - start
        # as torch does, a zip64 end record always
        end = self._at
        self._put(_END64.pack(b"PK\x06\x06", _END64.size - 12, _NEEDED, _NEEDED, 0, 0, count, count, length, start))
        self._put(_LOCATOR.pack(b"PK\x06\x07", 0, end, 1))
        short = min(count, _FULL16)
        self._put(_END.pack(b"PK\x05\x06", 0, 0, short, short, min(length, _FULL32), min(start, _FULL32), 0))
        self._flush()
        return tuple(self._segments)


def _local_header(entry: _Entry) -> bytes:
    wide = _wide_sizes(entry)
    size = _FULL32 if wide else entry.size
    least = entry.header + _LOCAL.size + len(entry.name) + len(wide) + 4
    padding = -least % _ALIGNMENT
    extra = wide + struct.pack("<2H", _PADDING, padding) + b"Z" * padding
    fields = (_NEEDED if wide else 20, 0, 0, 0, _DATE, entry.crc32, size, size, len(entry.name), len(extra))
    return _LOCAL.pack(b"PK\x03\x04", *fields) + entry.name + extra


def _central_header(entry: _Entry) -> bytes:
    wide = _wide_sizes(entry)
    size = _FULL32 if wide else entry.size
    header = entry.header
    if header >= _FULL32:
        wide = (wide or struct.pack("<2H", _ZIP64, 0)) + struct.pack("<Q", header)
        wide = wide[:2] + struct.pack("<H", len(wide) - 4) + wide[4:]
        header = _FULL32
    needed = _NEEDED if wide else 20
    fields = (needed, needed, 0, 0, 0, _DATE, entry.crc32, size, size, len(entry.name), len(wide), 0, 0, 0, 0, header)
    return _CENTRAL.pack(b"PK\x01\x02", *fields) + entry.name + wide


def _wide_sizes(entry: _Entry) -> bytes:
    """The zip64 extra field, where the size does not fit into 32 bits."""
    return struct.pack("<2H2Q", _ZIP64, 16, entry.size, entry.size) if entry.size >= _FULL32 else b""
