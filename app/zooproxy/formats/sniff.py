"""Which container a file is, and whether it is whole: the structure check of a fill before it is published.

Reads the two ends of a file and a zip's directory, never the data.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import Any, BinaryIO, NoReturn, Optional

from zooproxy.errors import FormatError, MalformedCheckpoint, NotACheckpoint
from zooproxy.formats.pickle_machine import PickleMachine
from zooproxy.formats.pickle_opcodes import run_pickle
from zooproxy.formats.safetensors_header import check_extent, looks_like_header
from zooproxy.formats.torch_zip import root_folder
from zooproxy.formats.zip_directory import ZipDirectory, read_exactly, read_zip_directory

_HEAD = 4096
_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C  # torch/serialization.py, MAGIC_NUMBER
_LEGACY_PROTOCOL = 1001
_TAR_MAGIC = slice(257, 262)
_TAR_MEMBERS = (b"sys_info", b"pickle", b"storages", b"tensors")


class Container(enum.Enum):
    """How a checkpoint is laid out; ``words`` say it in a message."""

    TORCH_ZIP = "torch-zip"
    TORCHSCRIPT = "torchscript"
    TORCH_PACKAGE = "torch-package"
    PT2 = "pt2"
    NUMPY_ZIP = "npz"
    ZIPPED = "zipped"
    TORCH_LEGACY = "torch-legacy"
    TORCH_TAR = "torch-tar"
    SAFETENSORS = "safetensors"
    PICKLE = "pickle"

    @property
    def words(self) -> str:
        return _WORDS[self]


_WORDS = {
    Container.TORCH_ZIP: "a torch zip file",
    Container.TORCHSCRIPT: "a TorchScript archive (code and weights, torch.jit.save)",
    Container.TORCH_PACKAGE: "a torch.package archive",
    Container.PT2: "an exported program (.pt2, torch.export)",
    Container.NUMPY_ZIP: "a zip of numpy arrays (.npz)",
    Container.ZIPPED: "a zip around a single file",
    Container.TORCH_LEGACY: "a torch file of the layout before torch 1.6",
    Container.TORCH_TAR: "a tar file of torch 0.1",
    Container.SAFETENSORS: "a safetensors file",
    Container.PICKLE: "a bare pickle",
}


@dataclass(frozen=True)
class Structure:
    """A container, and its directory where it is a zip."""

    container: Container
    directory: Optional[ZipDirectory] = None


def sniff(file: BinaryIO, size: int) -> Container:
    """The container of ``file``, ``size`` bytes long.

    Raises:
        NotACheckpoint: an empty file, an error page, a git-lfs pointer, a compressed file, unknown bytes, or a
            container that is cut short or out of bounds; the message says which.
    """
    return examine(file, size).container


def examine(file: BinaryIO, size: int) -> Structure:
    """As ``sniff``; a zip's directory, once read, comes along."""
    if size == 0:
        _refuse("the file is empty")
    try:
        head = read_exactly(file, 0, min(size, _HEAD))
        if head.startswith((b"PK\x03\x04", b"PK\x05\x06")):
            directory = read_zip_directory(file, size)
            return Structure(_zip_container(directory), directory)
        return Structure(_container(file, size, head))
    except FormatError as error:
        raise NotACheckpoint(f"this is no whole checkpoint: {error}") from error


def _refuse(message: str) -> NoReturn:
    raise NotACheckpoint(message)


def _container(file: BinaryIO, size: int, head: bytes) -> Container:
    if looks_like_header(head):
        check_extent(file, size)
        return Container.SAFETENSORS
    if head[_TAR_MAGIC] == b"ustar":
        return _tar_container(head)
    pickled = _pickle_container(head)
    if pickled is not None:
        if read_exactly(file, size - 1, 1) != b"." and pickled is Container.PICKLE:
            _refuse("the file starts as a pickle and does not end as one: it is cut short")
        return pickled
    _refuse(_what_it_is_instead(head))


# -- zip --------------------------------------------------------------------------------------------------


def _zip_container(directory: ZipDirectory) -> Container:
    names = directory.records
    root = root_folder(directory)
    if root is not None and f"{root}/data.pkl" in names:
        return Container.TORCHSCRIPT if f"{root}/constants.pkl" in names else Container.TORCH_ZIP
    if root is not None and f"{root}/.data/extern_modules" in names:
        return Container.TORCH_PACKAGE
    if root is not None and (f"{root}/archive_format" in names or f"{root}/archive_version" in names):
        return Container.PT2
    if "serialized_exported_program.json" in names:  # torch 2.1 to 2.6
        return Container.PT2
    if names and all(name.endswith(".npy") for name in names):
        return Container.NUMPY_ZIP
    if len(names) == 1:  # what torch.hub unpacks
        return Container.ZIPPED
    _refuse("the file is a zip archive, but none that torch or numpy writes (it has no data.pkl)")


# -- tar --------------------------------------------------------------------------------------------------


def _tar_container(head: bytes) -> Container:
    name = head[:100].rstrip(b"\0")
    if name.startswith(b"./"):
        name = name[2:]
    if name.rstrip(b"/") not in _TAR_MEMBERS:
        _refuse("the file is a tar archive, but none that torch writes; unpack it and publish what is inside")
    return Container.TORCH_TAR


# -- pickles ----------------------------------------------------------------------------------------------


#: A dict by protocol 0 and 1, an ordered one, an array; these protocols have no opcode that tells them.
_UNMARKED = (b"(dp", b"}q", b"ccollections\nOrderedDict\n", b"cnumpy.core.multiarray\n_reconstruct\n")


def _pickle_container(head: bytes) -> Optional[Container]:
    """The kind of a file that starts with a pickle of protocol 2 or above, with one of protocol 0 or 1 as its writers
    begin a mapping or an array, or with torch's magic number."""
    first = _value_at(head, 0)
    if first is not None and first[0] == _LEGACY_MAGIC:
        _check_legacy_header(head, first[1])
        return Container.TORCH_LEGACY
    if len(head) > 1 and head[0] == 0x80 and 2 <= head[1] <= 5:
        return Container.PICKLE
    return Container.PICKLE if head.startswith(_UNMARKED) else None


def _check_legacy_header(head: bytes, at: int) -> None:
    """After the magic number: the protocol's number, the writer's sizes, and the start of the object's pickle."""
    protocol = _value_at(head, at)
    if protocol is None or protocol[0] != _LEGACY_PROTOCOL:
        raise MalformedCheckpoint("the torch file stops in its header, or has an unknown version")
    system = _value_at(head, protocol[1])
    if system is None or not isinstance(system[0], dict) or len(head) <= system[1]:
        raise MalformedCheckpoint("the torch file stops in its header")


def _value_at(head: bytes, start: int) -> Optional[tuple[Any, int]]:
    """The small pickle at byte ``start`` and the position after it, None where there is none."""
    try:
        return run_pickle(PickleMachine(head, {}, lambda saved_id: saved_id), start)
    except FormatError:
        return None


# -- everything else --------------------------------------------------------------------------------------

_SIGNATURES = (
    (b"version https://git-lfs", "the file is a git-lfs pointer, not the file that it points to"),
    (b"\x1f\x8b", "the file is compressed with gzip; unpack it and publish what is inside"),
    (b"BZh", "the file is compressed with bzip2; unpack it and publish what is inside"),
    (b"\xfd7zXZ\0", "the file is compressed with xz; unpack it and publish what is inside"),
    (b"\x28\xb5\x2f\xfd", "the file is compressed with zstd; unpack it and publish what is inside"),
    (b"%PDF", "the file is a PDF document, not a checkpoint"),
    (b"\x93NUMPY", "the file is a single array of numpy's (.npy), which has no names; an .npz has"),
    (b"\x89HDF\r\n", "the file is an HDF5 file, which no checkpoint of torch is"),
)
_MARKUP = (
    (("<!doctype html", "<html", "<head", "<body", "<script"), "an HTML page (an error, a login or a notice)"),
    (("<?xml", "<error"), "an XML document (an error of a storage service, most often)"),
    (("<",), "a page of markup (an error, a login or a notice)"),
    (("{", "["), "a JSON document (an error of an API, most often)"),
)


def _what_it_is_instead(head: bytes) -> str:
    for signature, words in _SIGNATURES:
        if head.startswith(signature):
            return words
    text = _as_text(head)
    if text is None:
        return "the file is no checkpoint of any known layout"
    start = text.lstrip("\ufeff \t\r\n").lower()
    for beginnings, words in _MARKUP:
        if start.startswith(beginnings):
            return f"the file is {words}, not a checkpoint"
    return "the file is plain text, not a checkpoint"


def _as_text(head: bytes) -> Optional[str]:
    """``head`` as text, None where it is none; a character cut in two at its end does not count."""
    for cut in range(min(4, len(head))):
        try:
            text = head[: len(head) - cut].decode("utf-8")
        except UnicodeDecodeError:
            continue
        printable = all(char.isprintable() or char in "\ufeff\t\r\n\f" for char in text)
        return text if printable else None
    return None
