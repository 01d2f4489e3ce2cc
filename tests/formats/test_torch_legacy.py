"""Files of the layout before torch 1.6: bit for bit what torch.load gives, and every way to lie refused."""

from __future__ import annotations

import io
import pathlib
import pickle
import struct

import pytest
import torch

from formats.checkpoint_files import (
    assert_same,
    index_of,
    integer,
    loaded,
    mapping,
    name,
    rebuilt,
    rendered,
    saved,
    tensor,
    text,
    tuple_of,
)
from zooproxy.errors import LimitExceeded, MalformedCheckpoint
from zooproxy.formats import limits
from zooproxy.formats.reader import with_digests
from zooproxy.formats.safetensors_writer import safetensors_rendition
from zooproxy.formats.variants import select_model

CHECKPOINTS = pathlib.Path(__file__).parent.parent / "data" / "checkpoints"
HEADER = b"".join(
    pickle.dumps(value, 2)
    for value in (0x1950A86A20F9469CFC6C, 1001, {"protocol_version": 1001, "little_endian": True, "type_sizes": {}})
)


def legacy(value: object, **options: object) -> bytes:
    return saved(value, _use_new_zipfile_serialization=False, **options)


def by_hand(root: bytes, keys: object = ("0",), data: bytes = struct.pack("<q", 16) + bytes(range(64))) -> bytes:
    return HEADER + b"\x80\x02" + root + b"." + pickle.dumps(list(keys), 2) + data


def stored(view: bytes = b"N", key: str = "0", count: int = 16) -> bytes:
    return tuple_of(text("storage"), name("torch.FloatStorage"), text(key), text("cpu"), integer(count), view) + b"Q"


@pytest.mark.parametrize("file_name", ["lpips_v0.0_vgg.pth", "lpips_v0.1_alex.pth"])
def test_a_published_file_reads_bit_equal(file_name):
    data = (CHECKPOINTS / file_name).read_bytes()
    index = index_of(data)
    assert (index.container, index.kind) == ("torch-legacy", "state_dict")
    assert_same(rebuilt(index, data), loaded(data))


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_every_kind_of_value_reads_bit_equal(protocol):
    base = torch.arange(60.0)
    module = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    value = {
        "state_dict": module.state_dict(),
        "ties": [base, base, base.reshape(6, 10).t(), base[::7]],
        "half": torch.ones(3).half(),
        "empty": torch.empty(0),
        "meta": {"epoch": 3, "names": ("a", "b")},
    }
    data = legacy(value, pickle_protocol=protocol)
    index = index_of(data)
    assert index.kind == "wrapped"
    assert_same(rebuilt(index, data), loaded(data))


def test_it_becomes_safetensors_by_ranges():
    import safetensors.torch

    data = legacy({"a": torch.arange(5), "b": torch.ones(3, 2)})
    rendition = safetensors_rendition(select_model(index_of(data), recipe=None, prefix=None))
    back = safetensors.torch.load(rendered(rendition, data))
    assert torch.equal(back["a"], torch.arange(5))
    assert torch.equal(back["b"], torch.ones(3, 2))


def test_its_storages_get_a_crc_with_their_digests():
    import zlib

    data = legacy({"a": torch.arange(5)})
    (storage,) = with_digests(index_of(data), io.BytesIO(data)).storages
    assert storage.crc32 == zlib.crc32(data[storage.offset : storage.offset + storage.size])


def test_it_is_read_from_a_file_as_from_memory(tmp_path):
    from zooproxy.digest import Sha256
    from zooproxy.formats.reader import read_tensor_index

    data = legacy({"a": torch.arange(5), "long": "x" * 100_000})
    path = tmp_path / "a.pth"
    path.write_bytes(data)
    with path.open("rb") as file:
        assert read_tensor_index(file, len(data), Sha256.of(data)) == index_of(data)


@pytest.mark.filterwarnings("ignore::torch.serialization.SourceChangeWarning")
def test_a_whole_module_with_its_source_reads():
    data = legacy(torch.nn.Linear(2, 3))
    index = index_of(data)
    assert {row.shape for row in index.tensors} == {(3, 2), (3,)}


def test_parts_of_a_storage_are_views_of_it():
    part = stored(tuple_of(text("part"), integer(4), integer(8)))
    again = stored(tuple_of(text("part"), integer(4), integer(8)))
    root = mapping(a=tensor((2,), (1,), 3, part), b=tensor((2,), (1,), 0, stored()), c=tensor((1,), (1,), 0, again))
    data = by_hand(root)
    index = index_of(data)
    assert [(row.storage, row.offset) for row in index.tensors] == [(0, 7), (0, 0), (0, 4)]
    assert_same(rebuilt(index, data), loaded(data))


def test_bytes_that_no_tensor_uses_are_stepped_over():
    data = legacy({"a": torch.arange(5), "s": torch.ones(7).storage(), "b": torch.ones(2)})
    index = index_of(data)
    assert torch.equal(rebuilt(index, data)["b"], torch.ones(2))


WEIGHT = mapping(w=tensor(stored=stored()))
LIES = {
    "no list of keys": by_hand(WEIGHT, keys=(1,)),
    "a key twice": by_hand(WEIGHT, keys=("0", "0")),
    "a key that nothing names": by_hand(WEIGHT, keys=("0", "1")),
    "no bytes for a storage": by_hand(WEIGHT, keys=()),
    "another length": by_hand(WEIGHT, data=struct.pack("<q", 15) + bytes(60)),
    "a negative length": by_hand(WEIGHT, data=struct.pack("<q", -1)),
    "cut short": by_hand(WEIGHT, data=struct.pack("<q", 16) + bytes(63)),
    "cut before the length": by_hand(WEIGHT, data=b"\x10"),
    "a part past the end": by_hand(mapping(w=tensor(stored=stored(tuple_of(text("p"), integer(9), integer(8)))))),
    "a part of three texts": by_hand(mapping(w=tensor(stored=stored(tuple_of(text("p"), text("p"), text("p")))))),
    "a part that is a text": by_hand(mapping(w=tensor(stored=stored(text("p"))))),
    "a tensor past its part": by_hand(
        mapping(w=tensor((9,), (1,), 0, stored(tuple_of(text("p"), integer(4), integer(8)))))
    ),
    "an id of nothing": by_hand(mapping(w=tuple_of(text("storage")) + b"Q")),
    "an id with a number for a key": by_hand(
        mapping(
            w=tuple_of(text("storage"), name("torch.FloatStorage"), integer(1), text("cpu"), integer(1), b"N") + b"Q"
        )
    ),
    "an id among the keys": HEADER + b"\x80\x02" + WEIGHT + b".NQ.",
}


@pytest.mark.parametrize("lie", LIES)
def test_a_file_that_lies_is_refused(lie):
    with pytest.raises(MalformedCheckpoint):
        index_of(LIES[lie])


def test_pickles_beyond_the_limit_are_refused(monkeypatch):
    monkeypatch.setattr(limits, "PICKLE", 100)
    with pytest.raises(LimitExceeded, match="pickles take"):
        index_of(by_hand(WEIGHT))


def test_a_file_beyond_the_window_is_refused(monkeypatch):
    monkeypatch.setattr(limits, "WINDOW", 100)
    with pytest.raises(LimitExceeded, match="at most 100"):
        index_of(by_hand(WEIGHT))
