"""Who should leave: least recently used against Greedy-Dual-Size-Frequency, on a synthetic trace.

Sizes are drawn as checkpoints are (lognormal, median 180 MB, 5 MB to 12 GB). Requests are Zipf over models whose
popularity drifts, as projects begin and end, and now and then somebody walks through a whole zoo (``scans``). Counted:
hits by request, and by bytes, which are what a miss costs; ``ours`` is least recently used.
"""

from __future__ import annotations

import bisect
import heapq
import itertools
import random
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from benchmarks.figures import Figure
from zooproxy.cache.eviction_order import EvictionOrder, LeastRecentlyUsed, Marks

_MEDIAN: Final = 180e6
_TYPICAL: Final = 1e8  # bytes whose fetching counts as one


class GreedyDualSizeFrequency(EvictionOrder):
    """Cherkasova, HP Labs HPL-98-69R1: uses per byte, above what was evicted last."""

    def priority(self, marks: Marks, size: int, uses: int) -> float:
        return marks.lowest + max(uses, 1) * _TYPICAL / size


@dataclass(frozen=True)
class Case:
    """``alpha`` of the Zipf law; a scan of ``scan`` models in a row every 3,000 requests; ``share`` of all fits."""

    alpha: float
    scan: int
    share: float

    def __str__(self) -> str:
        return f"zipf {self.alpha}, {'scans' if self.scan else 'no scans'}, room for {self.share:.0%}"


CASES = tuple(Case(alpha, scan, share) for alpha in (0.7, 0.9, 1.1) for scan in (0, 300) for share in (0.1, 0.3))


def run(smoke: bool) -> list[Figure]:
    models, requests, cases = (200, 1_000, CASES[:2]) if smoke else (3_000, 60_000, CASES)
    figures = []
    for case in cases:
        random_ = random.Random(20260131)
        sizes = [_size(random_) for _ in range(models)]
        trace = list(itertools.islice(_requests(random_, models, case), requests))
        room = int(sum(sizes) * case.share)
        ours = _hit_rates(LeastRecentlyUsed(), trace, sizes, room)
        theirs = _hit_rates(GreedyDualSizeFrequency(), trace, sizes, room)
        for number, what in enumerate(("requests", "bytes")):
            name = f"LRU against GDSF, {what} hit: {case}"
            figures.append(Figure(name, ours[number] * 100, theirs[number] * 100, "percent", ">= 1 of bytes"))
    return figures


def _size(random_: random.Random) -> int:
    return int(min(max(random_.lognormvariate(0, 1) * _MEDIAN, 5e6), 12e9))


def _requests(random_: random.Random, models: int, case: Case) -> Iterator[int]:
    weights = list(itertools.accumulate(1 / (rank + 1) ** case.alpha for rank in range(models)))
    ranked = random_.sample(range(models), models)

    def drawn() -> int:
        return min(bisect.bisect(weights, random_.random() * weights[-1]), models - 1)

    for count in itertools.count(1):
        if count % 50 == 0:  # what was wanted much trades places with any other
            here, there = drawn(), random_.randrange(models)
            ranked[here], ranked[there] = ranked[there], ranked[here]
        if case.scan and count % 3_000 == 0:
            start = random_.randrange(models)
            yield from ((start + step) % models for step in range(case.scan))
        yield ranked[drawn()]


def _hit_rates(order: EvictionOrder, trace: list[int], sizes: list[int], room: int) -> tuple[float, float]:
    """By requests and by bytes."""
    cache = _Cache(order, sizes, room)
    hits = [model for model in trace if cache.ask(model)]
    return len(hits) / len(trace), sum(sizes[model] for model in hits) / sum(sizes[model] for model in trace)


class _Cache:
    """As the proxy keeps it: a priority at each use, the lowest leaves first."""

    def __init__(self, order: EvictionOrder, sizes: list[int], room: int) -> None:
        self._order = order
        self._sizes = sizes
        self._left = room
        self._held: dict[int, tuple[float, int]] = {}
        self._heap: list[tuple[float, int]] = []
        self._highest = 0.0

    def ask(self, model: int) -> bool:
        """Whether it was a hit; it is held afterwards."""
        is_hit = model in self._held
        if not is_hit:
            self._left -= self._sizes[model]
        uses = self._held[model][1] + 1 if is_hit else 0
        priority = self._order.priority(Marks(self._lowest(), self._highest), self._sizes[model], uses)
        while self._left < 0:
            self._evict()
        self._highest = max(self._highest, priority)
        self._held[model] = priority, uses
        heapq.heappush(self._heap, (priority, model))
        return is_hit

    def _lowest(self) -> float:
        while self._heap and self._held.get(self._heap[0][1], (None,))[0] != self._heap[0][0]:
            heapq.heappop(self._heap)  # it was used since, or has left
        return self._heap[0][0] if self._heap else 0.0

    def _evict(self) -> None:
        self._lowest()
        _, model = heapq.heappop(self._heap)
        del self._held[model]
        self._left += self._sizes[model]
