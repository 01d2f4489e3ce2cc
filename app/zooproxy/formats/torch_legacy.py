"""torch's files before 1.6 (torch/serialization.py, ``_legacy_load`` and ``_legacy_save``).

::

    pickle        the magic number
    pickle        the protocol's number, 1001
    pickle        the writer's byte order and sizes
    pickle        the object; its persistent ids name storages, or parts of them
    pickle        the keys of the storages, a list
    per key       8 bytes: how many elements, little-endian; then the elements (torch/csrc/StorageMethods.cpp)

torch reads the elements as little-endian whatever the header says, and so does this.
"""

from __future__ import annotations

from typing import Any, BinaryIO, Optional, Union

from zooproxy.errors import LimitExceeded, MalformedCheckpoint
from zooproxy.formats import limits
from zooproxy.formats.contents import Contents, Pickled, contents_of, window
from zooproxy.formats.pickle_machine import PickleMachine
from zooproxy.formats.pickle_opcodes import run_pickle
from zooproxy.formats.pickle_values import Global, Placeholder, StorageNode
from zooproxy.formats.quoting import quoted
from zooproxy.formats.torch_rebuilds import REBUILDS, make_storage, make_storage_view
from zooproxy.formats.zip_directory import read_exactly
from zooproxy.wire.tensors import DTYPE_SIZES, Storage

_HEADERS = 3
_COUNT = 8

_Made = Union[StorageNode, Placeholder]


def read_torch_legacy(file: BinaryIO, size: int) -> Contents:
    """
    Raises:
        MalformedCheckpoint, LimitExceeded: as ``run_pickle``; or a storage that is missing or out of bounds.
    """
    data = window(file, size)
    storages = _Storages()
    at = 0
    for _ in range(_HEADERS):  # sniff has looked at them
        _, at = run_pickle(PickleMachine(data, {}, _refuse), at)
    machine = PickleMachine(data, REBUILDS, storages.persistent_load)
    root, at = run_pickle(machine, at)
    keys, at = run_pickle(PickleMachine(data, {}, _refuse), at)
    if at > limits.PICKLE:
        raise LimitExceeded(f"the file's pickles take {at:,} bytes, more than {limits.PICKLE:,}")
    storages.place(keys, file, at, size)
    return contents_of(Pickled(root, data, machine.origins), storages.locate)


def _refuse(_: Any) -> Any:
    raise MalformedCheckpoint("the pickle has a persistent id where no storage can be")


class _Storages:
    """The storages that persistent ids have named so far, and, once placed, where their bytes lie."""

    def __init__(self) -> None:
        self._roots: dict[str, _Made] = {}
        self._views: dict[str, _Made] = {}
        self._places: dict[str, Storage] = {}

    def persistent_load(self, saved_id: Any) -> Any:
        """``('storage', type, key, location, elements, view)`` or ``('module', type, source file, source)``.

        A view is None or ``(key, offset in elements, elements)``. As in torch, the first id of a key decides.
        """
        if type(saved_id) is tuple and len(saved_id) == 4 and saved_id[0] == "module":
            return saved_id[1]
        if type(saved_id) is not tuple or len(saved_id) not in (5, 6) or saved_id[0] != "storage":
            raise MalformedCheckpoint("the pickle has a persistent id that is no storage")
        kind, key, location, count = saved_id[1:5]
        if type(kind) is not Global or type(key) is not str or type(location) is not str:
            raise MalformedCheckpoint("the pickle has a storage whose type, key or location is malformed")
        root = self._roots.get(key)
        if root is None:
            root = self._roots[key] = make_storage(kind.name, key, count)
        return self._view(root, saved_id[5] if len(saved_id) == 6 else None)

    def _view(self, root: _Made, view: Any) -> _Made:
        if view is None or isinstance(root, Placeholder):
            return root
        if type(view) is not tuple or len(view) != 3 or type(view[0]) is not str:
            raise MalformedCheckpoint("the pickle has a view of a storage that is malformed")
        found = self._views.get(view[0])
        if found is None:
            found = self._views[view[0]] = make_storage_view(root, *view)
        return found

    def place(self, keys: Any, file: BinaryIO, at: int, size: int) -> None:
        """Walks over the storages' bytes, which begin at byte ``at`` in the order of ``keys``."""
        if type(keys) is not list or not all(type(key) is str for key in keys) or len(set(keys)) != len(keys):
            raise MalformedCheckpoint("the file's list of storages is no list of different names")
        for key in keys:
            node = self._roots.get(key)
            if not isinstance(node, StorageNode):
                raise MalformedCheckpoint(f"the file has a storage {quoted(key)} of a type that is not known")
            count = int.from_bytes(read_exactly(file, at, _COUNT), "little", signed=True)
            if count * DTYPE_SIZES[node.dtype] != node.size:
                raise MalformedCheckpoint(f"the storage {quoted(key)} has another length than the pickle says")
            at += _COUNT
            self._places[key] = Storage(at, node.size)
            at += node.size
            if at > size:
                raise MalformedCheckpoint(f"the file ends inside the storage {quoted(key)}: it is cut short")

    def locate(self, node: StorageNode) -> Storage:
        place: Optional[Storage] = self._places.get(node.key)
        if place is None:
            raise MalformedCheckpoint(f"the file has no bytes for the storage {quoted(node.key)}")
        return place
