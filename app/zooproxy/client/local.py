"""Checkpoint files of this machine, read without executing anything in them.

Read, not mapped: a training run replaces its own files, and a mapped file that is replaced changes under its reader.
"""

from __future__ import annotations

import pickle
import sys
from pathlib import Path
from typing import Any, BinaryIO, Union

from zooproxy.client.assembly import tensors_of, tree_with_tensors
from zooproxy.client.plan import plan_of
from zooproxy.client.storages import Buffer, MapLocation
from zooproxy.digest import Sha256
from zooproxy.errors import MalformedCheckpoint, UnsupportedFormat
from zooproxy.formats.reader import read_tensor_index
from zooproxy.formats.variants import refuse_odd_tensors
from zooproxy.wire.tensors import TensorIndex

#: A tensor index names its blob; a file that is read where it lies has no need of a name.
_UNNAMED = Sha256("0" * 64)

_TRUST = "trust=True loads it with pickle, which runs whatever the file says: only for files of your own"


def read_local(path: Union[str, Path], map_location: MapLocation = None, trust: bool = False) -> Any:
    """The checkpoint in the file at ``path``, all of it: what ``torch.load`` would give.

    Objects of types that are not plain values become ``zooproxy.wire.plain.Inert`` instead of being built. What our
    reader does not know (subclasses of tensors, old containers) is left to ``torch.load(weights_only=True)``.

    Args:
        path: the file.
        map_location: as for ``zooproxy.load``.
        trust: unpickle it as ``torch.load(weights_only=False)`` does. The file may then run any code.

    Raises:
        FileNotFoundError, OSError: it cannot be read.
        MalformedCheckpoint, LimitExceeded: it is damaged, or made to deceive.
        UnsupportedFormat: neither our reader nor torch's restricted one can read it.
    """
    if trust:
        return _with_torch(path, map_location, weights_only=False)
    with Path(path).open("rb") as file:
        try:
            index = index_of_file(file)
            refuse_odd_tensors(index, but_described=True)
        except UnsupportedFormat:
            return _restricted(path, map_location)
        if index.byteorder != sys.byteorder:
            return _restricted(path, map_location)
        plan = plan_of(index)
        buffer = Buffer(plan.size)
        for span in plan.spans:
            file.seek(span.start)
            _read_into(file, buffer.view[span.at : span.at + span.size])
    return tree_with_tensors(index.tree, tensors_of(index, plan, buffer, map_location))


def index_of_file(file: BinaryIO) -> TensorIndex:
    """The tensor index of an open checkpoint file; its blob is unnamed (64 zeros).

    Raises:
        MalformedCheckpoint, LimitExceeded, UnsupportedFormat: see ``zooproxy.formats.reader``.
    """
    return read_tensor_index(file, file.seek(0, 2), _UNNAMED)


def _read_into(file: Any, view: memoryview) -> None:
    while view:
        count = file.readinto(view)
        if not count:
            raise MalformedCheckpoint("the file ends before its tensors do; is it still being written?")
        view = view[count:]


def _restricted(path: Union[str, Path], map_location: MapLocation) -> Any:
    try:
        return _with_torch(path, map_location, weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, TypeError) as error:
        # TypeError: a torch before 1.13 has no weights_only. RuntimeError: its readers of containers.
        raise UnsupportedFormat(f"this checkpoint cannot be read without running code in it; {_TRUST}") from error


def _with_torch(path: Union[str, Path], map_location: MapLocation, weights_only: bool) -> Any:
    import torch

    options: dict[str, Any] = {"weights_only": weights_only}
    if not weights_only and "weights_only" not in torch.load.__code__.co_varnames:
        options = {}
    options["map_location"] = map_location
    return torch.load(path, **options)  # the caller's own word for it
