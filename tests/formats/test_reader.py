"""What torch wrote, read without torch: bit for bit what torch.load gives."""

from __future__ import annotations

import hashlib
import io
import pathlib
import zipfile
from collections import OrderedDict, defaultdict

import pytest
import torch

from formats.checkpoint_files import (
    assert_same,
    checkpoint,
    index_of,
    layouts,
    loaded,
    mapping,
    name,
    packed,
    patterned,
    rebuilt,
    repacked,
    saved,
    tensor,
    tuple_of,
)
from zooproxy.digest import Sha256
from zooproxy.errors import MalformedCheckpoint
from zooproxy.formats.reader import read_tensor_index, with_digests
from zooproxy.wire.plain import Inert
from zooproxy.wire.tensors import DTYPE_SIZES

CHECKPOINTS = pathlib.Path(__file__).parent.parent / "data" / "checkpoints"


@pytest.mark.filterwarnings("ignore:ComplexHalf support is experimental")
@pytest.mark.parametrize("dtype", sorted(DTYPE_SIZES))
def test_every_dtype_reads_bit_equal_to_torch(dtype):
    data = saved({"weight": patterned(dtype).reshape(2, 3, 4), "bias": patterned(dtype)[5:7]})
    index = index_of(data)
    assert [row.dtype for row in index.tensors] == [dtype, dtype]
    assert_same(rebuilt(index, data), loaded(data))


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("layout", layouts())
def test_every_layout_reads_bit_equal_to_torch(layout, protocol):
    data = saved(layouts()[layout], pickle_protocol=protocol)
    index = index_of(data)
    assert_same(rebuilt(index, data), loaded(data))
    assert index.dropped == ()


def test_optimizer_state_reads_bit_equal_and_is_named_by_its_path():
    model = torch.nn.Linear(3, 2)
    optimizer = torch.optim.Adam(model.parameters())
    model(torch.ones(1, 3)).sum().backward()
    optimizer.step()
    data = saved({"state_dict": model.state_dict(), "optimizer": optimizer.state_dict()})
    index = index_of(data)
    assert [row.name for row in index.tensors[:3]] == ["weight", "bias", "optimizer.state.0.step"]
    assert "optimizer.state.1.exp_avg_sq" in [row.name for row in index.tensors]
    assert_same(rebuilt(index, data), loaded(data))


def test_ties_share_a_storage():
    weight = torch.ones(5)
    index = index_of(saved({"a": weight, "b": weight[1:], "c": torch.ones(5)}))
    assert [row.storage for row in index.tensors] == [0, 0, 1]


def test_crc_of_each_storage_is_the_archive_s():
    data = saved({"a": torch.arange(100)})
    (storage,) = index_of(data).storages
    assert storage.crc32 is not None
    assert storage.crc32 == zipfile.ZipFile(io.BytesIO(data)).getinfo("archive/data/0").CRC


def test_crc_is_absent_where_torch_was_told_to_compute_none():
    torch.serialization.set_crc32_options(False)
    try:
        data = saved({"a": torch.arange(100)})
    finally:
        torch.serialization.set_crc32_options(True)
    assert index_of(data).storages[0].crc32 is None


def test_digests_cover_each_storage():
    data = saved({"a": torch.arange(1_000_000), "b": torch.empty(0), "c": torch.ones(3)})
    index = with_digests(index_of(data), io.BytesIO(data))
    for storage in index.storages:
        assert storage.sha256 == hashlib.sha256(data[storage.offset : storage.offset + storage.size]).hexdigest()


def test_digests_of_a_file_that_became_shorter_are_refused():
    data = saved({"a": torch.arange(1000)})
    with pytest.raises(MalformedCheckpoint, match="ends early"):
        with_digests(index_of(data), io.BytesIO(data[:2000]))


def test_index_never_reads_the_data_of_a_tensor():
    class Watched(io.BytesIO):
        bytes_read = 0

        def read(self, size=-1):
            found = super().read(size)
            self.bytes_read += len(found)
            return found

    data = saved({f"layer{at}": torch.zeros(300_000) for at in range(4)})
    file = Watched(data)
    read_tensor_index(file, len(data), Sha256.of(data))
    assert file.bytes_read < 80_000 < len(data)


# -- containers -------------------------------------------------------------------------------------------


def test_a_real_file_of_torch_1_6_reads_bit_equal():
    data = (CHECKPOINTS / "mmcv_model.pth").read_bytes()
    index = index_of(data)
    assert index.kind == "state_dict"
    assert_same(rebuilt(index, data), loaded(data))


def test_a_file_repacked_by_another_tool_reads_bit_equal():
    data = repacked(saved(layouts()["wrapped"]))
    assert_same(rebuilt(index_of(data), data), loaded(data))


def test_a_file_with_zip64_fields_reads_bit_equal():
    original = zipfile.ZipFile(io.BytesIO(saved(layouts()["wrapped"])))
    data = packed(((record, original.read(record)) for record in original.namelist()), zip64=True)
    assert_same(rebuilt(index_of(data), data), loaded(data))


def test_older_writers_folder_of_tensors_is_found():
    original = zipfile.ZipFile(io.BytesIO(saved({"a": torch.arange(4)})))
    moved = packed((record.replace("/data/", "/tensors/"), original.read(record)) for record in original.namelist())
    assert torch.equal(rebuilt(index_of(moved), moved)["a"], torch.arange(4))


def test_a_deflated_file_is_refused():
    data = repacked(saved({"a": torch.zeros(1000)}), method=zipfile.ZIP_DEFLATED)
    with pytest.raises(MalformedCheckpoint, match="compressed"):
        index_of(data)


def test_a_big_endian_file_says_so():
    index = index_of(repacked(saved({"a": torch.arange(4)}), byteorder=b"big"))
    assert index.byteorder == "big"


def test_an_unknown_byte_order_is_refused():
    with pytest.raises(MalformedCheckpoint, match="byte order"):
        index_of(repacked(saved({"a": torch.arange(4)}), byteorder=b"middle"))


def test_a_file_without_byte_order_is_little_endian():
    assert index_of(repacked(saved({"a": torch.arange(4)}), byteorder=None)).byteorder == "little"


def test_an_error_page_is_malformed():
    with pytest.raises(MalformedCheckpoint, match="HTML"):
        index_of(b"<!DOCTYPE html><html></html>")


# -- values that are not plain ----------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_checkpoint_of_mmengine_s_kind_reads_around_its_objects():
    from mmengine.config import Config
    from mmengine.logging import HistoryBuffer

    buffer = HistoryBuffer([1.0, 2.0], [1, 1])
    weight = torch.arange(3.0)
    value = {"state_dict": OrderedDict(w=weight), "message_hub": {"loss": buffer}, "meta": {"cfg": Config({"a": 1})}}
    data = saved(value)
    index = index_of(data)
    assert index.kind == "wrapped"
    assert "mmengine.logging.history_buffer.HistoryBuffer" in index.dropped
    assert index.tree["meta"]["cfg"] == {"a": 1}
    assert torch.equal(rebuilt(index, data)["state_dict"]["w"], weight)


def test_containers_and_names_of_torch_and_python_read_as_plain_values():
    value = {
        "dtype": torch.float16,
        "device": torch.device("cpu"),
        "counts": defaultdict(int, {"a": 1}),
        "set": {1, 2},
        "frozen": frozenset({"x"}),
        "complex": 1 + 2j,
        "size": torch.Size([2, 3]),
        "bytearray": bytearray(b"ab"),
    }
    tree = index_of(saved(value)).tree
    assert tree["dtype"] == Inert("torch.float16", None)
    assert tree["device"] == Inert("torch.device", ("cpu",))
    plain = {key: tree[key] for key in ("counts", "set", "frozen", "complex", "size", "bytearray")}
    expected = {key: value[key] for key in plain} | {"size": (2, 3), "bytearray": b"ab"}
    assert plain == expected


@pytest.mark.parametrize("protocol", [2, 4])
def test_long_strings_stay_out_of_the_tree_and_a_long_config_stays_in(protocol):
    value = {"buffer": b"\xff" * 100_000, "cfg": "x = 1\n" * 20_000, "w": torch.ones(1)}
    tree = index_of(saved(value, pickle_protocol=protocol)).tree
    assert tree["cfg"] == value["cfg"]
    assert tree["buffer"].type_name == "builtins.bytes"
    assert tree["buffer"].state >= 100_000


def test_a_text_of_megabytes_is_elided():
    tree = index_of(saved({"cfg": "x" * 2_000_000})).tree
    assert tree["cfg"] == Inert("builtins.str", (), 2_000_000)


def test_a_structure_that_holds_itself_ends_in_an_inert_value():
    looped = {"w": torch.ones(1)}
    looped["self"] = [looped]
    assert index_of(saved(looped)).tree["self"] == [Inert("builtins.dict")]


def test_shared_values_are_drawn_once():
    shared = {"w": torch.ones(1)}
    index = index_of(saved({"a": shared, "b": shared}))
    assert [row.name for row in index.tensors] == ["a.w"]
    assert index.tree["a"] == index.tree["b"]


def test_a_mapping_with_odd_keys_becomes_inert_with_its_items():
    tree = index_of(saved({"d": {torch.float16: 1}, "s": {torch.float16}})).tree
    assert tree["d"] == Inert("builtins.dict", items=[(Inert("torch.float16", None), 1)])
    assert tree["s"] == Inert("builtins.set", items=[Inert("torch.float16", None)])


def test_an_ordered_mapping_with_odd_keys_becomes_inert_with_its_items():
    tree = index_of(saved({"d": OrderedDict({torch.float16: 1})})).tree
    assert tree["d"] == Inert("collections.OrderedDict", items=[(Inert("torch.float16", None), 1)])


def test_a_bare_storage_stays_inert():
    tree = index_of(saved({"s": torch.ones(3).untyped_storage()})).tree
    assert tree["s"] == Inert("torch.storage.UntypedStorage", ("0", "uint8", 12))


@pytest.mark.parametrize("type_name", ["builtins.set", "builtins.dict", "a.B"])
def test_a_loop_is_named_after_the_type_that_it_leads_back_to(type_name):
    made = {"builtins.set": b"\x8f", "builtins.dict": b"}", "a.B": name("a.B") + b")R"}[type_name]
    fill = {"builtins.set": b"(h\x02\x90", "builtins.dict": b"Nh\x02s", "a.B": b"h\x02\x85b"}[type_name]
    inner = name("c.D") + b")R" + b"q\x02" + made + b"q\x010h\x01" + fill + b"\x85b"
    holder = index_of(checkpoint(mapping(w=tensor(), x=inner) + b".")).tree["x"]
    assert holder.type_name == "c.D"
    assert "Inert(type_name='c.D', args=(), state=None, items=None)" in repr(holder.state)


def test_odd_tensors_stay_inert_and_the_rest_reads():
    value = {
        "w": torch.ones(2),
        "sparse": torch.ones(2, 2).to_sparse(),
        "conj": torch.ones(2, dtype=torch.complex64).conj(),
        "meta": torch.empty(2, device="meta"),
        "fine": torch.ones(2, dtype=torch.complex64).conj().resolve_conj(),
    }
    index = index_of(saved(value))
    assert [row.name for row in index.tensors if "." not in row.name] == ["w", "fine"]
    assert index.kind == "state_dict"
    assert {key for key in value if isinstance(index.tree[key], Inert)} == {"sparse", "conj", "meta"}


@pytest.mark.filterwarnings("ignore::UserWarning", "ignore::DeprecationWarning")
def test_a_quantised_tensor_stays_inert():
    value = {"w": torch.ones(2), "q": torch.quantize_per_tensor(torch.ones(3), 0.1, 0, torch.qint8)}
    assert isinstance(index_of(saved(value)).tree["q"], Inert)


@pytest.mark.parametrize(
    ("type_name", "odd"),
    [("torch.nn.parameter.Buffer", False), ("torch.Tensor", False), ("torchvision.tv_tensors._image.Image", True)],
)
def test_a_subclass_of_tensor_stays_inert_unless_it_adds_nothing(type_name, odd):
    function, _, inner = tensor().partition(b"(")
    arguments = tuple_of(function, name(type_name), b"(" + inner[:-1], b"}")
    data = checkpoint(mapping(w=name("torch._tensor._rebuild_from_type_v2") + arguments + b"R") + b".")
    assert isinstance(index_of(data).tree["w"], Inert) is odd


# -- kinds and names --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "kind"),
    [
        ({"state_dict": {}}, "wrapped"),
        ({"state_dict": 3, "w": torch.ones(1)}, "state_dict"),
        ({"w": torch.ones(1), "steps": 3, "none": None, "name": "a"}, "state_dict"),
        ({"w": torch.ones(1), "m._extra_state": {"a": 1}}, "state_dict"),
        ({"w": torch.ones(1), "other": {"a": 1}}, "mapping"),
        ({1: torch.ones(1)}, "mapping"),
        ({"epoch": 3}, "mapping"),
        ({}, "mapping"),
        ([torch.ones(1)], "other"),
        (torch.ones(1), "other"),
    ],
)
def test_kind_is_told_by_the_root(value, kind):
    assert index_of(saved(value)).kind == kind


def test_names_that_collide_are_told_apart():
    value = {"a.b": torch.ones(1), "a": {"b": torch.zeros(1)}, "a.b#2": torch.ones(2), 1: [torch.ones(1)]}
    names = [row.name for row in index_of(saved(value)).tensors]
    assert names == ["a.b", "a.b#2", "a.b#2#2", "1.0"]


def test_state_dict_keeps_its_names_wherever_it_stands():
    state_dict = {"w": torch.ones(1)}
    index = index_of(saved({"ema": state_dict, "meta": {"t": torch.ones(1)}, "state_dict": state_dict}))
    assert [row.name for row in index.tensors] == ["w", "meta.t"]


def test_a_parameter_with_attributes_reads_as_its_data():
    data_of = tensor() + b"\x88N}"
    data = checkpoint(mapping(w=name("torch._utils._rebuild_parameter_with_state") + tuple_of(data_of) + b"R") + b".")
    assert [row.name for row in index_of(data).tensors] == ["w"]


def test_a_long_text_that_is_no_utf_8_is_elided():
    long = b"X" + (100_000).to_bytes(4, "little") + b"\xff" * 100_000
    tree = index_of(checkpoint(mapping(w=tensor(), s=long) + b".")).tree
    assert tree["s"] == Inert("builtins.str", (), 100_000)
