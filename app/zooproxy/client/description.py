"""What a proxy says of a reference: the tensor index of what was asked for, and the bytes of the blob that it needs."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from typing import Any, Optional

from zooproxy.client.garbage import collected_later
from zooproxy.client.locked import prove_locked
from zooproxy.client.plan import Plan, plan_of
from zooproxy.client.transport import Connection, JsonAnswer
from zooproxy.digest import Sha256
from zooproxy.errors import MalformedCheckpoint, UnsupportedFormat
from zooproxy.names.lock import Locked
from zooproxy.wire import routes
from zooproxy.wire.tensors import TensorIndex, tensor_index_from_json


@dataclass(frozen=True)
class Description:
    """What ``proxy`` says of a reference; ``body`` is its JSON, whose tree is decoded once, with its tensors."""

    proxy: str
    index: TensorIndex
    plan: Plan
    body: Any
    warnings: tuple[str, ...]


def described(
    proxy: Connection, query: dict[str, str], locked: Optional[Locked] = None, *, at_once: bool = False
) -> Description:
    """What ``proxy`` says; it fetches first what it does not hold, unless it is to answer ``at_once``.

    Raises:
        NotYet: then, where it would have to.
        LockedOtherwise: what it holds is not what is ``locked``.
        ClientError, FormatError: see ``zooproxy.load``.
    """
    found = description_of(proxy.base, proxy.get_json(routes.TENSORS, query, at_once=at_once))
    if locked and found.index.blob != locked.sha256:
        # What no ranges of the file express (its byte order, say) is described as a blob derived from it.
        prove_locked(locked, _published_digest(proxy, query["ref"]) or found.index.blob, f"what {proxy.base} holds has")
    return found


def _published_digest(proxy: Connection, ref: str) -> Optional[Sha256]:
    """What ``proxy`` says that the published file is; None where it says nothing that can be one."""
    body = proxy.get_json(routes.RESOLVE, {"ref": ref}).body
    try:
        return Sha256(str(body["sha256"]))
    except (KeyError, TypeError, ValueError):
        return None


@collected_later()
def description_of(proxy: str, answer: JsonAnswer) -> Description:
    index = index_of(answer)
    return Description(proxy, index, plan_of(index), answer.body, answer.warnings)


def index_of(answer: JsonAnswer) -> TensorIndex:
    if not isinstance(answer.body, dict) or "tree" not in answer.body:
        raise MalformedCheckpoint("the proxy's answer is no tensor index of version 1")
    index = tensor_index_from_json({**answer.body, "tree": None})
    if index.byteorder != sys.byteorder:
        raise UnsupportedFormat("the checkpoint's byte order is not this machine's; ask the proxy for variant=model")
    return index
