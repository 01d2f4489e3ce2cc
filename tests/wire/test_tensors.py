"""The tensor index: its JSON form, and a tensor's own arithmetic."""

from __future__ import annotations

import dataclasses
import json

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from zooproxy.digest import Sha256
from zooproxy.errors import MalformedCheckpoint
from zooproxy.wire.plain import TensorRef
from zooproxy.wire.tensors import (
    DTYPE_SIZES,
    Storage,
    Tensor,
    TensorIndex,
    tensor_index_from_json,
    tensor_index_to_json,
)

INDEX = TensorIndex(
    blob=Sha256.of(b"blob"),
    size=1000,
    container="torch-zip",
    kind="wrapped",
    byteorder="little",
    storages=(Storage(64, 24, 7, Sha256.of(b"storage")), Storage(128, 0)),
    tensors=(Tensor("w", "float32", 0, 0, (2, 3), (3, 1)), Tensor("e", "int64", 1, 0, (0,), (1,))),
    tree={"state_dict": {"w": TensorRef(0), "e": TensorRef(1)}, "meta": {"epoch": 3}},
    dropped=("a.B",),
)


def encoded():
    return json.loads(json.dumps(tensor_index_to_json(INDEX)))


def test_index_comes_back_as_it_was():
    assert tensor_index_from_json(encoded()) == INDEX


@pytest.mark.parametrize("member", [field.name for field in dataclasses.fields(TensorIndex)])
def test_an_index_without_a_member_is_refused(member):
    document = encoded()
    del document[member]
    with pytest.raises(MalformedCheckpoint):
        tensor_index_from_json(document)


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("blob",), "abc"),
        (("storages", 0), [1, 2]),
        (("storages", 0, 0), -1),
        (("storages", 0, 1), "24"),
        (("storages", 0, 2), 1.5),
        (("storages", 0, 3), "abc"),
        (("tensors", 0), 3),
        (("tensors", 0, "storage"), 2),
        (("tensors", 0, "offset"), -1),
        (("tensors", 0, "offset"), True),
        (("tensors", 0, "dtype"), "float33"),
        (("tensors", 0, "shape"), [2, -3]),
        (("tensors", 0, "stride"), [1]),
        (("tensors", 0, "stride"), None),
        (("tree",), {"$tensor": "x"}),
    ],
)
def test_an_index_with_a_member_of_the_wrong_kind_is_refused(path, value):
    document = encoded()
    *outer, last = path
    target = document
    for step in outer:
        target = target[step]
    target[last] = value
    with pytest.raises(MalformedCheckpoint):
        tensor_index_from_json(document)


def test_element_sizes_are_torch_s():
    assert {name: getattr(torch, name).itemsize for name in DTYPE_SIZES} == dict(DTYPE_SIZES)


shapes = st.lists(st.integers(0, 3), max_size=4).flatmap(
    lambda shape: st.tuples(st.just(tuple(shape)), st.tuples(*[st.integers(0, 9)] * len(shape)))
)


@given(shapes)
def test_contiguity_and_size_are_torch_s(shape_and_stride):
    shape, stride = shape_and_stride
    ours = Tensor("t", "float32", 0, 0, shape, stride)
    theirs = torch.zeros(200).as_strided(shape, stride)
    assert ours.is_contiguous == theirs.is_contiguous()
    assert (ours.count, ours.nbytes) == (theirs.numel(), theirs.nbytes)
