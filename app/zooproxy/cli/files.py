"""``zooproxy inspect`` and ``zooproxy convert``: checkpoint files of this machine, with no server and no torch."""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from zooproxy.digest import Hasher, Sha256
from zooproxy.errors import BadRequest, UnsupportedFormat
from zooproxy.formats.contents import window
from zooproxy.formats.forms import Form, Recast, needs_checksums, recast_of, rendition, selected
from zooproxy.formats.reader import read_tensor_index, with_digests
from zooproxy.formats.segments import Literal, Segment
from zooproxy.wire.routes import DTYPES, FORMATS, FULL, MODEL, PTH, SAFETENSORS
from zooproxy.wire.tensors import Tensor, TensorIndex, tensor_index_to_json

#: An index names its blob; a file that is read where it lies needs no name.
_UNNAMED = Sha256("0" * 64)
_BLOCK = 1 << 20
_SHOWN = 20


def add_to(commands: Any) -> None:
    inspect = commands.add_parser("inspect", help="what a checkpoint file holds, read without running anything in it")
    inspect.add_argument("file", type=Path)
    inspect.add_argument("--all", action="store_true", help=f"every tensor, not the first {_SHOWN}")
    inspect.add_argument("--json", action="store_true", help="the tensor index as JSON, digests included")
    inspect.set_defaults(run=_inspect)
    convert = commands.add_parser("convert", help="write a checkpoint file anew, in a form that can be trusted")
    convert.add_argument("source", type=Path, metavar="IN")
    convert.add_argument("target", type=Path, metavar="OUT")
    convert.add_argument("--variant", choices=(MODEL, FULL), default=MODEL, help="model: state dict and meta")
    convert.add_argument("--format", choices=FORMATS, help="by default what OUT's suffix says, else safetensors")
    convert.add_argument("--prefix", help="keep the tensors under this prefix and strip it")
    convert.add_argument("--dtype", choices=tuple(DTYPES), help="convert floating tensors")
    convert.add_argument("--buffers", action="store_true", help="--dtype converts running means and variances too")
    convert.set_defaults(run=_convert)


@contextmanager
def _opened(path: Path) -> Iterator[tuple[BinaryIO, int]]:
    """
    Raises:
        BadRequest: there is no such file, or it cannot be read.
    """
    try:
        file = path.open("rb")
    except OSError as error:
        raise BadRequest(f"{path}: {error.strerror}") from error
    with file:
        yield file, os.fstat(file.fileno()).st_size


# -- inspect ----------------------------------------------------------------------------------------------


def _inspect(options: argparse.Namespace) -> int:
    with _opened(options.file) as (file, size):
        index = read_tensor_index(file, size, _UNNAMED)
        if options.json:
            named = with_digests(read_tensor_index(file, size, _digest(file)), file)
            print(json.dumps(tensor_index_to_json(named)))
            return 0
    for line in _described(index, None if options.all else _SHOWN):
        print(line)
    return 0


def _digest(file: BinaryIO) -> Sha256:
    hasher = Hasher()
    file.seek(0)
    while block := file.read(_BLOCK):
        hasher.update(block)
    return hasher.digest()


def _described(index: TensorIndex, shown: int | None) -> Iterator[str]:
    dtypes = Counter(tensor.dtype for tensor in index.tensors)
    held = sum(storage.size for storage in index.storages)
    yield f"container  {index.container}{'' if index.byteorder == 'little' else ', big-endian'}"
    yield f"kind       {index.kind}"
    yield f"tensors    {len(index.tensors):,} in {len(index.storages):,} storages, {held:,} bytes"
    yield f"dtypes     {', '.join(f'{dtype} ({count:,})' for dtype, count in dtypes.most_common()) or 'none'}"
    if index.dropped:
        yield f"not plain  {', '.join(_printable(name) for name in index.dropped)}"
    for tensor in index.tensors[:shown]:
        yield _line(tensor)
    if shown is not None and len(index.tensors) > shown:
        yield f"  … and {len(index.tensors) - shown:,} more (--all)"


def _line(tensor: Tensor) -> str:
    strided = "" if tensor.is_contiguous else f", strides {tensor.stride}"
    return f"  {_printable(tensor.name)}  {tensor.dtype} {list(tensor.shape)}{strided}"


def _printable(name: str) -> str:
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in name)


@contextmanager
def _system_errors(path: Path) -> Iterator[None]:
    """
    Raises:
        BadRequest: ``path`` cannot be written.
    """
    try:
        yield
    except OSError as error:
        raise BadRequest(f"{path}: {error.strerror}") from error


# -- convert ----------------------------------------------------------------------------------------------


def _convert(options: argparse.Namespace) -> int:
    chosen = options.format or (PTH if options.target.suffix in (".pth", ".pt") else SAFETENSORS)
    form = Form(options.variant, chosen, options.prefix, options.dtype, options.buffers)
    with _system_errors(options.target), _opened(options.source) as (file, size):
        part = selected(read_tensor_index(file, size, _UNNAMED), form, None)
        recast = recast_of(part, form)
        if recast is None:
            part = with_digests(part, file) if needs_checksums(part, form) else part
            _write(options.target, rendition(part, form).segments, file)
            return 0
        with tempfile.TemporaryFile(dir=options.target.resolve().parent) as data:
            derived = _derived(part, recast, window(file, size), data)
            _write(options.target, rendition(derived, form).segments, data)
    return 0


def _derived(part: TensorIndex, recast: Recast, source: Any, target: Any) -> TensorIndex:
    """The index of ``part`` laid out anew in ``target``.

    Raises:
        UnsupportedFormat: numpy is not installed.
    """
    try:
        from zooproxy.provide.derivation import Derivation

        derivation = Derivation(part, recast, source)
        for block in derivation.blocks(_UNNAMED):
            target.write(block)
    except ModuleNotFoundError as error:
        raise UnsupportedFormat("this conversion needs numpy: pip install numpy") from error
    target.flush()
    return derivation.result(_UNNAMED, target.tell())


def _write(path: Path, segments: Sequence[Segment], source: BinaryIO) -> None:
    """Writes ``segments`` beside ``path`` and renames: ``path`` is whole, or what it was."""
    with tempfile.NamedTemporaryFile(dir=path.resolve().parent, prefix=f".{path.name}.", delete=False) as target:
        try:
            for segment in segments:
                if isinstance(segment, Literal):
                    target.write(segment.data)
                else:
                    target.flush()
                    _copy(source, target, segment.offset, segment.length)
            target.flush()
            Path(target.name).chmod(0o666 & ~_umask())
            Path(target.name).replace(path)
        except BaseException:
            Path(target.name).unlink(missing_ok=True)
            raise
    print(f"{path}: {path.stat().st_size:,} bytes", file=sys.stderr)


def _umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def _copy(source: BinaryIO, target: Any, start: int, length: int) -> None:
    """Within the kernel where it can (a file system that shares extents copies nothing)."""
    while length:
        try:
            count = os.copy_file_range(source.fileno(), target.fileno(), length, start)
        except OSError:  # another file system, or one that does not know how
            block = os.pread(source.fileno(), min(length, _BLOCK), start)
            count = os.write(target.fileno(), block)
        if not count:
            raise BadRequest("the file became shorter while it was read")
        start += count
        length -= count
    target.seek(0, os.SEEK_END)
