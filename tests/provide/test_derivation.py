"""Tensors laid out anew: bit for bit what torch makes of them."""

from __future__ import annotations

import io

import pytest
import safetensors.torch
import torch

from formats.checkpoint_files import assert_same, digested, loaded, rebuilt, rendered, repacked, saved
from zooproxy.digest import Sha256
from zooproxy.errors import LimitExceeded, UnsupportedFormat
from zooproxy.formats.forms import Form, recast_of, rendition, selected
from zooproxy.provide.derivation import Derivation
from zooproxy.wire.tensors import TensorIndex

NAME = Sha256("a" * 64)
TORCH = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


def derived(data: bytes, form: Form, *, as_file: bool = True) -> tuple[TensorIndex, bytes]:
    """The index and the bytes that a request for ``form`` is answered from."""
    part = selected(digested(data), form, None)
    recast = recast_of(part, form, as_file=as_file)
    assert recast is not None
    derivation = Derivation(part, recast, data)
    made = b"".join(derivation.blocks(NAME))
    return derivation.result(Sha256.of(made), len(made)), made


def served(data: bytes, form: Form) -> dict[str, torch.Tensor]:
    index, made = derived(data, form)
    out = rendered(rendition(index, form), made)
    if form.format == "safetensors":
        return safetensors.torch.load(out)
    return torch.load(io.BytesIO(out), weights_only=True)


def special(dtype: torch.dtype) -> torch.Tensor:
    """Every kind of number, ties of rounding among them."""
    bits = torch.arange(0, 2**32, 65_521, dtype=torch.int64)
    singles = (bits - 2**31).to(torch.int32).view(torch.float32)
    halves = torch.tensor([1 + 2**-8, 1 + 3 * 2**-8, 65_519.99, 65_520.0, 2**-25, 2**-24 * 1.5, 3.4e38, 0.0, -0.0])
    return torch.cat([singles, halves]).to(dtype)


@pytest.mark.parametrize("form", ["safetensors", "pth"])
@pytest.mark.parametrize("target", TORCH)
@pytest.mark.parametrize("source", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_rounding_is_torch_s(source, target, form):
    value = special(source)
    expected = value.to(TORCH[target])
    if source is TORCH[target]:
        assert recast_of(digested(saved({"w": value})), Form(format=form, dtype=target)) is None
        return
    ours = served(saved({"w": value}), Form(format=form, dtype=target))["w"]
    numbers = ~torch.isnan(expected)
    assert ours.dtype is TORCH[target]
    assert torch.equal(torch.isnan(ours), ~numbers)
    assert torch.equal(ours[numbers].view(torch.uint8), expected[numbers].view(torch.uint8))


def test_double_precision_rounds_through_single_as_torch_does():
    value = torch.tensor([1 + 2**-9 + 2**-40, 1 + 2**-11 + 2**-40], dtype=torch.float64)
    for target, dtype in TORCH.items():
        assert torch.equal(served(saved({"w": value}), Form(dtype=target))["w"], value.to(dtype))


def test_statistics_and_integers_keep_their_dtype():
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    ours = served(saved(module.state_dict()), Form(dtype="bf16"))
    assert {key: str(value.dtype) for key, value in ours.items()} == {
        "0.weight": "torch.bfloat16",
        "0.bias": "torch.bfloat16",
        "1.weight": "torch.bfloat16",
        "1.bias": "torch.bfloat16",
        "1.running_mean": "torch.float32",
        "1.running_var": "torch.float32",
        "1.num_batches_tracked": "torch.int64",
    }


def test_statistics_are_converted_where_that_is_asked_for():
    module = torch.nn.BatchNorm2d(4)
    ours = served(saved(module.state_dict()), Form(dtype="bf16", buffers=True))
    assert {str(ours[name].dtype) for name in ("weight", "running_mean", "running_var")} == {"torch.bfloat16"}
    assert ours["num_batches_tracked"].dtype is torch.int64


def test_ties_strides_and_order_survive_a_change_of_dtype():
    base = torch.randn(60)
    value = {"a": base, "b": base.reshape(6, 10).t(), "c": base[7:20:3], "d": torch.randn(2, 2), "a again": base}
    data = saved(value)
    ours = served(data, Form(format="pth", dtype="fp16"))
    assert_same(ours, {key: tensor.half() if key == "d" else tensor for key, tensor in _half_views(value).items()})
    assert len({ours[key].untyped_storage().data_ptr() for key in ("a", "b", "c", "a again")}) == 1


def _half_views(value):
    half = value["a"].half()
    return {
        "a": half,
        "b": half.reshape(6, 10).t(),
        "c": half[7:20:3],
        "d": value["d"],
        "a again": half,
    }


def test_a_storage_of_weights_and_statistics_is_taken_apart():
    base = torch.randn(8)
    ours = served(saved({"w": base[:4], "running_var": base[4:]}), Form(format="pth", dtype="bf16"))
    assert torch.equal(ours["w"], base[:4].bfloat16())
    assert torch.equal(ours["running_var"], base[4:])


def test_what_is_not_contiguous_becomes_so_in_safetensors():
    base = torch.arange(60)
    value = {
        "t": base.reshape(6, 10).t(),
        "p": base.reshape(3, 4, 5).permute(2, 0, 1),
        "s": base[::7],
        "e": torch.tensor([1.0]).expand(4, 5),
        "c": torch.randn(3, 4, dtype=torch.complex64).t(),
        "b": torch.tensor([[True, False], [False, False]]).t(),
        "plain": torch.ones(3, dtype=torch.bfloat16),
        "empty": torch.empty(0, 3),
        "scalar": torch.tensor(2.0),
    }
    ours = served(saved(value), Form())
    assert set(ours) == set(value)
    assert all(torch.equal(ours[key], value[key]) and ours[key].is_contiguous() for key in value)


def test_a_big_endian_file_is_swapped():
    value = {"a": torch.arange(4), "h": torch.ones(3).half(), "c": torch.ones(2, dtype=torch.complex64) * 1j}
    data = repacked(saved(value), byteorder=b"big")
    expected = loaded(data)
    ours = served(data, Form())
    assert_same({key: ours[key] for key in expected}, expected)
    index, made = derived(data, Form(), as_file=False)
    assert index.byteorder == "little"
    assert_same(rebuilt(index, made), expected)


def test_a_big_tensor_goes_in_blocks(monkeypatch):
    from zooproxy.provide import derivation

    monkeypatch.setattr(derivation, "_BLOCK", 1000)
    value = torch.randn(100, 30)
    data = saved({"w": value})
    form = Form(dtype="fp16")
    part = selected(digested(data), form, None)
    made = Derivation(part, recast_of(part, form), data)
    blocks = list(made.blocks(NAME))
    assert len(blocks) > 5
    assert torch.equal(served(data, form)["w"], value.half())


def test_ranges_are_enough_for_everything_else():
    part = digested(saved({"a": torch.ones(3), "t": torch.ones(2, 3).t()}))
    assert recast_of(part, Form(format="pth")) is None
    assert recast_of(part, Form(), as_file=False) is None
    assert recast_of(digested(saved({"i": torch.arange(3)})), Form(dtype="bf16")) is None


def test_what_no_layout_helps_is_refused_by_the_format():
    part = digested(saved({"a": torch.ones(3, dtype=torch.complex128), "t": torch.ones(2, 3).t()}))
    assert recast_of(part, Form()) is None
    with pytest.raises(UnsupportedFormat, match="complex128"):
        rendition(part, Form())


def test_views_that_multiply_the_file_are_refused():
    data = saved({str(number): torch.ones(1).expand(2**20, 2**4) for number in range(40)})
    with pytest.raises(LimitExceeded, match="written out"):
        derived(data, Form())
