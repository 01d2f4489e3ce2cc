"""torch's zip files, torch 1.6 and up (caffe2/serialize/inline_container.cc; torch/serialization.py, ``_load``).

::

    <root>/data.pkl        the object; its persistent ids name storages
    <root>/data/<key>      the bytes of one storage (tensors/<key> from older writers)
    <root>/byteorder       "little" or "big"; little where it is missing
    <root>/version, …      of no interest here

``<root>`` is the first entry's name up to its first slash.
"""

from __future__ import annotations

from typing import Any, BinaryIO, Optional, Union

from zooproxy.errors import LimitExceeded, MalformedCheckpoint
from zooproxy.formats import limits
from zooproxy.formats.contents import Contents, Pickled, contents_of
from zooproxy.formats.pickle_machine import PickleMachine
from zooproxy.formats.pickle_opcodes import run_pickle
from zooproxy.formats.pickle_values import Global, Placeholder, StorageNode
from zooproxy.formats.quoting import quoted
from zooproxy.formats.torch_rebuilds import REBUILDS, make_storage
from zooproxy.formats.zip_directory import Record, ZipDirectory, read_exactly
from zooproxy.wire.tensors import Storage

_BYTEORDERS = {b"little": "little", b"big": "big"}


def root_folder(directory: ZipDirectory) -> Optional[str]:
    """The folder that all of torch's records lie in, without its slash; None where the first entry lies in none."""
    first = next(iter(directory.records), "")
    root, slash, _ = first.partition("/")
    return root if slash and root else None


def read_torch_zip(file: BinaryIO, directory: ZipDirectory) -> Contents:
    """
    Raises:
        MalformedCheckpoint, LimitExceeded: as ``TorchZip``.
    """
    archive = TorchZip(file, directory)
    return contents_of(archive.load(), archive.locate, byteorder=archive.byteorder())


class TorchZip:
    """One open archive: its object as the pickle machine sees it, and where each storage's bytes lie."""

    def __init__(self, file: BinaryIO, directory: ZipDirectory) -> None:
        root = root_folder(directory)
        if root is None:
            raise MalformedCheckpoint("the archive's first entry lies in no folder, as torch's does")
        self._file = file
        self._directory = directory
        self._root = root
        self._storages: dict[str, Union[StorageNode, Placeholder]] = {}

    def load(self) -> Pickled:
        """The object, as ``pickle_values``.

        Raises:
            MalformedCheckpoint, LimitExceeded: as ``run_pickle``.
        """
        data = self._read("data.pkl", limits.PICKLE)
        machine = PickleMachine(data, REBUILDS, self._persistent_load)
        root, _ = run_pickle(machine)
        record = self._directory.records[f"{self._root}/data.pkl"]
        return Pickled(root, data, machine.origins, self._directory.data_offset(self._file, record))

    def byteorder(self) -> str:
        """``little`` or ``big``."""
        if f"{self._root}/byteorder" not in self._directory.records:
            return "little"
        order = _BYTEORDERS.get(self._read("byteorder", limits.SMALL_RECORD))
        if order is None:
            raise MalformedCheckpoint("the archive's byte order is neither little nor big")
        return order

    def locate(self, node: StorageNode) -> Storage:
        """Where the storage's bytes lie in the file.

        Raises:
            MalformedCheckpoint: its record is missing, too short, or not stored as it is.
        """
        record = self._storage_record(node.key)
        if record.size < node.size:
            raise MalformedCheckpoint(f"the record {quoted(record.name)} is shorter than the storage that it holds")
        offset = self._directory.data_offset(self._file, record)
        return Storage(offset, node.size, _crc32(record, node.size))

    def _storage_record(self, key: str) -> Record:
        for folder in ("data", "tensors"):
            record = self._directory.records.get(f"{self._root}/{folder}/{key}")
            if record is not None:
                return record
        raise MalformedCheckpoint(f"the archive has no record for the storage {quoted(key)}")

    def _read(self, name: str, limit: int) -> bytes:
        record = self._directory.records.get(f"{self._root}/{name}")
        if record is None:
            raise MalformedCheckpoint(f"the archive has no {name}")
        if record.size > limit:
            raise LimitExceeded(f"the archive's {name} takes {record.size:,} bytes, more than {limit:,}")
        offset = self._directory.data_offset(self._file, record)
        return read_exactly(self._file, offset, record.size)

    def _persistent_load(self, saved_id: Any) -> Union[StorageNode, Placeholder]:
        """``('storage', type, key, location, count of elements)``; as in torch, the first id of a key decides."""
        if type(saved_id) is not tuple or len(saved_id) != 5 or saved_id[0] != "storage":
            raise MalformedCheckpoint("the pickle has a persistent id that is no storage")
        _, kind, key, location, count = saved_id
        if type(kind) is not Global or type(key) is not str or type(location) is not str:
            raise MalformedCheckpoint("the pickle has a storage whose type, key or location is malformed")
        node = make_storage(kind.name, key, count)
        if isinstance(node, StorageNode) and node.size:
            return self._storages.setdefault(key, node)
        return self._storages.get(key, node)


def _crc32(record: Record, size: int) -> Optional[int]:
    """The record's CRC-32 if it covers just the storage; torch writes 0 where it was told to compute none."""
    return record.crc32 if record.size == size and record.crc32 else None
