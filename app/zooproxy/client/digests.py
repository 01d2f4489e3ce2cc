"""The digests that received storages must have. A proxy may describe a blob before it has computed them: then they are
asked for while the bytes arrive, and compared when both are there."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import Callable, Final

from zooproxy.client.parts import Part, Proof, prove
from zooproxy.client.plan import Plan
from zooproxy.digest import Sha256
from zooproxy.errors import TransferCorrupt
from zooproxy.wire.tensors import TensorIndex

#: A proxy answers within 20 seconds, also where it is not done.
_ASKED: Final = 60


class Digests:
    """Those of the storages that ``plan`` needs of ``index``. ``ask`` gets the index again, with all that is known."""

    def __init__(self, index: TensorIndex, plan: Plan, ask: Callable[[], TensorIndex]) -> None:
        self._index = index
        self._plan = plan
        self._ask = ask
        self._seen: dict[int, Sha256] = {}
        self._asked: Future[TensorIndex] = Future()
        self.are_known = self._known(index)
        if self.are_known:
            self._asked.set_result(index)

    def begin(self) -> None:
        """Asks for what is missing; nobody waits for the answer yet."""
        if not self._asked.done():
            threading.Thread(target=self._wait, name="zooproxy-digests", daemon=True).start()

    def proof(self, part: Part) -> Proof:
        """Proves what is known while it arrives, and notes the rest for ``settle``."""
        return Proof(part, self._index.blob, self._seen)

    def note(self, number: int, digest: Sha256) -> None:
        """``digest`` is what storage ``number`` arrived with: for ``settle``."""
        self._seen[number] = digest

    def settle(self) -> None:
        """Compares what has arrived with digests that came later.

        Raises:
            TransferCorrupt: one is another; or the proxy never told it.
            ProxyRefused, ProxyUnreachable: what asking met.
        """
        storages = self._asked.result().storages
        for number, digest in self._seen.items():
            if storages[number].sha256 != digest:
                raise TransferCorrupt(f"storage {number} of the blob {self._index.blob} arrived with another digest")

    def prove(self, memory: memoryview) -> None:
        """Proves all of ``memory``, laid out as the plan says.

        Raises:
            As ``settle``.
        """
        self.begin()
        prove(self._asked.result(), self._plan, memory)

    def _known(self, index: TensorIndex) -> bool:
        needed = (index.storages[number] for number in self._plan.places)
        return all(storage.sha256 is not None or not storage.size for storage in needed)

    def _wait(self) -> None:
        try:
            self._asked.set_result(self._told())
        except BaseException as error:  # noqa: BLE001  # for whoever waits in another thread
            self._asked.set_exception(error)

    def _told(self) -> TensorIndex:
        for _ in range(_ASKED):
            told = self._ask()
            if (told.blob, _extents(told)) != (self._index.blob, _extents(self._index)):
                raise TransferCorrupt(f"the proxy describes the blob {self._index.blob} in two ways")
            if self._known(told):
                return told
        raise TransferCorrupt(
            f"the proxy does not tell the digests of the blob {self._index.blob}; verify=False does without them"
        )


def _extents(index: TensorIndex) -> list[tuple[int, int]]:
    return [(storage.offset, storage.size) for storage in index.storages]
