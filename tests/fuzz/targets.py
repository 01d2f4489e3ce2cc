"""What is fuzzed: each target takes any bytes, and raises nothing but the project's own errors.

What is read must also hold together: written as JSON and read back it is the same, its storages lie in the file, and
its renditions are as long as they say and take no byte from outside of it.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import struct
import zlib
from collections.abc import Callable, Mapping
from typing import Final

from zooproxy.digest import Sha256
from zooproxy.errors import ZooproxyError
from zooproxy.formats.forms import Form, rendition, selected
from zooproxy.formats.reader import read_tensor_index, with_digests
from zooproxy.formats.segments import BlobRange
from zooproxy.formats.variants import refuse_odd_tensors
from zooproxy.provide.bundles import layout
from zooproxy.provide.bundles.checking import check_members
from zooproxy.provide.bundles.reading import BundleReader
from zooproxy.wire import plain
from zooproxy.wire.tensors import TensorIndex, tensor_index_from_json, tensor_index_to_json

_BLOB = Sha256("0" * 64)
_FORMS = (Form("full"), Form("full", "pth"), Form("model"), Form("model", "pth", "a"))


def read_file(data: bytes) -> str:
    """A whole file, of any container. Returns what became of it."""
    try:
        index = with_digests(read_tensor_index(io.BytesIO(data), len(data), _BLOB), io.BytesIO(data))
    except ZooproxyError as error:
        return f"{type(error).__name__}: {error}"
    check(index, len(data))
    return f"read: {index.container}, {index.kind}"


def read_pickle(data: bytes) -> str:
    """The ``data.pkl`` of a torch zip with one storage of 64 bytes."""
    return read_file(_archive({"a/data.pkl": data, "a/data/0": bytes(64)}))


def read_json(data: bytes) -> str:
    """A tensor index as a proxy may send it."""
    try:
        encoded = json.loads(data)
    except (ValueError, RecursionError):
        return "no JSON"
    try:
        plain.from_json(encoded)
        if isinstance(encoded, dict):
            check_round_trip(tensor_index_from_json(encoded))
    except ZooproxyError as error:
        return f"{type(error).__name__}: {error}"
    return "read"


def read_bundle(data: bytes) -> str:
    """A bundle as a stranger may send it, to its last byte."""
    try:
        reader = BundleReader(io.BytesIO(data))
        check_members(reader)
    except ZooproxyError as error:
        return re.sub(r"[0-9a-f]{12,}", "…", f"{type(error).__name__}: {error}")
    assert reader.manifest.to_bytes() == reader.manifest_bytes
    assert sum(layout.footprint(member.size) for member in reader.manifest.contents.members) < len(data)
    return "read"


def check(index: TensorIndex, size: int) -> None:
    check_round_trip(index)
    check_descriptions(index)
    for storage in index.storages:
        assert 0 <= storage.offset <= storage.offset + storage.size <= size
    for form in _FORMS:
        try:
            made = rendition(selected(index, form, None), form)
        except ZooproxyError:
            continue
        assert made.length == sum(map(len, made.segments))
        for part in made.segments:
            assert not isinstance(part, BlobRange) or 0 <= part.offset <= part.offset + part.length <= size


def check_descriptions(index: TensorIndex) -> None:
    """What a proxy asks of an index before it describes it."""
    for but_described in (True, False):
        with contextlib.suppress(ZooproxyError):
            refuse_odd_tensors(index, but_described=but_described)


def check_round_trip(index: TensorIndex) -> None:
    written = json.dumps(tensor_index_to_json(index))
    assert json.dumps(tensor_index_to_json(tensor_index_from_json(json.loads(written)))) == written


def _archive(records: Mapping[str, bytes]) -> bytes:
    """A stored zip, made by hand: ``zipfile`` would cost more than the reading."""
    body, directory = bytearray(), bytearray()
    for name, data in records.items():
        raw = name.encode()
        common = struct.pack("<5H3L2H", 20, 0, 0, 0, 0x21, zlib.crc32(data), len(data), len(data), len(raw), 0)
        directory += b"PK\x01\x02\x14\0" + common + struct.pack("<3H2L", 0, 0, 0, 0, len(body)) + raw
        body += b"PK\x03\x04" + common + raw + data
    count = len(records)
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, count, count, len(directory), len(body), 0)
    return bytes(body + directory + end)


TARGETS: Final[Mapping[str, Callable[[bytes], str]]] = {
    "file": read_file,
    "pickle": read_pickle,
    "json": read_json,
    "bundle": read_bundle,
}
