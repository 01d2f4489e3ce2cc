"""Tensors that no strided range describes, put together again by the client as torch wrote them."""

from __future__ import annotations

import io
from typing import Any

import pytest
import torch

from formats.checkpoint_files import (
    as_client,
    checkpoint,
    digested,
    loaded,
    mapping,
    name,
    rendered,
    saved,
    tensor,
    tuple_of,
)
from formats.unusual_tensors import ODD, described, odd
from zooproxy.client.assembly import tree_with_tensors
from zooproxy.errors import MalformedCheckpoint, UnsupportedFormat
from zooproxy.formats.forms import Form, recast_of, rendition, selected
from zooproxy.formats.variants import refuse_odd_tensors
from zooproxy.provide.derivation import Derivation
from zooproxy.wire.plain import Inert, TensorRef
from zooproxy.wire.tensors import TensorIndex
from zooproxy.wire.unusual_tensors import is_described

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")  # torch's own, in beta


def with_client(data: bytes, index: TensorIndex | None = None) -> Any:
    """What the client makes of what the server would describe."""
    index = index or digested(data)
    refuse_odd_tensors(index, but_described=True)
    given, here = as_client(index, data)
    for key, value in here.items():
        assert not isinstance(value, torch.Tensor) or described(value) == described(given[key])
    return given


@pytest.mark.parametrize(
    ("case", "legacy"),
    [
        (case, legacy) for case in ODD for legacy in (False, True) if (case, legacy) != ("nested", True)
    ],  # torch fails too
)
def test_it_is_as_torch_wrote_it(case: str, legacy: bool) -> None:
    data = saved({"w": torch.ones(1), "odd": odd()[case]}, _use_new_zipfile_serialization=not legacy)
    assert described(with_client(data)["odd"]) == described(loaded(data)["odd"])


@pytest.mark.parametrize("case", ["csc", "bsr", "bsc", "coo with values of its own", "not coalesced"])
def test_every_sparse_layout_is_as_torch_wrote_it(case: str) -> None:
    dense = torch.eye(4)
    value = {
        "csc": dense.to_sparse_csc(),
        "bsr": dense.to_sparse_bsr((2, 2)),
        "bsc": dense.to_sparse_bsc((2, 2)),
        "coo with values of its own": torch.sparse_coo_tensor([[0, 2]], torch.ones(2, 3), (4, 3)),
        "not coalesced": torch.sparse_coo_tensor([[0, 0]], [1.0, 2.0], (4,)),
    }[case]
    data = saved({"odd": value})
    given = with_client(data)["odd"]
    assert described(given) == described(value)
    assert value.layout is not torch.sparse_coo or given.is_coalesced() == value.is_coalesced()


def test_a_quantised_module_s_state_loads_into_a_module() -> None:
    module = torch.ao.nn.quantized.Linear(3, 2)
    given = with_client(saved({"state_dict": module.state_dict()}))["state_dict"]
    other = torch.ao.nn.quantized.Linear(3, 2)
    other.load_state_dict(given)
    value = torch.quantize_per_tensor(torch.randn(4, 3), 0.1, 0, torch.quint8)
    assert torch.equal(other(value).dequantize(), module(value).dequantize())


def test_ties_of_quantised_tensors_survive() -> None:
    whole = torch.quantize_per_tensor(torch.arange(6.0), 0.1, 0, torch.quint8)
    given = with_client(saved({"whole": whole, "part": whole[2:4]}))
    assert given["part"].int_repr().tolist() == whole[2:4].int_repr().tolist()
    data_pointers = given["whole"].data_ptr(), given["part"].data_ptr()
    assert data_pointers[1] - data_pointers[0] == 2


@pytest.mark.parametrize("as_file", [True, False])
def test_scales_keep_their_dtype_where_others_are_converted(as_file: bool) -> None:
    data = saved({"q": odd()["per channel"], "w": torch.ones(3)})
    form = Form("full", "pth", None, "bf16")
    part = selected(digested(data), form, None)
    recast = recast_of(part, form, as_file=as_file)
    assert recast is not None
    derivation = Derivation(part, recast, data)
    made = b"".join(derivation.blocks(part.blob))
    index = derivation.result(part.blob, len(made))
    if as_file:
        given = torch.load(io.BytesIO(rendered(rendition(index, form), made)), weights_only=True)
    else:
        given = with_client(made, index)
    assert given["w"].dtype is torch.bfloat16
    assert described(given["q"]) == described(loaded(data)["q"])


LAYOUT = name("torch.serialization._get_layout") + tuple_of(b"X\x10\0\0\0torch.sparse_coo") + b"R"
SCHEME = name("torch.per_tensor_affine")
MALFORMED = {
    "indices that point outside": lambda: torch.sparse_coo_tensor([[0, 9]], [1.0, 2.0], (4,), check_invariants=False),
    "compressed indices that go down": lambda: torch.sparse_csr_tensor(
        torch.tensor([0, 2, 1]), torch.tensor([0, 1]), torch.ones(2), (2, 2), check_invariants=False
    ),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_parts_that_contradict_each_other_are_refused(case: str) -> None:
    data = saved({"x": MALFORMED[case]()})
    with pytest.raises(MalformedCheckpoint, match="contradict"):
        with_client(data)


@pytest.mark.parametrize(
    "parts",
    [
        {"offsets": [0, 9]},
        {"offsets": [0, -1]},
        {"strides": [[1], [2**62]]},
        {"shapes": [[2], [50]]},
        {"offsets": [0]},
        {"shapes": [[2, 1], [3, 1]]},
    ],
    ids=str,
)
def test_a_nested_tensor_that_reaches_outside_of_its_values_is_refused(parts: dict[str, Any]) -> None:
    whole = {"values": list(map(float, range(5))), "shapes": [[2], [3]], "strides": [[1], [1]], "offsets": [0, 2]}
    tensors = [torch.tensor(value) for value in {**whole, **parts}.values()]
    args = tuple(TensorRef(at) for at in range(4))
    with pytest.raises(MalformedCheckpoint, match="contradict"):
        tree_with_tensors({"x": Inert("torch._utils._rebuild_nested_tensor", args)}, tensors)


def test_a_torch_without_such_tensors_is_told_so(monkeypatch: pytest.MonkeyPatch) -> None:
    data = saved({"x": odd()["per tensor"]})
    monkeypatch.delattr(torch, "_empty_affine_quantized")
    with pytest.raises(UnsupportedFormat, match="_empty_affine_quantized"):
        with_client(data)


@pytest.mark.parametrize(
    "value",
    [Inert("torch.device", ("no such device",)), Inert("torch.nothing", None), Inert("torch.float32", ("called",))],
    ids=str,
)
def test_what_torch_does_not_know_stays_inert(value: Inert) -> None:
    assert tree_with_tensors({"x": value}, []) == {"x": value}


def call(function: str, *arguments: bytes) -> bytes:
    return name(function) + tuple_of(*arguments) + b"R"


NOT_DESCRIBED = {
    "quantised without a scheme": call("torch._utils._rebuild_qtensor", b"N", b"N", b"N", b"N", b"N", b"N", b"N"),
    "sparse of nothing": call("torch._utils._rebuild_sparse_tensor", b"N", b"N"),
    "sparse without a layout": call("torch._utils._rebuild_sparse_tensor", b"N", tuple_of(tensor(), tensor(), b")")),
    "sparse of three numbers": call("torch._utils._rebuild_sparse_tensor", LAYOUT, tuple_of(b"NNN")),
    "sparse of a negative shape": call(
        "torch._utils._rebuild_sparse_tensor", LAYOUT, tuple_of(tensor(), tensor(), tuple_of(b"J\xff\xff\xff\xff"))
    ),
    "nested of three": call("torch._utils._rebuild_nested_tensor", tensor(), tensor(), tensor()),
    "meta without a shape": call("torch._utils._rebuild_meta_tensor_no_storage", b"N", b"N", b"N", b"N"),
    "a view with other bits": tensor(rest=b"}X\x03\0\0\0odd\x88s"),
}


@pytest.mark.parametrize("case", NOT_DESCRIBED)
def test_a_call_with_other_arguments_is_described_by_nobody(case: str) -> None:
    data = checkpoint(mapping(w=tensor(), x=NOT_DESCRIBED[case]) + b".")
    try:
        index = digested(data)
    except MalformedCheckpoint:
        return
    with pytest.raises(UnsupportedFormat, match="'x' is a tensor"):
        refuse_odd_tensors(index, but_described=True)
    assert not is_described(index.tree["x"])
