"""A plan cut into parts that connections take one after the other, and the digests that each part can prove."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Optional

from zooproxy.client.plan import Plan, Span
from zooproxy.client.settings import ClientSettings
from zooproxy.digest import Hasher, Sha256
from zooproxy.errors import TransferCorrupt
from zooproxy.wire.tensors import Storage, TensorIndex

#: So many parts for each connection: the last ones end together, and one that is taken again costs little.
_PER_CONNECTION: Final = 4


@dataclass(frozen=True)
class Check:
    """Bytes ``at`` to ``at + storage.size`` of the memory have the digest of ``storage``, number ``number``."""

    number: int
    at: int
    storage: Storage


@dataclass(frozen=True)
class Part:
    """``span`` of the blob, and the storages that lie in it whole, in order and apart from each other."""

    span: Span
    checks: tuple[Check, ...]


@dataclass(frozen=True)
class Parts:
    """``parts`` of a plan; ``late`` says that nothing can be proven before all of it has arrived."""

    parts: tuple[Part, ...]
    late: bool


def parts_of(index: TensorIndex, plan: Plan, settings: ClientSettings) -> Parts:
    """The parts of ``plan``, cut between storages."""
    checks = checks_of(index, plan)
    late = any(a.at + a.storage.size > b.at for a, b in zip(checks, checks[1:]))
    least = _least(plan, settings)
    return Parts(tuple(part for span in plan.spans for part in _cut(span, checks, least)), late)


def pieces_of(plan: Plan, settings: ClientSettings) -> Parts:
    """The parts of ``plan``, cut anywhere: none of them can be proven alone."""
    least = _least(plan, settings)
    pieces = []
    for span in plan.spans:
        count = max(1, span.size // least)
        cuts = [span.size * number // count for number in range(count + 1)]
        pieces += [Span(span.start + a, span.start + b, span.at + a) for a, b in zip(cuts, cuts[1:])]
    return Parts(tuple(Part(piece, ()) for piece in pieces), True)


def _least(plan: Plan, settings: ClientSettings) -> int:
    """Bytes of a part: as many parts for each connection, so that none is left alone at the end."""
    size, connections = plan.bytes_to_receive, settings.connections
    count = max(1, min(size // settings.part, connections * _PER_CONNECTION))
    return size // (count - count % connections if count > connections else count)


def checks_of(index: TensorIndex, plan: Plan) -> list[Check]:
    """One for each run of bytes that has a digest of its own, in the order of memory."""
    checks = {
        (place, index.storages[number].size): Check(number, place, index.storages[number])
        for number, place in plan.places.items()
        if index.storages[number].size
    }
    return [checks[key] for key in sorted(checks)]


def _cut(span: Span, checks: Sequence[Check], least: int) -> list[Part]:
    """Each cut is the first byte of a storage; what lies between storages belongs to the part before it."""
    inside = [check for check in checks if span.at <= check.at < span.at + span.size]
    parts: list[Part] = []
    held: list[Check] = []
    begin = reach = span.at
    for check in inside:
        if check.at - begin >= least and check.at >= reach:
            parts.append(_part(span, begin, check.at, held))
            begin, held = check.at, []
        held.append(check)
        reach = max(reach, check.at + check.storage.size)
    parts.append(_part(span, begin, span.at + span.size, held))
    return parts


def _part(span: Span, begin: int, end: int, checks: list[Check]) -> Part:
    start = span.start + begin - span.at
    return Part(Span(start, start + end - begin, begin), tuple(checks))


class Proof:
    """Proves the storages of a part while its bytes pass in order.

    The digest of a storage that has none to be compared with goes to ``seen``, by the storage's number.
    """

    def __init__(self, part: Part, blob: Sha256, seen: dict[int, Sha256]) -> None:
        self._blob = blob
        self._seen = seen
        self._checks = part.checks
        self._next = 0
        self._at = part.span.at
        self._sum: Optional[Hasher] = None

    def feed(self, data: memoryview) -> None:
        """The next bytes of the part.

        Raises:
            TransferCorrupt: a storage has ended, and its digest is another.
        """
        end = self._at + len(data)
        while self._next < len(self._checks):
            check = self._checks[self._next]
            stop = check.at + check.storage.size
            if check.at >= end:
                break
            self._sum = Hasher() if self._sum is None else self._sum
            self._sum.update(data[max(0, check.at - self._at) : stop - self._at])
            if stop > end:
                break
            self._compare(check, self._sum.digest())
            self._sum = None
            self._next += 1
        self._at = end

    def _compare(self, check: Check, digest: Sha256) -> None:
        if check.storage.sha256 is None:
            self._seen[check.number] = digest
        elif check.storage.sha256 != digest:
            raise TransferCorrupt(f"storage {check.number} of the blob {self._blob} arrived with another digest")


def prove(index: TensorIndex, plan: Plan, memory: memoryview) -> None:
    """Proves all of ``memory``, laid out as ``plan`` says, by the digests of ``index``.

    Raises:
        TransferCorrupt: a digest is another.
    """
    for check in checks_of(index, plan):
        alone = Part(Span(0, check.storage.size, check.at), (check,))
        Proof(alone, index.blob, {}).feed(memory[check.at : check.at + check.storage.size])
