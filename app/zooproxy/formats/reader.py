"""From the bytes of a checkpoint to its tensor index, one reader per container. Nothing in the file is executed."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, BinaryIO, Callable, Final

from zooproxy.digest import Hasher, Sha256
from zooproxy.errors import MalformedCheckpoint, NotACheckpoint, UnsupportedFormat
from zooproxy.formats.outline import Outline, kind_of
from zooproxy.formats.sniff import Container, Structure, examine
from zooproxy.formats.torch_zip import TorchZip
from zooproxy.formats.zip_directory import ZipDirectory, read_exactly
from zooproxy.wire.tensors import Storage, TensorIndex

#: Changes whenever the index of the same bytes may change.
READER_VERSION: Final = 1

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
    contents = read(file, structure)
    return TensorIndex(
        blob=blob,
        size=size,
        container=container.value,
        kind=contents.kind,
        byteorder=contents.byteorder,
        storages=contents.storages,
        tensors=tuple(contents.outline.tensors),
        tree=contents.tree,
        dropped=tuple(sorted(contents.outline.dropped)),
    )


def with_digests(index: TensorIndex, file: BinaryIO) -> TensorIndex:
    """The index with the sha256 of every storage; reads each storage once, in blocks of 1 MiB.

    Raises:
        MalformedCheckpoint: the file ends before a storage does.
    """
    digests: dict[tuple[int, int], Sha256] = {}
    for storage in sorted(index.storages, key=lambda storage: storage.offset):
        extent = (storage.offset, storage.size)
        if extent not in digests:
            digests[extent] = _digest(file, storage)
    storages = tuple(
        dataclasses.replace(storage, sha256=digests[storage.offset, storage.size]) for storage in index.storages
    )
    return dataclasses.replace(index, storages=storages)


def _digest(file: BinaryIO, storage: Storage) -> Sha256:
    hasher = Hasher()
    while hasher.size < storage.size:
        length = min(_BLOCK, storage.size - hasher.size)
        hasher.update(read_exactly(file, storage.offset + hasher.size, length))
    return hasher.digest()


@dataclass(frozen=True)
class _Contents:
    """What one container's reader found."""

    kind: str
    byteorder: str
    storages: tuple[Storage, ...]
    tree: Any
    outline: Outline


def _read_torch_zip(file: BinaryIO, structure: Structure) -> _Contents:
    archive = TorchZip(file, structure.directory or ZipDirectory({}, {}))
    root = archive.load()
    outline = Outline(archive.data)
    tree = outline.draw(root)
    storages = tuple(archive.locate(node) for node in outline.storages)
    return _Contents(kind_of(root), archive.byteorder(), storages, tree, outline)


_READERS: Mapping[Container, Callable[[BinaryIO, Structure], _Contents]] = {
    Container.TORCH_ZIP: _read_torch_zip,
}
