"""Plain pickles: Detectron's and Caffe2's ``.pkl`` of arrays, and any other state dict of arrays."""

from __future__ import annotations

from typing import Any, BinaryIO

from zooproxy.errors import MalformedCheckpoint
from zooproxy.formats.contents import Contents, Pickled, contents_of, window
from zooproxy.formats.pickle_machine import PickleMachine
from zooproxy.formats.pickle_opcodes import run_pickle
from zooproxy.formats.torch_rebuilds import REBUILDS


def read_pickle(file: BinaryIO, size: int) -> Contents:
    """
    Raises:
        MalformedCheckpoint, LimitExceeded: as ``run_pickle``; or bytes follow the pickle.
    """
    data = window(file, size)
    machine = PickleMachine(data, REBUILDS, _refuse)
    root, end = run_pickle(machine)
    if end != size:
        raise MalformedCheckpoint("bytes follow the pickle: the file holds more than one value")
    return contents_of(Pickled(root, data, machine.origins), _refuse)


def _refuse(_: Any) -> Any:
    raise MalformedCheckpoint("the pickle names a storage outside of itself, and the file has none")
