"""``zooproxy.load``: a checkpoint through the proxy, as torch tensors that view the bytes where they arrived.

The order of a load: ask for the tensor index (names and values as the ``model`` variant gives them) -> plan which
bytes of the blob are needed -> receive them into one buffer -> prove each storage by its digest -> view the buffer as
tensors -> put them back into the tree of plain values. No pickle, no file, no second copy.
"""

from __future__ import annotations

import sys
import warnings
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Optional

from zooproxy.client.chain import first_to_answer
from zooproxy.client.plan import Plan, plan_of
from zooproxy.client.progress import Progress
from zooproxy.client.settings import ClientSettings
from zooproxy.client.storages import Buffer, MapLocation, placed, view_of
from zooproxy.client.transport import ByteRange, Connection, JsonAnswer
from zooproxy.digest import Sha256
from zooproxy.errors import MalformedCheckpoint, TransferCorrupt, UnsupportedFormat
from zooproxy.wire import plain, routes
from zooproxy.wire.tensors import DTYPE_SIZES, Storage, TensorIndex, tensor_index_from_json

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class _Received:
    """Proven bytes, and the tree that they belong into (still in its JSON form)."""

    index: TensorIndex
    plan: Plan
    buffer: Buffer
    tree: Any
    warnings: tuple[str, ...]


def load(
    ref: str,
    map_location: MapLocation = "cpu",
    prefix: Optional[str] = None,
    *,
    settings: Optional[ClientSettings] = None,
) -> Any:
    """The checkpoint that ``ref`` names: what mmengine's loader for it would return.

    Args:
        ref: a reference, such as ``torchvision://resnet50`` or an ``https://`` URL.
        map_location: as for ``torch.load``: a device (or its name), a mapping of locations, a function of (storage,
            location). The proxy does not tell on which device a tensor was saved: every storage counts as saved on
            ``cpu``, and None leaves it there. On the CPU nothing is copied.
        prefix: load only what begins with it (``backbone.``), stripped of it; nothing else is transferred.
        settings: where the proxy is; by default what ``ZOOPROXY`` and ``ZOOPROXY_TOKEN`` say.

    Returns:
        A bare state dict; or ``{'state_dict': …, 'meta': …}``; with ``prefix``, the stripped state dict. Objects of
        types that are not plain values arrive as ``zooproxy.wire.plain.Inert``, their type's name and their values.

    Raises:
        ProxyNotConfigured, SettingsError: ``ZOOPROXY`` is missing or malformed.
        ProxyRefused: the proxy's verdict; ``problem`` says which (``unknown-name``, ``upstream-status``, …).
        ProxyUnreachable: no proxy answered.
        TransferCorrupt: bytes that do not fit their digests, twice.
        MalformedCheckpoint, LimitExceeded, UnsupportedFormat: a tensor index that this client or this torch cannot
            follow.
    """
    query = {"ref": ref, "variant": routes.MODEL}
    if prefix is not None:
        query["prefix"] = prefix
    received = first_to_answer(settings or ClientSettings.from_environ(), lambda proxy: _receive(proxy, query))
    for text in received.warnings:
        warnings.warn(text, UserWarning, stacklevel=2)
    return _assembled(received, map_location)


def _receive(proxy: Connection, query: dict[str, str]) -> _Received:
    answer = proxy.get_json(routes.TENSORS, query)
    index = _index_of(answer)
    plan = plan_of(index)
    buffer = Buffer(plan.size)
    with Progress(query["ref"], plan.bytes_to_receive) as progress:
        for span in plan.spans:
            wanted = ByteRange(index.blob, index.size, span.start, span.stop)
            proxy.get_range(wanted, buffer.view[span.at : span.at + span.size], progress.advance)
    _prove(index, plan, buffer)
    return _Received(index, plan, buffer, answer.body["tree"], answer.warnings)


def _index_of(answer: JsonAnswer) -> TensorIndex:
    if not isinstance(answer.body, dict) or "tree" not in answer.body:
        raise MalformedCheckpoint("the proxy's answer is no tensor index of version 1")
    index = tensor_index_from_json({**answer.body, "tree": None})  # the tree is decoded once, when tensors exist
    if index.byteorder != sys.byteorder:
        raise UnsupportedFormat("the checkpoint's byte order is not this machine's; ask the proxy for variant=model")
    return index


def _prove(index: TensorIndex, plan: Plan, buffer: Buffer) -> None:
    if plan.whole:
        if Sha256.of(buffer.view) != index.blob:
            raise TransferCorrupt(f"the blob {index.blob} arrived with another sha256")
        return
    for number, place in plan.places.items():
        storage = index.storages[number]
        if not _fits(storage, buffer.view[place : place + storage.size]):
            raise TransferCorrupt(f"storage {number} of the blob {index.blob} arrived with another digest")


def _fits(storage: Storage, data: memoryview) -> bool:
    if not storage.size:
        return True
    if storage.sha256 is not None:
        return Sha256.of(data) == storage.sha256
    return zlib.crc32(data) == storage.crc32


def _assembled(received: _Received, map_location: MapLocation) -> Any:
    tensors = _tensors(received, map_location)

    def at(position: Any) -> torch.Tensor:
        if type(position) is not int or not 0 <= position < len(tensors):
            raise MalformedCheckpoint("the tree of the tensor index names a tensor that is not there")
        return tensors[position]

    return plain.from_json(received.tree, at)


def _tensors(received: _Received, map_location: MapLocation) -> list[torch.Tensor]:
    index = received.index
    alignment = dict.fromkeys(received.plan.places, 1)
    for tensor in index.tensors:
        alignment[tensor.storage] = max(alignment[tensor.storage], DTYPE_SIZES[tensor.dtype])
    storages = {
        number: placed(received.buffer.cut(place, index.storages[number].size, alignment[number]), map_location)
        for number, place in received.plan.places.items()
    }
    return [view_of(storages[tensor.storage], tensor) for tensor in index.tensors]
