"""The bytes of a plan, received over several connections at once and proven while they arrive."""

from __future__ import annotations

import threading
from collections import deque
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Callable, Final, Optional, Protocol

from zooproxy.client.chain import Route
from zooproxy.client.parts import Part, Parts, Proof
from zooproxy.client.splicing import write_all
from zooproxy.client.transport import ByteRange, Connection
from zooproxy.digest import Sha256

#: Received at once: small enough to be hashed and written while it lies in a core's cache.
PIECE: Final = 1 << 20


class Target(Protocol):
    """Where bytes go, each to its place ``at`` in the memory of the plan."""

    def room(self, at: int, most: int) -> memoryview: ...

    def took(self, at: int, data: memoryview) -> None: ...

    def file(self) -> Optional[int]:
        """The descriptor of a file that bytes may go to directly, each to its place; None where they may not."""
        ...


class Memory:
    """A target that is received into without a copy."""

    def __init__(self, view: memoryview) -> None:
        self._view = view

    def room(self, at: int, most: int) -> memoryview:
        return self._view[at : at + min(most, PIECE)]

    def took(self, at: int, data: memoryview) -> None:
        """They are where they belong."""

    def file(self) -> None:
        """There is none."""


class File:
    """A target in page cache: written from a piece of memory that stays in the core's cache. One per connection.

    Faster than receiving into a shared mapping: no page fault, no page that is zeroed first.
    """

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._piece = memoryview(bytearray(PIECE))

    def room(self, at: int, most: int) -> memoryview:  # noqa: ARG002  # as Memory's
        return self._piece[:most]

    def took(self, at: int, data: memoryview) -> None:
        write_all(self._descriptor, data, at)

    def file(self) -> int:
        return self._descriptor


@dataclass(frozen=True)
class Selection:
    """What is to be received: parts of one blob, and how to make another proxy hold that blob.

    ``completed`` is told of each part that has arrived.
    """

    parts: Parts
    blob: Sha256
    size: int
    prepare: Callable[[Connection], None]
    prepared: str
    completed: Callable[[Part], None] = lambda _: None


class Transfer:
    """Takes the parts of ``selection``, each by the first connection that is free."""

    def __init__(self, selection: Selection, advance: Callable[[int], None]) -> None:
        self._selection = selection
        self._advance = advance
        self._waiting = deque(selection.parts.parts)
        self._ended = threading.Event()
        self._counting = threading.Lock()

    def run(self, route: Route, target: Callable[[], Target], proof: Optional[Callable[[Part], Proof]]) -> None:
        """Receives everything, over ``route`` and others like it; ``target`` is called once for each connection.

        ``proof`` makes what proves a part while it arrives; None takes it as it comes.

        Raises:
            ProxyRefused, ProxyUnreachable, TransferCorrupt, DirectReached: see ``Route.do``.
            OSError: the target cannot be written.
        """
        expected = sum(part.span.size for part in self._waiting)
        settings = route.settings
        count = min(settings.connections, len(self._waiting), expected // settings.part)
        if count <= 1:
            self._take_all(route, target(), proof)
            return
        with ExitStack() as stack:  # the threads end before their connections are closed
            routes = [route, *(stack.enter_context(Route(settings)) for _ in range(count - 1))]
            threads = stack.enter_context(ThreadPoolExecutor(count, "zooproxy"))
            takers = [threads.submit(self._take_all, taken, target(), proof) for taken in routes]
            try:
                for taker in as_completed(takers):
                    taker.result()
            finally:
                self._ended.set()

    def _take_all(self, route: Route, target: Target, proof: Optional[Callable[[Part], Proof]]) -> None:
        known = {self._selection.prepared}

        def take(connection: Connection, part: Part) -> None:
            if connection.base not in known:
                self._selection.prepare(connection)
                known.add(connection.base)
            span = part.span
            wanted = ByteRange(self._selection.blob, self._selection.size, span.start, span.stop)
            connection.get_range(wanted, _Taking(self, target, part, proof(part) if proof else None))

        try:
            while not self._ended.is_set():
                try:
                    part = self._waiting.popleft()
                except IndexError:
                    return
                route.do(lambda connection, part=part: take(connection, part))  # type: ignore[misc]
                self._selection.completed(part)
        except _Abandoned:
            return  # the one that failed says why
        except BaseException:
            self._ended.set()
            raise

    def advance(self, count: int) -> None:
        if self._ended.is_set():
            raise _Abandoned
        with self._counting:
            self._advance(count)


class _Taking:
    """The sink of one attempt at one part."""

    def __init__(self, transfer: Transfer, target: Target, part: Part, proof: Optional[Proof]) -> None:
        self._transfer = transfer
        self._target = target
        self._at = part.span.at
        self._proof = proof

    def room(self, position: int, most: int) -> memoryview:
        return self._target.room(self._at + position, most)

    def took(self, position: int, data: memoryview) -> None:
        if self._proof is not None:
            self._proof.feed(data)
        self._target.took(self._at + position, data)
        self.passed(len(data))

    def file(self) -> Optional[tuple[int, int]]:
        descriptor = self._target.file() if self._proof is None else None
        return None if descriptor is None else (descriptor, self._at)

    def passed(self, count: int) -> None:
        self._transfer.advance(count)


class _Abandoned(Exception):
    """Another connection has failed for good."""
