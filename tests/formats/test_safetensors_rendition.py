"""A rendition is a file that the safetensors package itself loads, bit for bit, order and all."""

from __future__ import annotations

import dataclasses
import json

import pytest
import safetensors
import safetensors.torch
import torch

from formats.checkpoint_files import assert_same, bits, index_of, loaded, rendered, repacked, saved
from zooproxy.errors import LimitExceeded, UnsupportedFormat
from zooproxy.formats.safetensors_header import DTYPES
from zooproxy.formats.safetensors_writer import safetensors_rendition
from zooproxy.formats.segments import BlobRange, Literal
from zooproxy.formats.variants import select_model
from zooproxy.wire import plain


def rendition_of(value: object):
    data = saved(value)
    index = select_model(index_of(data), recipe=None, prefix=None)
    rendition = safetensors_rendition(index)
    return rendition, rendered(rendition, data), index


def header_of(file: bytes) -> dict[str, object]:
    return json.loads(file[8 : 8 + int.from_bytes(file[:8], "little")])


def mixed() -> dict[str, object]:
    base = torch.arange(40.0)
    return {
        "half": torch.arange(5, dtype=torch.float16),
        "bool": torch.tensor([True, False, True]),
        "weight": base.reshape(8, 5),
        "tied": base,
        "view": base[3:10],
        "scalar": torch.tensor(3),
        "empty": torch.empty(0, 3),
        "double": torch.arange(3, dtype=torch.float64),
        "complex": torch.full((3,), 1 + 2j, dtype=torch.complex64),
    }


@pytest.mark.parametrize("dtype", sorted(set(DTYPES) - {"float8_e8m0fnu"}))
def test_every_dtype_loads_bit_equal(dtype):
    value = torch.arange(24, dtype=torch.uint8).remainder(2).repeat(8).view(getattr(torch, dtype)).reshape(2, -1)
    _, file, _ = rendition_of({"w": value, "part": value[1:]})
    ours = safetensors.torch.load(file)
    assert ours["w"].dtype == value.dtype
    assert bits(ours["w"]) == bits(value)
    assert bits(ours["part"]) == bits(value[1:])


def test_mixed_tensors_ties_views_and_empty_ones_load_bit_equal():
    _, file, _ = rendition_of(mixed())
    ours = safetensors.torch.load(file)
    assert_same({name: ours[name] for name in mixed()}, mixed())


def test_every_tensor_lies_on_a_multiple_of_its_element_s_size():
    _, file, index = rendition_of(mixed())
    start = 8 + int.from_bytes(file[:8], "little")
    entries = header_of(file)
    for row in index.tensors:
        begin, end = entries[row.name]["data_offsets"]
        assert end - begin == row.nbytes
        assert (start + begin) % getattr(torch, row.dtype).itemsize == 0


def test_metadata_tells_order_and_tree():
    value = {"state_dict": torch.nn.BatchNorm1d(3).state_dict(), "meta": {"epoch": 3, "CLASSES": ("a", "b")}}
    _, file, _ = rendition_of(value)
    metadata = header_of(file)["__metadata__"]
    assert metadata["format"] == "pt"
    order = json.loads(metadata["zooproxy.order"])
    assert order == list(value["state_dict"])
    tensors = safetensors.torch.load(file)
    tree = plain.from_json(json.loads(metadata["zooproxy.tree"]), lambda position: tensors[order[position]])
    assert_same(tree, value)


def test_metadata_is_readable_through_the_package(tmp_path):
    _, file, _ = rendition_of(mixed())
    (tmp_path / "x.safetensors").write_bytes(file)
    with safetensors.safe_open(tmp_path / "x.safetensors", "pt") as opened:
        assert json.loads(opened.metadata()["zooproxy.order"]) == list(mixed())


def test_length_is_that_of_the_segments():
    rendition, file, _ = rendition_of(mixed())
    assert rendition.length == len(file) == sum(map(len, rendition.segments))
    assert (rendition.suffix, rendition.media_type) == (".safetensors", "application/octet-stream")


def test_same_blob_gives_same_bytes():
    assert rendition_of(mixed())[1] == rendition_of(mixed())[1]


def test_neighbours_in_the_blob_are_one_segment():
    base = torch.arange(12.0)
    rendition, _, _ = rendition_of({"a": base[:4], "b": base[4:9], "c": base[9:]})
    head, data = rendition.segments
    assert isinstance(head, Literal)
    assert isinstance(data, BlobRange)
    assert data.length == 48


def test_a_checkpoint_without_tensors_is_a_file_too():
    _, file, _ = rendition_of({"epoch": 3})
    assert safetensors.torch.load(file) == {}


def test_names_of_any_script_survive():
    value = {"слой.вес": torch.ones(2), 'quote"\\\n': torch.zeros(2)}
    _, file, _ = rendition_of(value)
    assert set(safetensors.torch.load(file)) == set(value)


@pytest.mark.parametrize(
    ("tensor", "reason"),
    [
        (torch.arange(6.0).reshape(2, 3).t(), "not contiguous"),
        (torch.ones(1).expand(4), "not contiguous"),
        (torch.ones(2, dtype=torch.complex128), "complex128"),
    ],
)
def test_what_no_range_expresses_is_refused_by_name_with_the_way_out(tensor, reason):
    with pytest.raises(UnsupportedFormat, match=rf"'layer\.odd'.*{reason}.*variant=raw.*/v1/tensors"):
        rendition_of({"w": torch.ones(2), "layer.odd": tensor})


def test_a_dimension_of_one_does_not_make_a_tensor_strided():
    value = torch.arange(3.0).as_strided((1, 3), (99, 1))
    _, file, _ = rendition_of({"w": value})
    assert bits(safetensors.torch.load(file)["w"]) == bits(value)


def test_a_big_endian_file_is_refused_unless_its_elements_are_bytes():
    wide = index_of(repacked(saved({"w": torch.arange(3)}), byteorder=b"big"))
    with pytest.raises(UnsupportedFormat, match="big-endian"):
        safetensors_rendition(wide)
    narrow = index_of(repacked(saved({"w": torch.arange(3, dtype=torch.uint8)}), byteorder=b"big"))
    assert safetensors_rendition(narrow).length


def test_the_reserved_name_is_refused():
    with pytest.raises(UnsupportedFormat, match="metadata"):
        rendition_of({"__metadata__": torch.ones(1)})


def test_ties_that_multiply_the_file_are_refused():
    base = torch.zeros(2**20)
    with pytest.raises(LimitExceeded, match="tied"):
        rendition_of({f"w{at}": base for at in range(60)})


def test_a_header_beyond_the_format_s_own_limit_is_refused():
    index = index_of(saved({"w": torch.ones(1)}))
    with pytest.raises(LimitExceeded, match="header"):
        safetensors_rendition(dataclasses.replace(index, tree={"cfg": "x" * 100_000_001}))


def test_the_file_s_own_tensors_agree_with_torch():
    data = saved(mixed())
    theirs = loaded(data)
    ours = safetensors.torch.load(rendered(safetensors_rendition(index_of(data)), data))
    assert all(bits(ours[name]) == bits(theirs[name]) for name in theirs)
