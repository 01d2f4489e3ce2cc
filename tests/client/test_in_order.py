"""A digest of parts that arrive in any order, told by several threads."""

from __future__ import annotations

import dataclasses
import random
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from zooproxy.client.in_order import InOrder
from zooproxy.client.parts import pieces_of
from zooproxy.client.plan import Plan, Span
from zooproxy.digest import Sha256

DATA = random.Random(3).randbytes(3_000_001)


def test_the_digest_is_that_of_the_whole_whatever_arrives_first(settings_for: Any) -> None:
    settings = dataclasses.replace(settings_for("http://proxy"), connections=4, part=100_000)
    parts = list(pieces_of(Plan((Span(0, len(DATA), 0),), {0: 0}, len(DATA)), settings).parts)
    assert len(parts) == 16
    assert [part.span.start for part in parts[1:]] == [part.span.stop for part in parts[:-1]]
    random.Random(4).shuffle(parts)
    memory = memoryview(bytearray(len(DATA)))
    in_order = InOrder(lambda at, count: memory[at : at + count])

    def arrive(part: Any) -> None:
        memory[part.span.start : part.span.stop] = DATA[part.span.start : part.span.stop]
        in_order.completed(part)

    with ThreadPoolExecutor(4) as threads:
        list(threads.map(arrive, parts))
    assert in_order.digest() == Sha256.of(DATA)


def test_nothing_beyond_a_gap_is_looked_at(settings_for: Any) -> None:
    plan = Plan((Span(0, 400, 0),), {0: 0}, 400)
    parts = pieces_of(plan, dataclasses.replace(settings_for("http://proxy"), connections=1, part=100)).parts
    looked_at: list[int] = []

    def read(at: int, count: int) -> memoryview:
        looked_at.append(at)
        return memoryview(bytes(count))

    in_order = InOrder(read)
    for number in (3, 1):
        in_order.completed(parts[number])
    assert looked_at == []
    in_order.completed(parts[0])
    assert looked_at == [0, 100]
