"""Which bytes are needed, and where they lie in memory."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from zooproxy.client.plan import ALIGNMENT, plan_of
from zooproxy.digest import Sha256
from zooproxy.wire.tensors import Storage, Tensor, TensorIndex

DIGEST = Sha256("0" * 64)


def index_of(*storages: Storage, used: tuple[int, ...] = (), size: int = 1 << 20) -> TensorIndex:
    tensors = tuple(Tensor(str(n), "uint8", n, 0, (storages[n].size,), (1,)) for n in used or range(len(storages)))
    return TensorIndex(DIGEST, size, "torch-zip", "state_dict", "little", storages, tensors, {}, ())


def test_plan_leaves_out_storages_that_no_tensor_views() -> None:
    plan = plan_of(index_of(Storage(0, 10, 1), Storage(500, 10, 1), Storage(900, 10, 1), used=(1,)), max_gap=1 << 20)
    assert [(span.start, span.stop) for span in plan.spans] == [(500, 510)]
    assert set(plan.places) == {1}


def test_plan_joins_spans_up_to_the_gap_and_not_beyond() -> None:
    near, far = Storage(110, 10, 1), Storage(231, 9, 1)
    plan = plan_of(index_of(Storage(0, 10, 1), near, far), max_gap=100)
    assert [(span.start, span.stop) for span in plan.spans] == [(0, 120), (231, 240)]
    assert plan.bytes_to_receive == 129


def test_plan_takes_gaps_only_as_far_as_their_sum_is_small() -> None:
    size, gap = 4 << 20, 40 << 10
    ten = [Storage(n * (size + gap), size, 1) for n in range(10)]
    plan = plan_of(index_of(*ten, size=1 << 30))
    assert plan.bytes_to_receive == 10 * size  # nine such gaps would be more than half a per cent
    assert len(plan.spans) == 10
    padded = [Storage(n * (size + 192), size, 1) for n in range(10)]
    assert len(plan_of(index_of(*padded, size=1 << 30)).spans) == 1
    two = plan_of(index_of(Storage(0, 100, 1), Storage(50_000, 100, 1)))
    assert [(span.start, span.stop) for span in two.spans] == [(0, 50_100)]  # one request less is worth 50 kB


def test_plan_of_no_tensors_is_empty() -> None:
    plan = plan_of(index_of())
    assert (plan.spans, plan.places, plan.size) == ((), {}, 0)


extents = st.lists(st.tuples(st.integers(0, 60_000), st.integers(0, 4_000)), min_size=1, max_size=12)


@settings(deadline=None)  # a shared machine may stall for longer than any deadline
@given(extents, st.integers(0, 5_000))
def test_plan_gives_each_storage_its_bytes_at_the_same_alignment(found: list[tuple[int, int]], gap: int) -> None:
    blob = bytes(n * 7 % 251 for n in range(64_000))
    plan = plan_of(index_of(*(Storage(at, size, 1) for at, size in found), size=len(blob)), gap)
    buffer = bytearray(plan.size)
    for span in plan.spans:
        buffer[span.at : span.at + span.size] = blob[span.start : span.stop]
    assert len(buffer) == plan.size
    assert plan.size <= plan.bytes_to_receive + ALIGNMENT * len(plan.spans)
    for number, (at, size) in enumerate(found):
        place = plan.places[number]
        assert buffer[place : place + size] == blob[at : at + size]
        assert not size or (place - at) % ALIGNMENT == 0
