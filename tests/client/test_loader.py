"""``zooproxy.load`` against a proxy in a thread."""

from __future__ import annotations

import copy
import gc
import io
import json
import sys
import threading
import warnings
import weakref
from collections import OrderedDict
from typing import Any

import pytest
import torch

from zooproxy.client.loader import load
from zooproxy.digest import Sha256
from zooproxy.errors import (
    LimitExceeded,
    MalformedCheckpoint,
    ProxyNotConfigured,
    ProxyRefused,
    TransferCorrupt,
    UnsupportedFormat,
)
from zooproxy.wire.plain import Inert
from zooproxy.wire.tensors import DTYPE_SIZES, tensor_index_to_json

REF = "torchvision://resnet50"


def assert_same(actual: torch.Tensor, expected: torch.Tensor) -> None:
    assert (actual.dtype, actual.shape, actual.stride()) == (expected.dtype, expected.shape, expected.stride())
    as_bytes = [
        bytes(t.contiguous().flatten().view(torch.uint8).tolist()) if t.numel() else b"" for t in (actual, expected)
    ]
    assert as_bytes[0] == as_bytes[1]


def test_load_returns_the_bare_state_dict_in_order_with_its_metadata(proxy: Any, state_dict: Any) -> None:
    proxy.publish(REF, state_dict)
    loaded = load(REF)
    assert type(loaded) is OrderedDict
    assert list(loaded) == list(state_dict)
    assert loaded._metadata == state_dict._metadata
    for name, tensor in state_dict.items():
        assert_same(loaded[name], tensor)


def test_load_takes_the_index_and_one_range_over_one_connection(proxy: Any, state_dict: Any) -> None:
    index = proxy.publish(REF, state_dict)
    load(REF)
    assert proxy.paths == ["tensors", "blobs"]
    assert proxy.connections == 1
    filled = [storage for storage in index.storages if storage.size]
    assert proxy.ranges == [f"bytes={filled[0].offset}-{filled[-1].offset + filled[-1].size - 1}"]


def test_load_of_distant_storages_takes_a_range_for_each(proxy: Any) -> None:
    value = {"a": torch.arange(5.0), "b": torch.arange(9)}
    proxy.publish(REF, value, gap=(1 << 20) + 8)
    loaded = load(REF)
    assert len(proxy.ranges) == 2
    assert proxy.connections == 1
    for name, tensor in value.items():
        assert_same(loaded[name], tensor)


def test_load_returns_a_wrapped_checkpoint_with_inert_leaves(proxy: Any) -> None:
    inert = Inert("mmengine.logging.HistoryBuffer", args=(1,), state={"max": 5}, items=None)
    proxy.publish(REF, {"state_dict": OrderedDict(w=torch.ones(2)), "meta": {"epoch": 3, "h": inert}})
    loaded = load(REF)
    assert list(loaded) == ["state_dict", "meta"]
    assert loaded["meta"] == {"epoch": 3, "h": inert}
    assert loaded["state_dict"]["w"].tolist() == [1, 1]


def test_load_with_a_prefix_asks_for_it_and_moves_only_its_bytes(proxy: Any, state_dict: Any) -> None:
    proxy.publish("mmcls://vgg16", state_dict)
    proxy.publish("mmcls://vgg16", {"weight": state_dict["a.weight"]}, prefix="a.")
    assert list(load("mmcls://vgg16", prefix="a.")) == ["weight"]
    assert "ref=mmcls%3A%2F%2Fvgg16&variant=model&prefix=a." in proxy.requests[0][0]
    assert proxy.ranges == ["bytes=64-159"]


def test_load_keeps_ties_views_and_strides(proxy: Any) -> None:
    base = torch.arange(12.0)
    value = {"base": base, "tied": base, "tail": base[4:], "turned": base.view(3, 4).t(), "same": base.view(12)}
    value["expanded"] = torch.ones(3, 1).expand(3, 5)
    proxy.publish(REF, value)
    loaded = load(REF)
    for name, tensor in value.items():
        assert_same(loaded[name], tensor)
    assert loaded["tied"] is loaded["base"]
    loaded["base"].zero_()
    assert loaded["turned"].abs().sum() == 0
    assert loaded["tail"].untyped_storage().data_ptr() == loaded["base"].untyped_storage().data_ptr()


@pytest.mark.filterwarnings("ignore:ComplexHalf support is experimental")  # torch's own, about any complex32
@pytest.mark.parametrize("name", sorted(DTYPE_SIZES))
@pytest.mark.parametrize("lead", [64, 3])
def test_load_of_any_dtype_at_any_offset_gives_equal_aligned_tensors(proxy: Any, name: str, lead: int) -> None:
    dtype = getattr(torch, name)
    octets = torch.arange(4 * DTYPE_SIZES[name], dtype=torch.uint8)
    value = octets.ne(0) if dtype is torch.bool else octets.view(dtype)
    proxy.publish(REF, {"byte": torch.zeros(1, dtype=torch.uint8), "x": value}, lead=lead, gap=3)
    loaded = load(REF)["x"]
    assert_same(loaded, value)
    assert loaded.data_ptr() % DTYPE_SIZES[name] == 0


def test_load_of_one_storage_under_two_dtypes_aligns_for_the_wider(proxy: Any) -> None:
    words = torch.arange(8, dtype=torch.int64)
    value = {"bytes": words.view(torch.uint8), "words": words}
    proxy.publish(REF, value, lead=5)
    loaded = load(REF)
    assert_same(loaded["words"], words)
    loaded["words"].zero_()
    assert loaded["bytes"].sum() == 0


def test_load_without_any_bytes_asks_for_no_blob(proxy: Any) -> None:
    proxy.publish(REF, {"empty": torch.empty(0, 3), "plain": 5})
    loaded = load(REF)
    assert loaded["empty"].shape == (0, 3)
    assert loaded["plain"] == 5
    assert proxy.paths == ["tensors"]


def test_loaded_tensors_are_writable_copyable_and_saved_as_their_own_slice(proxy: Any) -> None:
    proxy.publish(REF, {"small": torch.ones(2), "large": torch.ones(1 << 16)})
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        small = load(REF)["small"]
        small.add_(1)
        written = io.BytesIO()
        torch.save(copy.deepcopy(small), written)
        torch.save(small, written)
    assert small.tolist() == [2, 2]
    assert written.tell() < 1 << 14


def test_loaded_memory_lives_exactly_as_long_as_its_last_tensor(proxy: Any) -> None:
    proxy.publish(REF, {"a": torch.arange(4.0), "b": torch.arange(5.0)})
    loaded = load(REF)
    kept = loaded["b"]
    gone = weakref.ref(loaded["a"])
    del loaded
    gc.collect()
    assert gone() is None
    assert kept.tolist() == [0, 1, 2, 3, 4]


def test_load_shows_the_proxys_warnings_where_the_user_called(proxy: Any) -> None:
    proxy.publish(REF, {"w": torch.ones(1)}, texts=["'a, \"b\"' is deprecated in favour of 'c'", "second: é"])
    with pytest.warns(UserWarning, match="deprecated|second") as caught:
        load(REF)
    assert [str(warning.message) for warning in caught] == ["'a, \"b\"' is deprecated in favour of 'c'", "second: é"]
    assert {warning.filename for warning in caught} == {__file__}


# -- map_location -----------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "map_location",
    [None, "cpu", "cpu:0", torch.device("cpu"), {}, {"cuda:0": "cpu"}, lambda storage, location: storage],
    ids=["none", "name", "numbered", "device", "empty mapping", "mapping", "function"],
)
def test_load_with_a_cpu_map_location_copies_nothing(proxy: Any, map_location: Any) -> None:
    value = {"a": torch.arange(4.0), "b": torch.arange(4.0) + 9}
    index = proxy.publish(REF, value)
    loaded = load(REF, map_location)
    between = loaded["b"].data_ptr() - loaded["a"].data_ptr()
    assert between == index.storages[1].offset - index.storages[0].offset
    assert_same(loaded["b"], value["b"])


@pytest.mark.parametrize(
    "map_location", ["meta", torch.device("meta"), {"cpu": "meta"}], ids=["name", "device", "mapping"]
)
def test_load_onto_another_device_moves_storages_and_keeps_ties(proxy: Any, map_location: Any) -> None:
    base = torch.arange(12.0)
    proxy.publish(REF, {"base": base, "turned": base.view(3, 4).t(), "none": torch.empty(0)})
    loaded = load(REF, map_location)
    assert {tensor.device.type for tensor in loaded.values()} == {"meta"}
    assert loaded["turned"].stride() == (1, 4)
    assert loaded["turned"].untyped_storage()._cdata == loaded["base"].untyped_storage()._cdata


def test_load_hands_a_map_location_function_storages_as_torch_load_does(proxy: Any) -> None:
    proxy.publish(REF, {"a": torch.arange(4.0)})
    seen = []

    def decline(storage: Any, location: str) -> None:
        seen.append((type(storage), storage.nbytes(), location))

    assert load(REF, decline)["a"].tolist() == [0, 1, 2, 3]
    assert seen == [(torch.UntypedStorage, 16, "cpu")]


def test_load_takes_typed_storages_from_a_map_location_function(proxy: Any) -> None:
    proxy.publish(REF, {"a": torch.arange(4.0)})
    loaded = load(
        REF,
        lambda storage, location: torch.storage.TypedStorage(wrap_storage=storage, dtype=torch.uint8, _internal=True),
    )
    assert loaded["a"].tolist() == [0, 1, 2, 3]


# -- proof ------------------------------------------------------------------------------------------------


def change_a_byte(proxy: Any, index: Any) -> None:
    data = bytearray(proxy.blobs[index.blob])
    data[index.storages[1].offset + 3] ^= 1
    proxy.blobs[index.blob] = bytes(data)


@pytest.mark.parametrize("late", [False, True])
def test_load_of_bytes_changed_on_the_way_twice_is_transfer_corrupt(proxy: Any, late: bool) -> None:
    change_a_byte(proxy, proxy.publish(REF, {"a": torch.arange(4.0), "b": torch.arange(4.0)}))
    proxy.digests_are_late = late
    with pytest.raises(TransferCorrupt, match="storage 1 of the blob"):
        load(REF)
    assert proxy.paths.count("blobs") == 2


@pytest.mark.parametrize("tied", [False, True])
def test_load_proves_by_digests_that_the_proxy_has_not_yet_when_it_is_asked(
    proxy: Any, state_dict: Any, tied: bool
) -> None:
    proxy.digests_are_late = True
    value = {"all": torch.arange(9.0), "part": torch.arange(9.0)} if tied else state_dict
    index = proxy.publish(REF, value)
    if tied:  # storages that overlap can be proven only when all has arrived
        body = tensor_index_to_json(index)
        whole = body["storages"][0]
        digest = Sha256.of(proxy.blobs[index.blob][whole[0] : whole[0] + 16])
        body["storages"][1] = [whole[0], 16, None, digest]
        body["tensors"][1]["shape"] = [4]
        proxy.serve(REF, body)
    loaded = load(REF)
    assert all(
        torch.equal(loaded[name], tensor[: loaded[name].shape[0]] if tied else tensor) for name, tensor in value.items()
    )
    assert "digests=wait" in " ".join(path for path, _ in proxy.requests)


def test_bytes_arrive_while_the_digests_are_waited_for(proxy: Any) -> None:
    proxy.digests_are_late = True
    proxy.publish(REF, {"a": torch.arange(4.0)})
    arrived = threading.Event()

    def first(handler: Any) -> None:
        handler.tensors({"ref": REF})

    def then(handler: Any) -> None:
        assert arrived.wait(30)
        handler.tensors({"ref": REF, "digests": "wait"})

    proxy.misbehaviours["tensors"].extend([first, then])
    proxy.misbehaviours["blobs"].append(lambda handler: (handler.blob(handler.path[10:]), arrived.set()))
    assert load(REF)["a"].tolist() == [0, 1, 2, 3]


def test_load_trusts_without_asking_for_digests_where_it_is_told_to(proxy: Any) -> None:
    proxy.digests_are_late = True
    change_a_byte(proxy, proxy.publish(REF, {"a": torch.arange(4.0), "b": torch.arange(4.0)}))
    load(REF, verify=False)
    assert proxy.paths == ["tensors", "blobs"]


def test_a_proxy_that_never_tells_its_digests_is_not_believed(proxy: Any) -> None:
    index = proxy.publish(REF, {"a": torch.arange(4.0)})
    body = tensor_index_to_json(index)
    body["storages"][0][3] = None
    proxy.serve(REF, body)
    with pytest.raises(TransferCorrupt, match="does not tell the digests"):
        load(REF)


def test_a_proxy_that_describes_a_blob_in_two_ways_is_not_believed(proxy: Any) -> None:
    proxy.digests_are_late = True
    index = proxy.publish(REF, {"a": torch.arange(4.0)})
    other = tensor_index_to_json(index)
    other["storages"][0][0] += 1
    proxy.misbehaviours["tensors"].append(lambda handler: handler.tensors({"ref": REF}))
    proxy.misbehaviours["tensors"].append(lambda handler: handler.reply(200, json.dumps(other).encode(), {}))
    with pytest.raises(TransferCorrupt, match="two ways"):
        load(REF)


def test_what_the_proxy_says_instead_of_its_digests_reaches_the_caller(proxy: Any) -> None:
    proxy.digests_are_late = True
    proxy.publish(REF, {"a": torch.arange(4.0)})
    proxy.misbehaviours["tensors"].append(lambda handler: handler.tensors({"ref": REF}))
    proxy.misbehaviours["tensors"].append(lambda handler: handler.problem(422, "malformed-checkpoint", "no digests"))
    with pytest.raises(ProxyRefused, match="no digests"):
        load(REF)


def test_load_retries_once_and_succeeds_when_only_the_first_bytes_were_wrong(proxy: Any) -> None:
    proxy.publish(REF, {"a": torch.arange(4.0)})
    proxy.misbehaviours["blobs"].append(
        lambda handler: handler.reply(206, b"x" * 16, {"Content-Range": "bytes 64-79/144"})
    )
    assert load(REF)["a"].tolist() == [0, 1, 2, 3]
    assert proxy.paths == ["tensors", "blobs", "blobs"]


# -- indexes that no honest proxy sends -------------------------------------------------------------------


def _spoilt(index: Any, where: tuple[Any, ...], value: Any) -> Any:
    body = copy.deepcopy(tensor_index_to_json(index))
    at = body
    for key in where[:-1]:
        at = at[key]
    at[where[-1]] = value
    return body


@pytest.mark.parametrize(
    ("where", "value"),
    [
        (("size",), "1"),
        (("size",), 10),
        (("blob",), "short"),
        (("storages", 0, 0), -1),
        (("storages", 0, 1), 2**64),
        (("storages", 0, 1), True),
        (("storages", 0, 1), 8),
        (("storages", 0), [1]),
        (("tensors", 0, "storage"), 1),
        (("tensors", 0, "storage"), -1),
        (("tensors", 0, "offset"), 1),
        (("tensors", 0, "shape"), [5]),
        (("tensors", 0, "shape"), [-4]),
        (("tensors", 0, "shape"), [2, 2]),
        (("tensors", 0, "shape"), ["4"]),
        (
            ("tensors", 0),
            {"name": "a", "dtype": "int8", "storage": 0, "offset": 0, "shape": [2**62] * 2, "stride": [0, 0]},
        ),
        (
            ("tensors", 0),
            {"name": "a", "dtype": "int8", "storage": 0, "offset": 0, "shape": [0, 2**62, 2], "stride": [1] * 3},
        ),
        (("tensors", 0, "stride"), [2]),
        (("tensors", 0), {"name": "a", "dtype": "int8", "storage": 0, "offset": 0, "shape": [1], "stride": [2**63]}),
        (("tensors", 0, "dtype"), "load"),
        (("tensors", 0, "dtype"), ["float32"]),
        (("tree",), {"a": {"$tensor": 1}}),
        (("tree",), {"a": {"$tensor": -1}}),
        (("tree",), {"a": {"$tensor": "0"}}),
        (("tree",), {"a": {"$unknown": 0}}),
    ],
    ids=repr,
)
def test_load_of_a_malformed_index_is_a_typed_error(proxy: Any, where: Any, value: Any) -> None:
    index = proxy.publish(REF, {"a": torch.arange(4.0)})
    proxy.serve(REF, _spoilt(index, where, value))
    with pytest.raises(MalformedCheckpoint):
        load(REF)


@pytest.mark.parametrize("body", [[], "text", None, {}, {"tree": 1}], ids=repr)
def test_load_of_json_that_is_no_index_is_a_typed_error(proxy: Any, body: Any) -> None:
    proxy.serve(REF, body)
    with pytest.raises(MalformedCheckpoint, match="tensor index"):
        load(REF)


@pytest.mark.parametrize("depth", [900 if sys.version_info < (3, 12) else 1500, 100_000])
def test_load_of_a_tree_that_nests_too_deep_is_a_typed_error(proxy: Any, depth: int) -> None:
    index = proxy.publish(REF, {"a": torch.arange(4.0)})
    text = '{"tree": ' + "[" * depth + "]" * depth + ", "
    for name, value in tensor_index_to_json(index).items():
        if name != "tree":
            text += f'"{name}": {json.dumps(value)}, '
    body = (text[:-2] + "}").encode()
    proxy.misbehaviours["tensors"].extend([lambda handler: handler.reply(200, body, {})] * 2)
    with pytest.raises((LimitExceeded, TransferCorrupt)):
        load(REF)


def test_load_of_another_byte_order_is_unsupported(proxy: Any) -> None:
    index = proxy.publish(REF, {"a": torch.arange(4.0)})
    proxy.serve(REF, _spoilt(index, ("byteorder",), "big"))
    with pytest.raises(UnsupportedFormat, match="byte order"):
        load(REF)


def test_load_of_a_dtype_that_this_torch_lacks_names_it(proxy: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    proxy.publish(REF, {"a": torch.zeros(4, dtype=torch.uint16)})
    monkeypatch.delattr(torch, "uint16")
    with pytest.raises(UnsupportedFormat, match="uint16"):
        load(REF)


def test_load_without_zooproxy_says_how_to_set_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ZOOPROXY", raising=False)
    with pytest.raises(ProxyNotConfigured, match="export ZOOPROXY="):
        load(REF)
