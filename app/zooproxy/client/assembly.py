"""From received bytes to what the caller gets: tensors that view a buffer, in the tree of plain values."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Callable

from zooproxy.client.imported_types import in_its_own_type
from zooproxy.client.plan import Plan
from zooproxy.client.staging import Staging, accelerator_of
from zooproxy.client.storages import Buffer, MapLocation, TorchStorage, placed, storage_over, view_of
from zooproxy.client.unusual_tensors import rebuilt, torch_object
from zooproxy.errors import MalformedCheckpoint
from zooproxy.wire import plain
from zooproxy.wire.plain import Inert, TensorRef
from zooproxy.wire.standard_types import array_parts, revived
from zooproxy.wire.tensors import DTYPE_SIZES, Tensor, TensorIndex, row_major

if TYPE_CHECKING:
    import torch


def tensors_of(index: TensorIndex, plan: Plan, buffer: Buffer, map_location: MapLocation) -> list[torch.Tensor]:
    """The tensors of ``index`` in its order; those of one storage share its memory."""
    accelerator = accelerator_of(map_location)
    if accelerator is not None:
        with Staging(accelerator, index, plan) as staging:
            staging.take(buffer.view)
        return views_of(index, staging.storages)
    alignment = dict.fromkeys(plan.places, 1)
    for tensor in index.tensors:
        alignment[tensor.storage] = max(alignment[tensor.storage], DTYPE_SIZES[tensor.dtype])
    storages = {
        number: placed(buffer.cut(place, index.storages[number].size, alignment[number]), map_location)
        for number, place in plan.places.items()
    }
    return views_of(index, storages)


def views_of(index: TensorIndex, storages: Mapping[int, TorchStorage]) -> list[torch.Tensor]:
    """The tensors of ``index`` in its order, as views of its storages."""
    return [view_of(storages[tensor.storage], tensor) for tensor in index.tensors]


def tree_from_json(encoded: Any, tensors: list[torch.Tensor]) -> Any:
    """The tree of a tensor index in its JSON form, with its tensors.

    Raises:
        MalformedCheckpoint: it names a tensor that is not there.
    """

    def at(position: Any) -> torch.Tensor:
        if type(position) is not int or not 0 <= position < len(tensors):
            raise MalformedCheckpoint("the tree of the tensor index names a tensor that is not there")
        return tensors[position]

    return plain.from_json(encoded, at, _object)


def tree_with_tensors(tree: Any, tensors: list[torch.Tensor]) -> Any:
    """``tree`` of a tensor index with its tensors; what was shared in it stays shared."""
    return _Filling(lambda ref: tensors[ref.position]).fill(tree)


def _object(value: Inert) -> Any:
    """What ``zooproxy.wire.standard_types`` and ``unusual_tensors`` say of an object."""
    parts = array_parts(value)
    if parts is not None:
        return _array(*parts)
    for understood in (revived, torch_object, rebuilt, in_its_own_type):
        found = understood(value)
        if found is not value:
            return found
    return value


def _array(dtype: str, shape: tuple[int, ...], data: bytes) -> torch.Tensor:
    return view_of(storage_over(bytearray(data)), Tensor("", dtype, 0, 0, shape, row_major(shape)))


class _Filling:
    def __init__(self, tensor: Callable[[TensorRef], Any]) -> None:
        self._tensor = tensor
        self._made: dict[int, Any] = {}

    def fill(self, value: Any) -> Any:
        if isinstance(value, TensorRef):
            return self._tensor(value)
        if not isinstance(value, (dict, list, tuple, set, frozenset, Inert)):
            return value
        if id(value) not in self._made:
            self._made[id(value)] = self._container(value)
        return self._made[id(value)]

    def _container(self, value: Any) -> Any:
        if isinstance(value, Inert):
            parts = (self.fill(value.args), self.fill(value.state), self.fill(value.items))
            return _object(Inert(value.type_name, *parts))
        if not isinstance(value, dict):
            return type(value)([self.fill(item) for item in value])
        filled: Any = type(value)((key, self.fill(item)) for key, item in value.items())
        metadata = getattr(value, "_metadata", None)
        if metadata is not None:
            filled._metadata = self.fill(metadata)
        return filled
