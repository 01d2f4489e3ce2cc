"""From the bytes of a checkpoint to its tensor index, one reader per container. Nothing in the file is executed."""

from __future__ import annotations

import dataclasses
import zlib
from collections.abc import Iterator, Mapping
from typing import BinaryIO, Callable, Final, Optional

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
READER_VERSION: Final = 4

_BLOCK: Final = 2**20
_PAUSE: Final = 16 * _BLOCK


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
    """The index with the sha256 of every storage, and the CRC-32 where the container has none.

    Raises:
        MalformedCheckpoint: the file ends before a storage does.
    """
    return dataclasses.replace(index, storages=tuple(storage for storage in digested(index, file) if storage))


def digested(index: TensorIndex, file: BinaryIO) -> Iterator[Optional[Storage]]:
    """The storages of ``with_digests`` in their order, after a None for each 16 MiB that were read: a place to stop.

    The bytes of a storage are read once, in blocks of 1 MiB.

    Raises:
        MalformedCheckpoint: the file ends before a storage does.
    """
    proven: dict[tuple[int, int], Storage] = {}
    read = 0
    for storage in sorted(index.storages, key=lambda storage: storage.offset):
        if (storage.offset, storage.size) in proven:
            continue
        hasher, crc32 = Hasher(), 0
        for block in _blocks(file, storage):
            hasher.update(block)
            crc32 = zlib.crc32(block, crc32) if storage.crc32 is None else storage.crc32
            read += len(block)
            if read >= _PAUSE:
                read = 0
                yield None
        found = dataclasses.replace(storage, sha256=hasher.digest(), crc32=crc32)
        proven[storage.offset, storage.size] = found
    yield from (proven[storage.offset, storage.size] for storage in index.storages)


def _blocks(file: BinaryIO, storage: Storage) -> Iterator[bytes]:
    for at in range(0, storage.size, _BLOCK):
        yield read_exactly(file, storage.offset + at, min(_BLOCK, storage.size - at))


_READERS: Mapping[Container, Callable[[BinaryIO, int, Structure], Contents]] = {
    Container.TORCH_ZIP: lambda file, _, structure: read_torch_zip(file, structure.directory or ZipDirectory({}, {})),
    Container.TORCHSCRIPT: lambda file, _, structure: read_torch_zip(file, structure.directory or ZipDirectory({}, {})),
    Container.PICKLE: lambda file, size, _: read_pickle(file, size),
    Container.NUMPY_ZIP: lambda file, _, structure: read_npz(file, structure.directory or ZipDirectory({}, {})),
    Container.TORCH_LEGACY: lambda file, size, _: read_torch_legacy(file, size),
    Container.SAFETENSORS: lambda file, size, _: read_safetensors(file, size),
}
