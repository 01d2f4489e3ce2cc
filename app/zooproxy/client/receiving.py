"""From a description to its bytes: from the node's store, or received into it, or into memory; proven either way."""

from __future__ import annotations

import hashlib
import json
import logging
import mmap
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Callable, Optional

from zooproxy.client.chain import Route
from zooproxy.client.description import Description, described, index_of
from zooproxy.client.digests import Digests
from zooproxy.client.in_order import InOrder
from zooproxy.client.node_store import NodeStore, Wanted
from zooproxy.client.parts import Part, Parts, Proof, parts_of, pieces_of
from zooproxy.client.plan import Span, as_one, plan_of
from zooproxy.client.progress import Progress
from zooproxy.client.settings import ClientSettings
from zooproxy.client.staging import Accelerator, Staging, Tee
from zooproxy.client.storages import Buffer
from zooproxy.client.transfer import File, Memory, Selection, Target, Transfer
from zooproxy.client.transport import Connection
from zooproxy.digest import Sha256
from zooproxy.errors import TransferCorrupt
from zooproxy.names.lock import Locked
from zooproxy.wire import routes
from zooproxy.wire.tensors import TensorIndex

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class Arrived:
    """What has been received: ``read`` gives so many bytes from a place on, ``prove`` proves all of it."""

    read: Callable[[int, int], memoryview]
    prove: Callable[[], None]


@dataclass(frozen=True)
class Receiving:
    """The bytes that a description needs, from the node's store or from its proxy.

    ``in_pieces``: they are one storage, which several connections receive in pieces, hashed behind them.
    """

    settings: ClientSettings
    route: Route
    query: dict[str, str]
    description: Description
    verify: bool
    progress: bool
    in_pieces: bool = False

    @property
    def is_whole_here(self) -> bool:
        """Whether the node's store has all of the blob."""
        store, index = self._store(), self.description.index
        return store is not None and store.holds(key_of_whole(index.blob, index.size), index.size)

    def whole_buffer(self, locked: Optional[Locked] = None) -> Buffer:
        """All of the blob, or of what is ``locked``, proven by its own digest, whatever is said of its storages."""
        index = as_one(self.description.index)
        if locked is not None:
            index = as_one(replace(index, blob=locked.sha256, size=locked.size))
        whole = replace(self.description, index=index, plan=plan_of(index))
        return replace(self, description=whole, in_pieces=True).buffer()

    def buffer(self) -> Buffer:
        return self._stored(self._fill) or self._in_memory()

    def storages_on(self, accelerator: Accelerator) -> Mapping[int, torch.UntypedStorage]:
        """The storages on a device: copied there while they arrive, or from the node's store."""
        with Staging(accelerator, self.description.index, self.description.plan) as staging:
            buffer = self._stored(lambda descriptor: self._fill_and_stage(descriptor, staging))
            late = self.verify and self._parts().late  # only main memory can be proven as a whole
            if buffer is None and late:
                buffer = self._in_memory()
            if buffer is None:
                self._receive(staging.ring, None)
            elif not staging.is_complete:
                staging.take(buffer.view)
        return staging.storages

    def _stored(self, fill: Callable[[int], None]) -> Optional[Buffer]:
        """From the node's store, received by ``fill`` if need be; None where the store has no part in this."""
        store = self._store()
        if store is None or not self.description.plan.size:
            return None
        wanted = Wanted(self._key(), self.description.plan.size, self.verify, fill, self._prove)
        try:
            return store.obtain(wanted)
        except OSError as error:  # a full or read-only disk is no reason not to train
            logging.getLogger("zooproxy").warning("the node's store cannot be used (%s): receiving into memory", error)
            return None

    def _store(self) -> Optional[NodeStore]:
        folder = self.settings.folder
        try:
            return None if folder is None else NodeStore(folder, self.settings.capacity)
        except OSError as error:
            logging.getLogger("zooproxy").warning("the node's store cannot be used (%s): receiving into memory", error)
            return None

    def _key(self) -> Sha256:
        """Of the bytes and of how they lie: two selections of one blob that need the same bytes share them."""
        return _key_of(self.description.index.blob, self.description.plan.spans)

    def _in_memory(self) -> Buffer:
        buffer = Buffer(self.description.plan.size)
        memory = Arrived(lambda at, count: buffer.view[at : at + count], lambda: self._prove(buffer.view))
        self._receive(lambda: Memory(buffer.view), memory)
        return buffer

    def _fill(self, descriptor: int) -> None:
        self._receive(lambda: File(descriptor), self._file(descriptor))

    def _fill_and_stage(self, descriptor: int, staging: Staging) -> None:
        self._receive(lambda: Tee(staging.ring(), descriptor), self._file(descriptor))
        staging.is_complete = True

    def _file(self, descriptor: int) -> Arrived:
        def read(at: int, count: int) -> memoryview:
            return memoryview(os.pread(descriptor, count, at))

        return Arrived(read, lambda: self._prove_file(descriptor))

    def _prove_file(self, descriptor: int) -> None:
        memory = mmap.mmap(descriptor, self.description.plan.size, access=mmap.ACCESS_READ)
        with memory, memoryview(memory) as view:
            self._prove(view)

    def _prove(self, memory: memoryview) -> None:
        self._digests().prove(memory)

    def _digests(self) -> Digests:
        query = {**self.query, routes.DIGESTS: routes.WAIT}

        def ask() -> TensorIndex:
            with Route(self.route.settings) as route:
                return index_of(route.do(lambda proxy: proxy.get_json(routes.TENSORS, query)))

        return Digests(self.description.index, self.description.plan, ask)

    def _receive(self, target: Callable[[], Target], arrived: Optional[Arrived]) -> None:
        """``arrived`` is None where what has arrived cannot be read again: then no part may have to be proven late."""
        index, parts = self.description.index, self._parts()
        selection = Selection(parts, index.blob, index.size, self._prepare, self.description.proxy)
        digests = self._digests()
        if not self.verify or (digests.are_known and not parts.late):
            self._transfer(selection, target, digests.proof if self.verify else None)
            return
        digests.begin()
        # Only all of it can be proven: wrong bytes mean all of it again, then from the next proxy.
        again = False
        while True:
            settle = self._received(selection, target, digests, arrived)
            try:
                settle()
                return
            except TransferCorrupt as error:
                if again:
                    self.route.pass_over(error)
                again = not again

    def _received(
        self, selection: Selection, target: Callable[[], Target], digests: Digests, arrived: Optional[Arrived]
    ) -> Callable[[], None]:
        """All has arrived; what is answered proves it."""
        if arrived is None or not selection.parts.late:
            self._transfer(selection, target, digests.proof)
        elif not self.in_pieces:
            self._transfer(selection, target, None)
            return arrived.prove
        else:
            in_order = InOrder(arrived.read)
            self._transfer(replace(selection, completed=in_order.completed), target, None)
            digests.note(0, in_order.digest())
        return digests.settle

    def _parts(self) -> Parts:
        index, plan = self.description.index, self.description.plan
        if self.in_pieces or not self.verify:  # what nobody proves may be cut anywhere: one large storage, too
            return pieces_of(plan, self.settings)
        return parts_of(index, plan, self.settings)

    def _transfer(
        self, selection: Selection, target: Callable[[], Target], proof: Optional[Callable[[Part], Proof]]
    ) -> None:
        shown = self.description.plan.bytes_to_receive if self.progress else 0
        with Progress(self.query["ref"], shown) as progress:
            Transfer(selection, progress.advance).run(self.route, target, proof)

    def _prepare(self, proxy: Connection) -> None:
        """Makes another proxy hold the blob: it may never have been asked for this reference."""
        if described(proxy, self.query).index.blob != self.description.index.blob:
            raise TransferCorrupt(f"{proxy.base} has other bytes under this reference than {self.description.proxy}")


def key_of_whole(blob: Sha256, size: int) -> Sha256:
    """Names all of a blob in the node's store."""
    return _key_of(blob, [Span(0, size, 0)])


def _key_of(blob: Sha256, spans: Sequence[Span]) -> Sha256:
    extents = [(span.start, span.stop) for span in spans]
    return Sha256(hashlib.sha256(json.dumps([blob, extents]).encode()).hexdigest())
