"""The model variant: side by side with what mmengine's own loaders make of the same file."""

from __future__ import annotations

import datetime
import io
import warnings
from collections import OrderedDict

import pytest
import torch

from formats.checkpoint_files import assert_same, index_of, loaded, rebuilt, saved
from zooproxy.errors import NothingSelected, UnsupportedFormat
from zooproxy.formats.reader import with_digests
from zooproxy.formats.variants import refuse_odd_tensors, select_full, select_model
from zooproxy.wire.plain import Inert, TensorRef
from zooproxy.wire.tensors import tensor_index_to_json

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what mmengine's own imports warn of
    from mmengine.runner.checkpoint import _load_checkpoint_with_prefix, _process_mmcls_checkpoint


class Classifier(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.backbone = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
        self.head = torch.nn.Linear(4, 2)


def state_dict() -> OrderedDict[str, torch.Tensor]:
    torch.manual_seed(0)
    return Classifier().state_dict()


def wrapped() -> dict[str, object]:
    return {
        "meta": {"epoch": 3, "CLASSES": ("cat", "dog")},
        "state_dict": state_dict(),
        "optimizer": {"state": {0: {"exp_avg": torch.ones(5)}}},
        "message_hub": {"x": 1},
    }


def selected(value: object, *, recipe: str | None = None, prefix: str | None = None):
    """The selected index, what it rebuilds to, and what torch loads of the whole file."""
    data = saved(value)
    index = select_model(index_of(data), recipe=recipe, prefix=prefix)
    return index, rebuilt(index, data), loaded(data)


def test_a_wrapped_checkpoint_keeps_state_dict_and_meta_alone():
    index, ours, theirs = selected(wrapped())
    assert list(ours) == ["state_dict", "meta"]
    assert_same(ours, {key: theirs[key] for key in ours})
    assert index.kind == "wrapped"
    assert [row.name for row in index.tensors] == list(theirs["state_dict"])
    assert len(index.storages) == len(index.tensors)


def test_a_wrapped_checkpoint_without_meta_has_none():
    _, ours, _ = selected({"state_dict": state_dict(), "epoch": 3})
    assert list(ours) == ["state_dict"]


@pytest.mark.parametrize(
    "value", [{"w": torch.ones(2), "step": 3}, {"model": {"w": torch.ones(2)}, "epoch": 3}, {"epoch": 3}, {}]
)
def test_a_mapping_without_a_state_dict_stays_as_it_is(value):
    index, ours, theirs = selected(value)
    assert_same(ours, theirs)
    assert index == index_of(saved(value))


def test_selecting_a_variant_of_a_digested_index_keeps_the_digests():
    data = saved(wrapped())
    index = select_model(with_digests(index_of(data), io.BytesIO(data)), recipe=None, prefix="head")
    assert all(storage.sha256 for storage in index.storages)


def test_ties_survive_the_selection():
    weight = torch.ones(5)
    index, ours, _ = selected({"state_dict": {"a.x": weight, "b": torch.ones(2), "a.y": weight[1:]}}, prefix="a")
    assert ours["x"].untyped_storage().data_ptr() == ours["y"].untyped_storage().data_ptr()
    assert len(index.storages) == 1


# -- recipe and prefix, as mmengine has them --------------------------------------------------------------


@pytest.mark.parametrize("value", [wrapped(), state_dict()], ids=["wrapped", "bare"])
def test_mmcls_recipe_does_what_mmengine_does(value):
    index, ours, theirs = selected(value, recipe="mmcls")
    assert_same(ours, _process_mmcls_checkpoint(theirs))
    assert not hasattr(ours["state_dict"], "_metadata")
    assert index.kind == "wrapped"
    assert index.tensors[0].name == "0.weight"


def test_an_odd_tensor_inside_an_object_of_the_state_dict_is_refused():
    with pytest.raises(UnsupportedFormat, match=r"state_dict\.h\."):
        refuse_odd_tensors(selected({"state_dict": {"w": torch.ones(1), "h": Holder(odd()["sparse"])}})[0])


class Holder:
    """Pickles as a call with a tensor in its arguments."""

    def __init__(self, held):
        self.held = held

    def __reduce__(self):
        return print, ((self.held,), [self.held])


@pytest.mark.parametrize("prefix", ["backbone", "backbone."])
@pytest.mark.parametrize("value", [wrapped(), state_dict()], ids=["wrapped", "bare"])
def test_prefix_does_what_mmengine_does(value, prefix, tmp_path):
    index, ours, _ = selected(value, prefix=prefix)
    path = tmp_path / "checkpoint.pth"
    torch.save(value, path)
    theirs = _load_checkpoint_with_prefix(prefix, str(path))
    assert_same(dict(ours), dict(theirs))
    assert index.kind == "state_dict"


def test_prefix_takes_its_part_of_the_metadata():
    _, ours, theirs = selected(wrapped(), prefix="backbone")
    assert ours._metadata == Classifier().backbone.state_dict()._metadata
    assert "backbone.1" in theirs["state_dict"]._metadata
    Classifier().backbone.load_state_dict(ours)


def test_prefix_applies_after_the_recipe():
    index, ours, theirs = selected(wrapped(), recipe="mmcls", prefix="1")
    assert_same(dict(ours), {key: theirs["state_dict"][f"backbone.1.{key}"] for key in ours})
    assert [row.name for row in index.tensors] == list(ours)
    assert len(ours) == 5


def test_prefix_skips_keys_that_are_no_text():
    _, ours, _ = selected({"a.w": torch.ones(1), 3: torch.ones(1)}, prefix="a")
    assert list(ours) == ["w"]


@pytest.mark.parametrize(("recipe", "prefix"), [(None, "neck"), ("mmcls", None), (None, "backbon")])
def test_nothing_selected_names_the_prefixes_that_exist(recipe, prefix):
    value = {"state_dict": {f"{part}.w": torch.ones(1) for part in ["stem", "stem2", "head"]}}
    with pytest.raises(NothingSelected) as caught:
        selected(value, recipe=recipe, prefix=prefix)
    assert caught.value.prefixes == ("stem", "stem2", "head")
    assert "'stem'" in str(caught.value)


def test_nothing_selected_names_ten_prefixes_at_most():
    with pytest.raises(NothingSelected) as caught:
        selected({f"part{at}.w": torch.ones(1) for at in range(30)}, prefix="x")
    assert len(caught.value.prefixes) == 10


def test_a_prefix_with_numbers_alone_selects_nothing():
    with pytest.raises(NothingSelected):
        selected({"w": torch.ones(1), "a.step": 3}, prefix="a")


# -- refusals ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "value", [[torch.ones(1)], torch.ones(1), 3, torch.device("cpu"), {"state_dict": 3}, {torch.float16: 1}]
)
def test_what_is_no_mapping_is_refused(value):
    with pytest.raises(UnsupportedFormat, match="variant=raw"):
        selected(value)


def test_an_unknown_recipe_is_refused():
    with pytest.raises(UnsupportedFormat, match="no recipe 'other'"):
        selected(wrapped(), recipe="other")


def odd() -> dict[str, torch.Tensor]:
    return {
        "sparse": torch.ones(2, 2).to_sparse(),
        "conj": torch.ones(2, dtype=torch.complex64).conj(),
        "meta": torch.empty(2, device="meta"),
    }


@pytest.mark.parametrize("case", odd())
def test_an_odd_tensor_in_the_state_dict_is_refused_by_name(case):
    with pytest.raises(UnsupportedFormat, match=r"layer\.odd'.*variant=raw"):
        refuse_odd_tensors(selected({"state_dict": {"w": torch.ones(1), "layer.odd": odd()[case]}})[0])


@pytest.mark.parametrize("case", odd())
def test_an_odd_tensor_that_is_not_selected_costs_nothing(case):
    value = {"state_dict": {"a.w": torch.ones(1), "b.odd": odd()[case]}, "optimizer": [odd()[case]]}
    index, ours, _ = selected(value, prefix="a")
    refuse_odd_tensors(index)
    assert list(ours) == ["w"]


def test_an_odd_tensor_nested_in_the_state_dict_is_refused():
    with pytest.raises(UnsupportedFormat, match=r"'w\.deep\.0'"):
        refuse_odd_tensors(selected({"w": {"deep": [odd()["sparse"]]}})[0])


def test_full_is_everything():
    data = saved(wrapped())
    index = select_full(index_of(data), prefix=None)
    assert_same(rebuilt(index, data), loaded(data))


def test_full_of_what_is_no_mapping_is_everything_too():
    data = saved([torch.ones(2), {"a": torch.zeros(1)}])
    assert_same(rebuilt(select_full(index_of(data), prefix=None), data), loaded(data))


def test_full_with_a_prefix_is_the_state_dict_under_it():
    data = saved(wrapped())
    assert_same(rebuilt(select_full(index_of(data), prefix="head"), data), selected(wrapped(), prefix="head")[1])


def test_inert_values_in_meta_stay_and_are_listed():
    index, _, _ = selected({"state_dict": {"w": torch.ones(1)}, "meta": {"t": torch.float16}, "x": torch.device("cpu")})
    assert index.tree["meta"]["t"] == Inert("torch.float16", None)
    assert index.dropped == ("torch.float16",)


def test_what_is_known_without_its_library_is_not_listed_as_dropped():
    meta = {"d": datetime.date(2020, 1, 2), "t": torch.float16}
    index, _, _ = selected({"state_dict": {"w": torch.ones(1)}, "meta": meta})
    assert index.tree["meta"]["d"].type_name == "datetime.date"
    assert index.dropped == ("torch.float16",)


def test_tensors_inside_inert_values_are_kept():
    buffers = {"state_dict": {"w": torch.ones(1)}, "meta": {"h": torch.nn.Linear(2, 1)}}
    index, _, _ = selected(buffers)
    assert [row.name for row in index.tensors][1:] == ["meta.h._parameters.weight", "meta.h._parameters.bias"]
    module = index.tree["meta"]["h"]
    assert module.state["_parameters"]["weight"] == TensorRef(1)


def test_a_selected_index_can_be_written():
    index, _, _ = selected(wrapped(), prefix="backbone")
    assert tensor_index_to_json(index)["tree"]["$odict"][0] == ["0.weight", {"$tensor": 0}]
