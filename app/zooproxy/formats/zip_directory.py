"""The directory of a zip archive, read strictly (PKWARE APPNOTE.TXT 6.3.10, sections 4.3.7 to 4.3.16 and 4.5.3).

A reader that guesses can be shown one archive while torch sees another, so what is ambiguous is refused: a directory
that does not end at its end record, names twice (letter case aside: torch's miniz ignores it), a local name unlike
the central one, records that overlap. The data of a record starts after its *local* header, whose extra field is
torch's padding and exists nowhere else.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from typing import BinaryIO, NamedTuple, NoReturn, Optional

from zooproxy.errors import LimitExceeded, MalformedCheckpoint
from zooproxy.formats import limits
from zooproxy.formats.quoting import quoted

# signature, disk, disk of directory, entries here, entries, directory size, directory offset, comment length
_END = struct.Struct("<4s4H2LH")
_END_SIGNATURE = b"PK\x05\x06"
_MAX_COMMENT = 0xFFFF
# signature, disk of the zip64 end record, its offset, disks
_LOCATOR = struct.Struct("<4sLQL")
_LOCATOR_SIGNATURE = b"PK\x06\x07"
# signature, size of the rest, made by, needed, disk, disk of directory, entries here, entries, size, offset
_END64 = struct.Struct("<4sQ2H2L4Q")
_END64_SIGNATURE = b"PK\x06\x06"
# signature, made by, needed, flags, method, time, date, crc, compressed, size, name, extra, comment, disk,
# internal attributes, external attributes, local header offset
_CENTRAL = struct.Struct("<4s6H3L5H2L")
_CENTRAL_SIGNATURE = b"PK\x01\x02"
# signature, needed, flags, method, time, date, crc, compressed, size, name, extra
_LOCAL = struct.Struct("<4s5H3L2H")
_LOCAL_SIGNATURE = b"PK\x03\x04"

_STORED = 0
_ENCRYPTED = 0x1
_DESCRIPTOR_FOLLOWS = 0x8
_UTF8 = 0x800
_FOLDER = 0x10  # of the external attributes, by MS-DOS's meaning
_ZIP64_EXTRA = 0x0001
_FULL16 = 0xFFFF
_FULL32 = 0xFFFFFFFF
_FULL_END = (_FULL16, _FULL16, _FULL16, _FULL16, _FULL32, _FULL32)


class Record(NamedTuple):
    """One entry: ``size`` bytes of data (``packed`` as they lie there) after its local header at byte ``header``."""

    name: str
    raw_name: bytes
    header: int
    size: int
    packed: int
    crc32: int
    flags: int
    method: int
    is_folder: bool


@dataclass(frozen=True)
class ZipDirectory:
    """All entries by name, in the archive's order; ``ends`` bounds the room of the record at each header offset."""

    records: Mapping[str, Record]
    ends: Mapping[int, int]

    def data_offset(self, file: BinaryIO, record: Record) -> int:
        """Where the data of a stored record starts, checked against its local header.

        Raises:
            MalformedCheckpoint: the record is deflated or encrypted, or its two headers disagree.
        """
        if record.method != _STORED or record.flags & _ENCRYPTED or record.packed != record.size:
            _refuse_record(record, "is compressed or encrypted; torch stores its records as they are")
        if record.is_folder:  # torch would leave its memory as it was
            _refuse_record(record, "is marked as a folder")
        header = read_exactly(file, record.header, _LOCAL.size + len(record.raw_name))
        if not header.startswith(_LOCAL_SIGNATURE):
            _refuse_record(record, "has no local header where the directory says")
        _, _, flags, method, _, _, _, packed, size, name_length, extra_length = _LOCAL.unpack_from(header)
        same_sizes = flags & _DESCRIPTOR_FOLLOWS or {packed, size} <= {record.size, _FULL32}
        if header[_LOCAL.size :] != record.raw_name or name_length != len(record.raw_name):
            _refuse_record(record, "has another name in its local header")
        if method != _STORED or flags & _ENCRYPTED or not same_sizes:
            _refuse_record(record, "is described in two ways by its two headers")
        start: int = record.header + _LOCAL.size + name_length + extra_length
        if start + record.size > self.ends[record.header]:
            _refuse_record(record, "runs into what follows it")
        return start


def read_zip_directory(file: BinaryIO, size: int) -> ZipDirectory:
    """The directory of the archive in ``file``, ``size`` bytes long; reads its end and nothing else.

    Raises:
        MalformedCheckpoint: no end record (a file cut short), a directory out of bounds, entries that overlap or
            share a name, a disk number other than 0.
        LimitExceeded: more than ``limits.ZIP_ENTRIES`` entries or ``limits.ZIP_DIRECTORY`` bytes.
    """
    entries, start, length = _find_directory(file, size)
    if entries > limits.ZIP_ENTRIES:
        raise LimitExceeded(f"the archive has {entries:,} entries, more than {limits.ZIP_ENTRIES:,}")
    if length > limits.ZIP_DIRECTORY:
        raise LimitExceeded(f"the archive's directory takes {length:,} bytes, more than {limits.ZIP_DIRECTORY:,}")
    records = _parse_entries(read_exactly(file, start, length), entries)
    return ZipDirectory(_by_name(records), _ends(records, start))


def read_exactly(file: BinaryIO, start: int, length: int) -> bytes:
    """``length`` bytes from byte ``start`` on.

    Raises:
        MalformedCheckpoint: the file has fewer.
    """
    file.seek(start)
    data = file.read(length)
    if len(data) != length:
        _refuse("the file ends early: it is shorter than it says")
    return data


def _refuse(message: str) -> NoReturn:
    raise MalformedCheckpoint(message)


def _refuse_record(record: Record, message: str) -> NoReturn:
    raise MalformedCheckpoint(f"the record {quoted(record.name)} {message}")


def _find_directory(file: BinaryIO, size: int) -> tuple[int, int, int]:
    """Number of entries, offset and length in bytes of the central directory."""
    tail_start = max(0, size - _END.size - _MAX_COMMENT)
    tail = read_exactly(file, tail_start, size - tail_start)
    at = tail.rfind(_END_SIGNATURE)
    if at < 0 or at + _END.size > len(tail):
        _refuse("the archive has no end record: the file is cut short")
    _, disk, start_disk, here, entries, length, start, comment = _END.unpack_from(tail, at)
    end = tail_start + at
    if end + _END.size + comment != size:
        _refuse("bytes follow the archive's end record")
    short = (disk, start_disk, here, entries, length, start)
    # torch writes a zip64 end record into every archive, however small
    limit, *wide = _find_zip64_directory(file, end) or (end, *short)
    if any(given not in (value, full) for given, value, full in zip(short, wide, _FULL_END)):
        _refuse("the archive's two end records disagree")
    disk, start_disk, here, entries, length, start = wide
    if disk or start_disk or here != entries:
        _refuse("the archive spans several disks")
    if start + length != limit:
        _refuse("the archive's directory does not lie where its end record says: the file is cut short or damaged")
    return entries, start, length


def _find_zip64_directory(file: BinaryIO, end: int) -> Optional[tuple[int, int, int, int, int, int, int]]:
    """Offset of the zip64 end record and its fields, or None where the archive has none."""
    if end < _LOCATOR.size + _END64.size:
        return None
    signature, disk, offset, _ = _LOCATOR.unpack(read_exactly(file, end - _LOCATOR.size, _LOCATOR.size))
    if signature != _LOCATOR_SIGNATURE:
        return None
    if disk or offset + _END64.size > end - _LOCATOR.size:
        _refuse("the archive's zip64 end record is out of bounds")
    fields = _END64.unpack(read_exactly(file, offset, _END64.size))
    signature, _, _, _, disk, start_disk, here, entries, length, start = fields
    if signature != _END64_SIGNATURE:
        _refuse("the archive has no zip64 end record where its locator says")
    return offset, disk, start_disk, here, entries, length, start


def _parse_entries(block: bytes, entries: int) -> list[Record]:
    records: list[Record] = []
    at = 0
    while at < len(block):
        if at + _CENTRAL.size > len(block) or not block.startswith(_CENTRAL_SIGNATURE, at):
            _refuse("the archive's directory holds something that is no entry")
        record, at = _parse_entry(block, at)
        records.append(record)
    if len(records) != entries:
        _refuse("the archive's directory has another number of entries than its end record says")
    return records


def _parse_entry(block: bytes, at: int) -> tuple[Record, int]:
    fields = _CENTRAL.unpack_from(block, at)
    flags, method, crc32, packed, size = fields[3], fields[4], fields[7], fields[8], fields[9]
    name_length, extra_length, comment_length, disk, header = fields[10], fields[11], fields[12], fields[13], fields[16]
    name_start = at + _CENTRAL.size
    extra_start = name_start + name_length
    after = extra_start + extra_length + comment_length
    if after > len(block):
        _refuse("the archive's directory ends inside an entry")
    raw_name = block[name_start:extra_start]
    if _FULL32 in (size, packed, header):
        extra = block[extra_start : extra_start + extra_length]
        size, packed, header = _widen(extra, size, packed, header)
    if disk:
        _refuse("the archive spans several disks")
    name = _decode_name(raw_name, flags)
    is_folder = bool(fields[15] & _FOLDER)
    return Record(name, raw_name, header, size, packed, crc32, flags, method, is_folder), after


def _widen(extra: bytes, size: int, packed: int, header: int) -> tuple[int, int, int]:
    """The 64-bit values that the zip64 extra field gives, in this order, for each field that is full."""
    at = 0
    while at + 4 <= len(extra):
        tag, length = struct.unpack_from("<2H", extra, at)
        if tag == _ZIP64_EXTRA and at + 4 + length <= len(extra):
            values = [int.from_bytes(extra[i : i + 8], "little") for i in range(at + 4, at + length - 3, 8)]
            wanted = [value == _FULL32 for value in (size, packed, header)]
            if len(values) < sum(wanted):
                break
            wide = iter(values)
            size, packed, header = (
                next(wide) if full else value for full, value in zip(wanted, (size, packed, header))
            )
            return size, packed, header
        at += 4 + length
    _refuse("an entry of the archive lacks the zip64 field that it announces")


def _decode_name(raw_name: bytes, flags: int) -> str:
    try:
        return raw_name.decode("utf-8" if flags & _UTF8 else "cp437")
    except UnicodeDecodeError as error:
        raise MalformedCheckpoint("an entry of the archive has a name that is not UTF-8") from error


def _ends(records: list[Record], directory_start: int) -> dict[int, int]:
    """For each header offset the end of the room that its record has: the next header, or the directory."""
    ends: dict[int, int] = {}
    end = directory_start
    for record in sorted(records, key=lambda record: record.header, reverse=True):
        least = record.header + _LOCAL.size + len(record.raw_name) + record.packed
        if least > end:
            _refuse_record(record, "overlaps another or runs past the archive's directory")
        ends[record.header] = end
        end = record.header
    return ends


def _by_name(records: list[Record]) -> dict[str, Record]:
    by_name = {record.name: record for record in records}
    if len({name.lower() for name in by_name}) != len(records):
        _refuse("the archive holds two records of one name")
    return by_name
