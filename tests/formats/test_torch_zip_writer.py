"""format=pth: what plain ``torch.load(weights_only=True)`` makes of it, beside torch.load of the source."""

from __future__ import annotations

import dataclasses
import io
import warnings
import zipfile
from collections import OrderedDict

import pytest
import torch

from formats.checkpoint_files import (
    assert_same,
    checkpoint,
    digested,
    index_of,
    layouts,
    loaded,
    mapping,
    name,
    patterned,
    rebuilt,
    rendered,
    repacked,
    saved,
    storage,
    tensor,
    tuple_of,
)
from formats.unusual_tensors import ODD, described, odd
from zooproxy.digest import Sha256
from zooproxy.errors import UnsupportedFormat
from zooproxy.formats.segments import BlobRange, Literal
from zooproxy.formats.torch_zip_writer import pth_rendition
from zooproxy.formats.zip_directory import read_zip_directory
from zooproxy.wire.plain import TensorRef
from zooproxy.wire.tensors import DTYPE_SIZES, Storage, Tensor, TensorIndex


def rewritten(data: bytes) -> bytes:
    return rendered(pth_rendition(digested(data)), data)


def safely(data: bytes) -> object:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # quantised and sparse tensors are deprecated, or in beta
        return torch.load(io.BytesIO(data), weights_only=True)


@pytest.mark.parametrize("layout", layouts())
def test_every_layout_loads_safely_and_bit_equal(layout):
    data = saved(layouts()[layout])
    ours = safely(rewritten(data))
    assert_same(ours, loaded(data))
    assert type(ours) is type(loaded(data))


@pytest.mark.parametrize("protocol", [1, 4, 5])
@pytest.mark.parametrize("layout", ["wrapped", "atoms", "ties"])
def test_protocols_that_torch_refuses_to_load_safely_load_safely(layout, protocol):
    data = saved(layouts()[layout], pickle_protocol=protocol)
    assert_same(safely(rewritten(data)), loaded(data))


@pytest.mark.filterwarnings("ignore:ComplexHalf support is experimental")
@pytest.mark.parametrize("dtype", sorted(DTYPE_SIZES))
def test_every_dtype_loads_bit_equal(dtype):
    data = saved({"weight": patterned(dtype).reshape(2, 3, 4), "bias": patterned(dtype)[5:7]})
    assert_same(safely(rewritten(data)), loaded(data))


def test_ties_stay_ties():
    base = torch.arange(10.0)
    ours = safely(rewritten(saved({"a": base, "b": base, "c": base[2:], "d": base.clone()})))
    pointers = {key: value.untyped_storage().data_ptr() for key, value in ours.items()}
    assert pointers["a"] == pointers["b"] == pointers["c"] != pointers["d"]


@pytest.mark.parametrize("options", [{}, {"_use_new_zipfile_serialization": False}])
def test_optimizer_state_and_metadata_load_bit_equal(options):
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.randn(4, 3)).sum().backward()
    optimizer.step()
    data = saved({"state_dict": model.state_dict(), "optimizer": optimizer.state_dict(), "epoch": 3}, **options)
    assert_same(safely(rewritten(data)), loaded(data))


def test_sets_bytes_and_large_numbers_load_as_themselves():
    value = {"s": {3, 1}, "f": frozenset({"a"}), "b": b"\x00\xff" * 50, "c": 1 - 2j, "n": -(2**2030), "t": "x" * 70}
    ours = safely(rewritten(saved(value)))
    assert ours == {**value, "f": {"a"}}


def test_a_number_beyond_the_safe_reader_s_becomes_its_digits():
    assert safely(rewritten(saved({"n": 2**3000}))) == {"n": str(2**3000)}


def test_shared_memo_numbers_beyond_a_byte_are_recalled():
    value = {f"key{number}": [f"text{number % 300}"] for number in range(600)}
    assert safely(rewritten(saved(value))) == value


def test_objects_become_mappings_that_name_their_type():
    averaged = torch.optim.swa_utils.AveragedModel(torch.nn.Linear(1, 1))
    ours = safely(rewritten(saved({"w": torch.ones(1), "ema": averaged})))
    assert ours["ema"]["__type__"] == "torch.optim.swa_utils.AveragedModel"
    assert torch.equal(ours["ema"]["state"]["_buffers"]["n_averaged"], torch.tensor(0))


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
@pytest.mark.parametrize("case", ODD)
def test_odd_tensors_load_as_torch_wrote_them(case):
    data = saved({"w": torch.ones(1), "odd": odd()[case]})
    assert described(safely(rewritten(data))["odd"]) == described(loaded(data)["odd"])


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
def test_a_legacy_file_of_quantised_tensors_loads():
    data = saved({"q": odd()["per channel"]}, _use_new_zipfile_serialization=False)
    assert described(safely(rewritten(data))["q"]) == described(loaded(data)["q"])


def test_a_subclass_of_tensor_is_refused_by_name():
    function, _, inner = tensor().partition(b"(")
    arguments = tuple_of(function, name("a.Image"), b"(" + inner[:-1], b"}")
    data = checkpoint(mapping(w=name("torch._tensor._rebuild_from_type_v2") + arguments + b"R") + b".")
    with pytest.raises(UnsupportedFormat, match=r"'w' is a tensor .*variant=raw"):
        rewritten(data)


def test_one_storage_with_two_dtypes_keeps_both():
    as_bytes = storage(kind="torch.storage.UntypedStorage", count=64)
    third = tuple_of(as_bytes, b"K\x00", tuple_of(b"K\x03"), tuple_of(b"K\x01"), b"\x89N", name("torch.int16"))
    second = name("torch._utils._rebuild_tensor_v3") + third + b"R"
    data = checkpoint(mapping(a=second, b=tensor(stored=as_bytes)) + b".", {"0": bytes(range(64))})
    index = index_of(data)
    tensors = (*index.tensors, dataclasses.replace(index.tensors[0], name="f", dtype="float32", shape=(2,)))
    tree = OrderedDict(a=TensorRef(0), b=TensorRef(1), f=TensorRef(2))
    index = dataclasses.replace(digested(data), tensors=tensors, tree=tree)
    ours = safely(rendered(pth_rendition(index), data))
    assert [str(ours[key].dtype) for key in "abf"] == ["torch.int16", "torch.uint8", "torch.float32"]
    assert_same(ours, rebuilt(index, data))


def test_a_big_endian_file_stays_one_and_torch_swaps():
    data = repacked(saved({"a": torch.arange(4)}), byteorder=b"big")
    assert_same(safely(rewritten(data)), loaded(data))


def test_the_archive_is_sound_and_aligned_as_torch_aligns():
    data = saved({"a": torch.ones(3), "b": torch.arange(100), "empty": torch.empty(0)})
    out = rewritten(data)
    assert zipfile.ZipFile(io.BytesIO(out)).testzip() is None
    directory = read_zip_directory(io.BytesIO(out), len(out))
    offsets = [directory.data_offset(io.BytesIO(out), record) for record in directory.records.values()]
    assert all(offset % 64 == 0 for offset in offsets)
    assert_same(rebuilt(index_of(out), out), loaded(data))


def test_torch_maps_it(tmp_path):
    data = saved({"a": torch.ones(3), "b": torch.arange(100)})
    path = tmp_path / "a.pth"
    path.write_bytes(rewritten(data))
    assert_same(torch.load(path, mmap=True, weights_only=True), loaded(data))


def test_no_byte_of_a_tensor_is_copied():
    data = saved({"a": torch.arange(100_000), "b": torch.ones(50_000)})
    segments = pth_rendition(digested(data)).segments
    assert sum(len(part) for part in segments if isinstance(part, Literal)) < 3000
    assert [part.length for part in segments if isinstance(part, BlobRange)] == [800_000, 200_000]


def test_a_storage_without_a_crc_is_the_caller_s_mistake():
    data = saved({"a": torch.arange(4)}, _use_new_zipfile_serialization=False)
    with pytest.raises(ValueError, match="CRC-32"):
        pth_rendition(index_of(data))


def test_a_file_beyond_4_gigabytes_has_a_directory_that_reads_back():
    """Its bytes are never written: the directory alone is, and read from a file with a hole."""
    sizes = [5 * 2**30, 64, 2**32 - 1]
    storages = tuple(Storage(number * 2**33, size, crc32=7) for number, size in enumerate(sizes))
    tensors = tuple(Tensor(str(at), "uint8", at, 0, (size,), (1,)) for at, size in enumerate(sizes))
    tree = {str(at): TensorRef(at) for at in range(3)}
    index = TensorIndex(Sha256("0" * 64), 2**36, "torch-zip", "state_dict", "little", storages, tensors, tree, ())
    rendition = pth_rendition(index)
    directory = read_zip_directory(Holed(rendition), rendition.length)
    records = [record for record in directory.records.values() if "/data/" in record.name]
    assert [record.size for record in records] == sizes
    offsets = [directory.data_offset(Holed(rendition), record) for record in records]
    ranges = [at for at, part in starts(rendition) if isinstance(part, BlobRange)]
    assert offsets == ranges


def starts(rendition):
    at = 0
    for part in rendition.segments:
        yield at, part
        at += len(part)


class Holed:
    """A rendition as a file in which ranges of the blob read as zeros."""

    def __init__(self, rendition):
        self.parts = list(starts(rendition))
        self.at = 0

    def seek(self, at):
        self.at = at

    def read(self, length):
        found = bytearray(length)
        for start, part in self.parts:
            if isinstance(part, Literal):
                first, last = max(start, self.at), min(start + len(part), self.at + length)
                if first < last:
                    found[first - self.at : last - self.at] = part.data[first - start : last - start]
        return bytes(found)
