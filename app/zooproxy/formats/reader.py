"""From the bytes of a checkpoint to its tensor index, one reader per container. Nothing in the file is executed."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Mapping
from typing import BinaryIO, Callable, Final

from zooproxy.digest import Hasher, Sha256
from zooproxy.errors import MalformedCheckpoint, NotACheckpoint, UnsupportedFormat
from zooproxy.formats.bare_pickle import read_pickle
from zooproxy.formats.contents import Contents
from zooproxy.formats.npz import read_npz
from zooproxy.formats.safetensors_header import read_safetensors
from zooproxy.formats.sniff import Container, Structure, examine
from zooproxy.formats.torch_legacy import read_torch_legacy
from zooproxy.formats.torch_zip import read_torch_zip
from zooproxy.formats.zip_directory import ZipDirectory, read_exactly
from zooproxy.wire.tensors import Storage, TensorIndex

#: Changes whenever the index of the same bytes may change.
READER_VERSION: Final = 3

_BLOCK = 2**20


def read_tensor_index(file: BinaryIO, size: int, blob: Sha256) -> TensorIndex:
    """The index of the checkpoint in ``file``, ``size`` bytes long, whose digest is ``blob`` (not computed here).

    Reads the archive's directory, the pickle and the storages' local headers, never the data of a tensor.

    Raises:
        MalformedCheckpoint: the file is damaged, or made to deceive.
        LimitExceeded: it asks for more than ``limits`` allow.
        UnsupportedFormat: a container that this version does not read; raw serves it.
    """
    try:
        structure = examine(file, size)
    except NotACheckpoint as error:
        raise MalformedCheckpoint(str(error)) from error
    container = structure.container
    read = _READERS.get(container)
    if read is None:
        raise UnsupportedFormat(
            f"this checkpoint is {container.words}, which this version does not read; "
            "variant=raw serves it as published"
        )
    contents = read(file, size, structure)
    return TensorIndex(
        blob=blob,
        size=size,
        container=container.value,
        kind=contents.kind,
        byteorder=contents.byteorder,
        storages=contents.storages,
        tensors=contents.tensors,
        tree=contents.tree,
        dropped=tuple(sorted(contents.dropped)),
    )


def with_digests(index: TensorIndex, file: BinaryIO) -> TensorIndex:
    """The index with the sha256 of every storage, and the CRC-32 where the container has none; reads each storage once,
    in blocks of 1 MiB.

    Raises:
        MalformedCheckpoint: the file ends before a storage does.
    """
    proven: dict[tuple[int, int], Storage] = {}
    for storage in sorted(index.storages, key=lambda storage: storage.offset):
        extent = (storage.offset, storage.size)
        if extent not in proven:
            proven[extent] = _with_digest(file, storage)
    storages = tuple(proven[storage.offset, storage.size] for storage in index.storages)
    return dataclasses.replace(index, storages=storages)


def _with_digest(file: BinaryIO, storage: Storage) -> Storage:
    hasher = Hasher()
    crc32 = 0
    while hasher.size < storage.size:
        length = min(_BLOCK, storage.size - hasher.size)
        block = read_exactly(file, storage.offset + hasher.size, length)
        hasher.update(block)
        crc32 = zlib.crc32(block, crc32) if storage.crc32 is None else storage.crc32
    return dataclasses.replace(storage, sha256=hasher.digest(), crc32=crc32)


_READERS: Mapping[Container, Callable[[BinaryIO, int, Structure], Contents]] = {
    Container.TORCH_ZIP: lambda file, _, structure: read_torch_zip(file, structure.directory or ZipDirectory({}, {})),
    Container.TORCHSCRIPT: lambda file, _, structure: read_torch_zip(file, structure.directory or ZipDirectory({}, {})),
    Container.PICKLE: lambda file, size, _: read_pickle(file, size),
    Container.NUMPY_ZIP: lambda file, _, structure: read_npz(file, structure.directory or ZipDirectory({}, {})),
    Container.TORCH_LEGACY: lambda file, size, _: read_torch_legacy(file, size),
    Container.SAFETENSORS: lambda file, size, _: read_safetensors(file, size),
}
