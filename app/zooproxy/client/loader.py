"""``zooproxy.load``: a checkpoint through the proxy, as torch tensors that view the bytes where they arrived.

The order of a load: ask for the tensor index (names and values as the ``model`` variant gives them) -> plan which
bytes of the blob are needed -> take them from the node's store, or receive them into it over several connections,
proving each storage by its digest while it arrives -> map the file -> view it as tensors -> put them back into the tree
of plain values. No pickle, no second copy; without a store, the same into memory.
"""

from __future__ import annotations

import json
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Optional

from zooproxy.client.assembly import tensors_of, tree_from_json, views_of
from zooproxy.client.broadcast import from_rank_0
from zooproxy.client.chain import DirectReached, Route
from zooproxy.client.description import Description, described, description_of
from zooproxy.client.following import Asking
from zooproxy.client.garbage import collected_later
from zooproxy.client.locked import locked_entry
from zooproxy.client.plan import Plan, whole_plan
from zooproxy.client.published import Published
from zooproxy.client.receiving import Receiving
from zooproxy.client.settings import ClientSettings
from zooproxy.client.staging import accelerator_of
from zooproxy.client.storages import Buffer, MapLocation
from zooproxy.client.transport import JsonAnswer
from zooproxy.errors import ProxyNotConfigured
from zooproxy.formats.forms import Form
from zooproxy.wire import routes
from zooproxy.wire.tensors import TensorIndex, tensor_index_from_json, tensor_index_to_json

if TYPE_CHECKING:
    import torch


def load(
    ref: str,
    map_location: MapLocation = "cpu",
    prefix: Optional[str] = None,
    *,
    verify: bool = True,
    broadcast: bool = False,
    settings: Optional[ClientSettings] = None,
) -> Any:
    """The checkpoint that ``ref`` names: what mmengine's loader for it would return.

    Args:
        ref: a reference, such as ``torchvision://resnet50`` or an ``https://`` URL.
        map_location: as for ``torch.load``: a device (or its name), a mapping of locations, a function of (storage,
            location). The proxy does not tell on which device a tensor was saved: every storage counts as saved on
            ``cpu``, and None leaves it there. On the CPU nothing is copied.
        prefix: load only what begins with it (``backbone.``), stripped of it; nothing else is transferred.
        verify: check each storage's digest; False trusts the proxy and the network. With a lock file
            (``ZOOPROXY_LOCK``), take the published file whole and check its digest against the lock's; False believes
            the digest that the proxy states.
        broadcast: in a torch.distributed job, load on rank 0 and send to all others over the default group; every rank
            has to call. Each rank then has a copy in its own memory. ``direct`` does not serve it.
        settings: where the proxy is; by default what the environment says.

    Returns:
        A bare state dict; or ``{'state_dict': …, 'meta': …}``; with ``prefix``, the stripped state dict. Objects of
        types that are not plain values arrive as ``zooproxy.wire.plain.Inert``, their type's name and their values.

    Raises:
        ProxyNotConfigured, SettingsError: ``ZOOPROXY`` is missing or malformed.
        ProxyRefused: the proxy's verdict; ``problem`` says which (``unknown-name``, ``upstream-status``, …).
        ProxyUnreachable: no proxy answered.
        TransferCorrupt: bytes that do not fit their digests, twice.
        NotLocked, LockedOtherwise, MalformedLock: what the lock file does not allow.
        FetchError, ProofError: what ``direct`` met at the publisher's.
        MalformedCheckpoint, LimitExceeded, UnsupportedFormat: a tensor index that this client or this torch cannot
            follow.
    """
    if broadcast:
        loaded = _broadcast(ref, map_location, prefix, verify, settings or ClientSettings.from_environ())
    else:
        loaded = fetch(ref, map_location, prefix, verify=verify, settings=settings)
    for text in loaded.warnings:
        warnings.warn(text, UserWarning, stacklevel=2)
    return loaded.value


@dataclass(frozen=True)
class Loaded:
    """What ``load`` answers, what the proxy has to say about the reference, and the digest of the published file.

    ``blob`` is empty where ``direct`` fetched it.
    """

    value: Any
    warnings: tuple[str, ...]
    blob: str = ""


def fetch(  # noqa: PLR0913  # load's own, progress and the variant
    ref: str,
    map_location: MapLocation,
    prefix: Optional[str] = None,
    *,
    variant: str = routes.MODEL,
    verify: bool = True,
    progress: bool = True,
    settings: Optional[ClientSettings] = None,
) -> Loaded:
    """``load`` without showing its warnings.

    ``progress=False`` draws no progress bar; ``variant=full`` is the whole tree.
    """
    settings = settings or ClientSettings.from_environ()
    locked = locked_entry(ref, settings)
    query = _query(ref, variant, prefix)
    try:
        with Route(settings) as route:
            description = Asking(route, query, locked, progress).description()
            receiving = Receiving(settings, route, query, description, verify, progress)
            if locked and verify:
                published = Published(receiving.whole_buffer(locked), locked.sha256)
                value = published.value(ref, Form(variant, prefix=prefix), map_location)
                return Loaded(value, description.warnings, locked.sha256)
            if receiving.is_whole_here:
                return _assembled(description, receiving.whole_buffer(), whole_plan(description.index), map_location)
            accelerator = accelerator_of(map_location)
            if accelerator is not None:
                return _viewed(description, views_of(description.index, receiving.storages_on(accelerator)))
            return _assembled(description, receiving.buffer(), description.plan, map_location)
    except DirectReached:
        from zooproxy.client.direct import fetch_direct  # the names of every zoo: rarely needed, never first

        fetched = fetch_direct(ref, Form(variant, prefix=prefix), map_location, settings)
        return Loaded(fetched.value, fetched.warnings)


def _query(ref: str, variant: str, prefix: Optional[str]) -> dict[str, str]:
    query = {"ref": ref, "variant": variant}
    return query if prefix is None else {**query, "prefix": prefix}


@collected_later()
def _assembled(description: Description, buffer: Buffer, plan: Plan, map_location: MapLocation) -> Loaded:
    return _viewed(description, tensors_of(description.index, plan, buffer, map_location))


def _viewed(description: Description, tensors: list[torch.Tensor]) -> Loaded:
    return Loaded(tree_from_json(description.body["tree"], tensors), description.warnings, description.index.blob)


def _broadcast(
    ref: str, map_location: MapLocation, prefix: Optional[str], verify: bool, settings: ClientSettings
) -> Loaded:
    query = _query(ref, routes.MODEL, prefix)

    def produce() -> tuple[str, Buffer, int]:
        locked = locked_entry(ref, settings)
        with Route(settings) as route:
            found = Asking(route, query, locked, progress=True).description()
            receiving = Receiving(settings, route, query, found, verify, progress=True)
            if locked and verify:
                published = Published(receiving.whole_buffer(locked), locked.sha256)
                found, buffer = _read_here(found, published, ref, Form(prefix=prefix))
            elif receiving.is_whole_here:
                buffer = _cut_out(found.plan, receiving.whole_buffer())
            else:
                buffer = receiving.buffer()
        return json.dumps([found.proxy, found.body, found.warnings]), buffer, found.plan.size

    text, buffer = from_rank_0(produce)
    proxy, body, told = json.loads(text)
    description = description_of(proxy, JsonAnswer(body, tuple(told)))
    return _assembled(description, buffer, description.plan, map_location)


def _read_here(found: Description, published: Published, ref: str, form: Form) -> tuple[Description, Buffer]:
    """What ``found`` should have said of a file that is here, and the bytes that it then needs."""
    body = tensor_index_to_json(published.part(ref, form))
    part = description_of(found.proxy, JsonAnswer(body, found.warnings))
    return part, _cut_out(part.plan, published.buffer)


def _cut_out(plan: Plan, whole: Buffer) -> Buffer:
    """What ``plan`` needs of a blob that is here."""
    buffer = Buffer(plan.size)
    for span in plan.spans:
        buffer.view[span.at : span.at + span.size] = whole.view[span.start : span.stop]
    return buffer


def describe(ref: str, prefix: Optional[str], settings: ClientSettings) -> TensorIndex:
    """The tensor index of ``ref``'s ``model`` variant with its tree; no byte of a tensor is moved.

    Raises:
        ProxyNotConfigured: only ``direct`` is left, which would have to download the file to read it.
        ClientError, MalformedCheckpoint: see ``load``.
    """
    locked = locked_entry(ref, settings)
    query = _query(ref, routes.MODEL, prefix)
    try:
        with Route(settings) as route:
            return tensor_index_from_json(route.do(lambda proxy: described(proxy, query, locked)).body)
    except DirectReached:
        raise ProxyNotConfigured(
            "no proxy serves, and only a proxy tells what a file holds before it is moved"
        ) from None
