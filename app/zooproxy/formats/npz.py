"""numpy's ``.npz``: a zip of ``.npy`` records (numpy/lib/format.py).

::

    6 bytes    b"\\x93NUMPY"
    2 bytes    version, 1.0 to 3.0
    2 bytes    length of the header, little-endian; 4 bytes from version 2.0 on
    header     a Python literal: {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }
    data
"""

from __future__ import annotations

import re
from math import prod
from typing import BinaryIO, Final

from zooproxy.errors import MalformedCheckpoint, UnsupportedFormat
from zooproxy.formats import limits
from zooproxy.formats.contents import Contents, Pickled, contents_of
from zooproxy.formats.numpy_objects import dtype_of
from zooproxy.formats.pickle_values import StorageNode, TensorNode
from zooproxy.formats.quoting import quoted
from zooproxy.formats.zip_directory import Record, ZipDirectory, read_exactly
from zooproxy.wire.tensors import DTYPE_SIZES, Storage, row_major

_MAGIC: Final = b"\x93NUMPY"
_LONGEST_HEADER: Final = 4096
_SUFFIX: Final = ".npy"
_HEADER = re.compile(
    r"\{'descr': '([<>|])(\w{2,3})', 'fortran_order': (True|False), 'shape': \(([0-9, ]{0,1300})\), ?\} *\n?\Z"
)


def read_npz(file: BinaryIO, directory: ZipDirectory) -> Contents:
    """A bare state dict of the arrays, named as in the archive without ``.npy``.

    Raises:
        UnsupportedFormat: a compressed archive; an array of objects, texts or structures, or big-endian.
        MalformedCheckpoint: a record that contradicts itself.
    """
    places: dict[str, Storage] = {}
    root = {
        name[: -len(_SUFFIX)]: _array(file, directory, record, places) for name, record in directory.records.items()
    }
    return contents_of(Pickled(root), lambda node: places[node.key])


def _array(file: BinaryIO, directory: ZipDirectory, record: Record, places: dict[str, Storage]) -> TensorNode:
    if record.method:
        raise UnsupportedFormat("this .npz is compressed (numpy.savez_compressed); variant=raw serves it as published")
    start = directory.data_offset(file, record)
    head = read_exactly(file, start, min(record.size, 12))
    if len(head) < 12 or not head.startswith(_MAGIC):
        raise MalformedCheckpoint(f"the record {quoted(record.name)} is no array of numpy's")
    prefix = 10 if head[6] == 1 else 12
    length = int.from_bytes(head[8:prefix], "little")
    if length > _LONGEST_HEADER or prefix + length > record.size:
        raise MalformedCheckpoint(f"the record {quoted(record.name)} has a header of a length that cannot be")
    found = _HEADER.match(read_exactly(file, start + prefix, length).decode("latin-1"))
    described = dtype_of(found[2], found[1]) if found else None
    if found is None or described is None or described[2]:
        raise UnsupportedFormat(
            f"the array {quoted(record.name)} is of objects, texts or structures, or big-endian; "
            "variant=raw serves the file as published"
        )
    dtype, shape = described[0], tuple(int(length[:20]) for length in found[4].replace(",", " ").split())
    size = prod(shape) * DTYPE_SIZES[dtype]
    if prefix + length + size != record.size or len(shape) > limits.DIMENSIONS:
        raise MalformedCheckpoint(f"the record {quoted(record.name)} has another length than its shape has")
    stride = tuple(reversed(row_major(shape[::-1]))) if found[3] == "True" else row_major(shape)
    places[record.name] = Storage(start + prefix + length, size)
    return TensorNode(StorageNode(record.name, dtype, size), dtype, 0, shape, stride)
