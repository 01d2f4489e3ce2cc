"""Plain values travel as JSON and come back as they were."""

from __future__ import annotations

import json
import math
from collections import OrderedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zooproxy.errors import LimitExceeded, MalformedCheckpoint
from zooproxy.wire.plain import MAX_DEPTH, Inert, TensorRef, from_json, to_json


def travelled(value):
    return from_json(json.loads(json.dumps(to_json(value))))


keys = st.one_of(st.text(), st.integers(), st.none(), st.booleans(), st.binary(), st.tuples(st.text(), st.integers()))
atoms = st.one_of(
    keys,
    st.floats(allow_nan=False),
    st.complex_numbers(allow_nan=False, allow_infinity=False),
    st.builds(TensorRef, st.integers(0, 9)),
    st.sets(st.text()),
    st.frozensets(st.integers()),
)
values = st.recursive(
    atoms,
    lambda inner: st.one_of(
        st.lists(inner),
        st.lists(inner).map(tuple),
        st.dictionaries(keys, inner),
        st.dictionaries(keys, inner).map(OrderedDict),
        st.builds(Inert, st.text(), inner, inner, st.none() | st.lists(inner)),
    ),
    max_leaves=20,
)


@given(values)
def test_any_plain_value_comes_back_as_it_was(value):
    back = travelled(value)
    assert back == value
    assert repr(type(back)) == repr(type(value))


@given(st.dictionaries(keys, st.integers()))
def test_order_is_kept(value):
    assert list(travelled(value)) == list(value)
    assert list(travelled(OrderedDict(value))) == list(value)


@pytest.mark.parametrize(
    ("value", "encoded"),
    [
        (2**53, {"$int": "9007199254740992"}),
        (2**53 - 1, 2**53 - 1),
        (math.inf, {"$float": "inf"}),
        (1 - 2j, {"$complex": [1.0, -2.0]}),
        (complex(-math.inf, 0.5), {"$complex": [{"$float": "-inf"}, 0.5]}),
        (b"\x00\xff", {"$bytes": "AP8="}),
        (bytearray(b"\x00\xff"), {"$bytes": "AP8="}),
        ((1, (2,)), {"$tuple": [1, {"$tuple": [2]}]}),
        ({"a": 1}, {"a": 1}),
        ({1: "a"}, {"$dict": [[1, "a"]]}),
        ({"$tensor": 1}, {"$dict": [["$tensor", 1]]}),
        (TensorRef(3), {"$tensor": 3}),
        (OrderedDict(a=1), {"$odict": [["a", 1]]}),
        (Inert("a.B", (1,)), {"$inert": "a.B", "args": {"$tuple": [1]}, "state": None, "items": None}),
        (Inert("a.b", None), {"$inert": "a.b", "args": None, "state": None, "items": None}),
    ],
)
def test_json_form_is_the_documented_one(value, encoded):
    assert to_json(value) == encoded
    assert from_json(encoded) == value


def test_true_and_one_are_told_apart():
    assert [type(item) for item in travelled([True, 1, 1.0])] == [bool, int, float]


def test_nan_comes_back():
    assert math.isnan(travelled(math.nan))


def test_members_of_sets_are_sorted_so_that_every_process_writes_the_same():
    assert to_json({"b", "a", "c"}) == {"$set": ["a", "b", "c"]}
    assert to_json(frozenset({3, 1, "a"})) == {"$frozenset": ["a", 1, 3]}


def test_metadata_of_a_state_dict_travels():
    value = OrderedDict(w=1)
    value._metadata = OrderedDict({"": {"version": 1}})
    assert travelled(value)._metadata == value._metadata


def test_tensors_are_planted_by_their_position():
    assert from_json({"a": [{"$tensor": 4}]}, lambda position: f"tensor {position}") == {"a": ["tensor 4"]}


def test_a_value_without_a_plain_form_is_refused():
    with pytest.raises(MalformedCheckpoint, match="object"):
        to_json([object()])


def test_a_cycle_ends_at_the_depth_limit():
    looped: list[object] = []
    looped.append(looped)
    with pytest.raises(LimitExceeded, match="levels"):
        to_json(looped)


def test_depth_up_to_the_limit_travels():
    value: list[object] = []
    for _ in range(MAX_DEPTH - 2):
        value = [value]
    assert travelled(value) == value


def test_shared_values_end_at_the_budget_of_nodes():
    value: list[object] = []
    for _ in range(20):
        value = [value] * 10
    with pytest.raises(LimitExceeded, match="1,000 nodes"):
        to_json(value, max_nodes=1000)


@pytest.mark.parametrize(
    "encoded",
    [
        {"$unknown": 1},
        {"$int": "x"},
        {"$int": []},
        {"$float": "x"},
        {"$complex": [1]},
        {"$bytes": "*"},
        {"$bytes": 3},
        {"$tuple": 3},
        {"$set": [[1]]},
        {"$dict": [[1]]},
        {"$dict": [[[], 1]]},
        {"$odict": 3},
        {"$tensor": "0"},
        {"$tensor": True},
        {"$inert": 3, "args": None, "state": None, "items": None},
        {"$inert": "a"},
    ],
)
def test_json_that_is_never_written_is_refused(encoded):
    with pytest.raises(MalformedCheckpoint):
        from_json({"outer": [encoded]})


def test_json_that_nests_too_deep_is_refused():
    encoded: list[object] = []
    for _ in range(100_000):
        encoded = [encoded]
    with pytest.raises(LimitExceeded):
        from_json(encoded)
