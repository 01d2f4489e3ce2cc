"""Files made to harm: each is refused with its typed error, or read around, and nothing in any of them runs."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import warnings
import zipfile

import pytest
import torch

from formats.checkpoint_files import (
    checkpoint,
    index_of,
    integer,
    mapping,
    name,
    packed,
    saved,
    storage,
    tensor,
    text,
    tuple_of,
)
from zooproxy.digest import Sha256
from zooproxy.errors import LimitExceeded, MalformedCheckpoint
from zooproxy.formats import limits
from zooproxy.formats.reader import read_tensor_index
from zooproxy.wire.plain import Inert
from zooproxy.wire.tensors import tensor_index_to_json

# -- nothing runs -----------------------------------------------------------------------------------------


class Canary:
    """Pickles as a call of ``function``."""

    def __init__(self, function, *args):
        self.call = (function, args)

    def __reduce__(self):
        return self.call


@pytest.mark.parametrize("protocol", [2, 4, 5])
@pytest.mark.parametrize(
    "function",
    [os.system, eval, exec, getattr, __import__, subprocess.check_call, torch.load, os.mkdir],
    ids=lambda function: function.__name__,
)
def test_a_call_of_anything_becomes_inert_and_does_not_run(function, protocol, tmp_path):
    canary = tmp_path / "ran"
    data = saved({"w": torch.ones(1), "x": Canary(function, str(canary))}, pickle_protocol=protocol)
    index = index_of(data)
    assert index.tree["x"].args == (str(canary),)
    assert not canary.exists()


def test_every_way_of_making_an_object_imports_nothing():
    unknown = "no_such_module_of_anyone.Thing"
    module, _, last = unknown.rpartition(".")
    ways = {
        "reduce": name(unknown) + b")R",
        "newobj": name(unknown) + b")\x81",
        "newobj_ex": name(unknown) + b")}\x92",
        "inst": b"(" + f"i{module}\n{last}\n".encode(),
        "obj": b"(" + name(unknown) + b"o",
        "stack_global": text(module) + text(last) + b"\x93)R",
        "collect_env": name("torch.utils.collect_env.run") + tuple_of(text("id")) + b"R",
        "build": name(unknown) + b")R}b",
        "called twice": name(unknown) + b")R" + tuple_of(text("x")) + b"R",
        "extended": name(unknown) + b")R(K\x01K\x02e",
        "stored into": name(unknown) + b")R(K\x01K\x02u",
        "added to": name(unknown) + b")R(K\x01K\x02\x90",
    }
    index_of(packed(RECORDS))  # loads the codec of zip names
    modules = set(sys.modules)
    index = index_of(checkpoint(mapping(w=tensor(), **ways) + b"."))
    assert all(isinstance(index.tree[way], Inert) for way in ways)
    assert index.tree["extended"].items == [1, 2]
    assert index.tree["stored into"].items == [(1, 2)]
    assert set(sys.modules) == modules


# -- pickles that lie -------------------------------------------------------------------------------------

MALFORMED = {
    "no pickle": b"hello",
    "empty": b"",
    "no stop": b"}",
    "stack underflow": b"0.",
    "underflow of a pair": b"K\x01\x86.",
    "pop without a mark": b"1.",
    "tuple without a mark": b"t.",
    "memo that was never stored": b"h\x07.",
    "memo by text that was never stored": b"g7\n.",
    "memo with a malformed number": b"K\x01p-x\n.",
    "protocol 9": b"\x80\x09}.",
    "text persistent id": b"Pstorage\n.",
    "extension registry": b"\x82\x01.",
    "out-of-band buffer": b"\x97.",
    "item in a list": b"]K\x01K\x02s.",
    "append to a dict": b"}K\x01a.",
    "add to a list": b"](K\x01\x90.",
    "add to a frozenset": b"(\x91(K\x01\x90.",
    "odd number of items": b"}(K\x01u.",
    "list as a key": b"}]K\x01s.",
    "dict in a set": b"\x8f(}\x90.",
    "tuple of tuples as a key": b"}))\x85\x85K\x01s.",
    "call of a number": b"K\x01)R.",
    "call with a list": name("os.system") + b"]R.",
    "instance of a number": b"K\x01)\x81.",
    "instance with a list": name("os.system") + b"]\x81.",
    "obj without a class": b"(o.",
    "ordered dict of numbers": name("collections.OrderedDict") + tuple_of(b"(K\x01K\x02l") + b"R.",
    "state of a dict": b"}}b.",
    "two states": name("a.B") + b")R}b}b.",
    "state of an ordered dict that is no dict": name("collections.OrderedDict") + b")RK\x01b.",
    "global without a name": b"c\n\n.",
    "global of numbers": b"K\x01K\x02\x93.",
    "global with control characters": b"cos\nsys\x1btem\n.",
    "text that is not UTF-8": b"X\x02\x00\x00\x00\xff\xff.",
    "number with underscores": b"I1_000\n.",
    "number with blanks": b"I 1\n.",
    "number with leading zeros": b"I0123\n.",
    "float with underscores": b"F1_0.5\n.",
    "string without quotes": b"Sabc\n.",
    "string with escapes of no writer": b"S'a\\q'\n.",
    "string that ends in an escape": b"S'a\\'\n.",
    "string without end": b"S'" + b"a" * 5000,
    "string of negative length": b"T\xff\xff\xff\xff.",
    "line without end": b"I" + b"1" * 5000,
    "string past the end": b"X\xff\x00\x00\x00abc.",
    "huge string past the end": b"\x8d" + b"\xff" * 8 + b"abc.",
    "float cut short": b"G\x00.",
    "persistent id that is no tuple": b"K\x01Q.",
    "persistent id of four": tuple_of(text("storage"), name("torch.FloatStorage"), text("0"), text("cpu")) + b"Q.",
    "storage whose key is a number": tuple_of(
        text("storage"), name("torch.FloatStorage"), b"K\x00", text("cpu"), b"K\x01"
    )
    + b"Q.",
    "storage of negative length": storage(count=-1) + b".",
    "storage without a record": tensor(stored=storage(key="9")) + b".",
    "storage key that climbs": tensor(stored=storage(key="../data/0")) + b".",
    "storage longer than its record": tensor(stored=storage(count=17)) + b".",
    "tensor past its storage": tensor(shape=(17,)) + b".",
    "tensor past its storage by its offset": tensor(offset=15) + b".",
    "tensor past its storage by its stride": tensor(shape=(2,), stride=(16,)) + b".",
    "tensor of negative offset": tensor(offset=-1) + b".",
    "tensor of negative stride": tensor(stride=(-1,)) + b".",
    "tensor with too few strides": tensor(shape=(2, 2), stride=(1,)) + b".",
    "tensor whose shape is a number": name("torch._utils._rebuild_tensor")
    + tuple_of(storage(), b"K\x00", b"K\x02", b"K\x01")
    + b"R.",
    "tensor whose size is a float": name("torch._utils._rebuild_tensor")
    + tuple_of(storage(), b"K\x00", b"G\x40\x00\x00\x00\x00\x00\x00\x00\x85", b"K\x01\x85")
    + b"R.",
    "tensor without a storage": name("torch._utils._rebuild_tensor_v2") + tuple_of(*[b"K\x00"] * 6) + b"R.",
    "tensor with three arguments": name("torch._utils._rebuild_tensor_v2")
    + tuple_of(storage(), b"K\x00", b")")
    + b"R.",
    "tensor with nine arguments": tensor(rest=b"NNN") + b".",
    "tensor whose dtype is a text": name("torch._utils._rebuild_tensor_v3")
    + tuple_of(storage(), b"K\x00", b")", b")", b"\x89", b"N", text("float32"))
    + b"R.",
    "parameter without a tensor": name("torch._utils._rebuild_parameter") + tuple_of(b"K\x01", b"\x88", b"N") + b"R.",
    "tensor's name with half a surrogate": mapping(**{"\ud800": tensor()}) + b".",
    "size of texts": name("torch.Size") + tuple_of(tuple_of(text("a"))) + b"R.",
}


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_pickle_is_refused(case):
    with pytest.raises(MalformedCheckpoint) as caught:
        index_of(checkpoint(MALFORMED[case]))
    assert len(str(caught.value)) < 400


EXCESSIVE = {
    "opcodes": b"]" + b"N0" * 1_000_001 + b".",
    "integer of many bytes": b"\x8b" + struct.pack("<i", 600) + bytes(600) + b".",
    "integer of negative length": b"\x8b\xff\xff\xff\xff.",
    "integer of many digits": b"I" + b"1" * 1001 + b"\n.",
    "sets": b"]" + b"\x8fa" * (limits.OBJECTS + 1) + b".",
    "tuple keys": b"}" + b"NN\x86Ns" * (limits.TUPLE_KEYS + 1) + b".",
    "integer keys": b"}" + integer(2**64) + b"Ns.",
    "dimensions": tensor(shape=(1,) * 65, stride=(1,) * 65) + b".",
    "tensor of 2 ** 70 elements": tensor(shape=(2**70,), stride=(0,)) + b".",
    "virtual bytes": tensor(shape=(2**40,), stride=(0,)) + b".",
    "virtual bytes of an overflowing product": tensor(shape=(2**62, 2**62), stride=(0, 0)) + b".",
    "tensor name": mapping(**{"n" * 513: tensor()}) + b".",
    "name of a type": name("m" * 300 + "." + "n" * 300) + b".",
    "nested lists": b"]" * 200_000 + b"a" * 199_999 + b".",
    "nested tuples": b")" + b"\x85" * 300_000 + b".",
    "nested dicts": b"}" + b"}K\x00" * 50_000 + b"}" + b"s" * 50_000 + b".",
    "nested objects": name("a.B") + b"q\x00)R" + b"q\x010h\x00h\x01\x85R" * 50_000 + b".",
}


@pytest.mark.parametrize("case", EXCESSIVE)
def test_an_excessive_pickle_is_refused(case):
    with pytest.raises(LimitExceeded) as caught:
        index_of(checkpoint(EXCESSIVE[case]))
    assert len(str(caught.value)) < 400


def laughs(leaf: bytes, levels: int = 12) -> bytes:
    """Ten references to ten references to … ``leaf``."""
    parts = [leaf + b"q\x000"]
    parts += [
        b"(" + bytes([ord("h"), level]) * 10 + b"l" + bytes([ord("q"), level + 1]) + b"0" for level in range(levels)
    ]
    return b"".join(parts) + bytes([ord("h"), levels])


@pytest.mark.parametrize("leaf", [text("lol"), b"N", text("x" * 60_000)], ids=["text", "None", "long text"])
def test_billion_laughs_are_refused(leaf):
    with pytest.raises(LimitExceeded, match="unfold"):
        index_of(checkpoint(mapping(w=tensor(), bomb=laughs(leaf)) + b"."))


def test_shared_tensors_are_charged_for_each_place():
    with pytest.raises(LimitExceeded):
        index_of(checkpoint(b"(" + tensor() + b"q\x00" + b"h\x00" * limits.TENSORS + b"l."))


def test_a_key_that_python_s_own_unpickler_crashes_on_is_refused():
    with pytest.raises(MalformedCheckpoint, match="key"):
        index_of(checkpoint(b"}" + b")" + b"\x85" * 500_000 + b"Ns."))


def test_what_is_read_can_always_be_written():
    values = {
        "i": integer(2**3000),
        "f": b"G\x7f\xf8\x00\x00\x00\x00\x00\x00",
        "s": text("\ud800"),
        "k": b"}" + text("\ud800") + b"Ns",
    }
    index = index_of(checkpoint(mapping(w=tensor(), **values) + b"."))
    assert json.dumps(tensor_index_to_json(index), ensure_ascii=False).encode()


# -- archives that lie ------------------------------------------------------------------------------------

RECORDS = [("archive/data.pkl", mapping(w=tensor()) + b"."), ("archive/data/0", bytes(64)), ("archive/version", b"3\n")]


def patched(data: bytes, at: int, form: str, *values: object) -> bytes:
    raw = struct.pack(form, *values)
    return data[:at] + raw + data[at + len(raw) :]


def central(data: bytes, number: int = 0) -> int:
    """Where the directory's entry ``number`` starts."""
    at = -1
    for _ in range(number + 1):
        at = data.index(b"PK\x01\x02", at + 1)
    return at


def test_the_archive_that_the_next_tests_damage_reads():
    assert index_of(packed(RECORDS)).tensors[0].shape == (2,)


def archives() -> dict[str, bytes]:
    whole = packed(RECORDS)
    end = whole.index(b"PK\x05\x06")
    zip64 = saved({"w": torch.ones(2)})
    locator = zip64.index(b"PK\x06\x07")
    first_local_name = whole.index(b"archive/data/0")
    return {
        "cut in its end": whole[:-1],
        "cut in its directory": whole[: end - 10],
        "cut in its data": whole[:100],
        "bytes after its end": whole + b"x",
        "bytes before its start": b"PK\x03\x04" + whole,
        "more entries than it has": patched(whole, end + 8, "<2H", 4, 4),
        "fewer entries than it has": patched(whole, end + 8, "<2H", 2, 2),
        "entries here unlike entries": patched(whole, end + 8, "<2H", 3, 4),
        "another disk": patched(whole, end + 4, "<H", 1),
        "an entry on another disk": patched(whole, central(whole) + 34, "<H", 1),
        "a directory elsewhere": patched(whole, end + 16, "<L", 5),
        "an entry without its signature": patched(whole, central(whole), "<L", 0),
        "an entry longer than the directory": patched(whole, central(whole, 2) + 32, "<H", 999),
        "a record past the directory": patched(whole, central(whole) + 42, "<L", end),
        "two records at one place": patched(whole, central(whole, 1) + 42, "<L", 0),
        "a storage marked as a folder": patched(whole, central(whole, 1) + 38, "<L", 0x10),
        "a record longer than its room": patched(whole, central(whole, 1) + 20, "<2L", 9999, 9999),
        "a zip64 field that is missing": patched(whole, central(whole, 1) + 20, "<2L", 0xFFFFFFFF, 0xFFFFFFFF),
        "an encrypted record": patched(whole, central(whole, 1) + 8, "<H", 1),
        "a record encrypted only locally": patched(whole, first_local_name - 24, "<H", 1),
        "another local name": whole[:first_local_name] + b"archive/data/1" + whole[first_local_name + 14 :],
        "another local size": patched(whole, first_local_name - 12, "<2L", 9, 9),
        "no local header": patched(whole, first_local_name - 30, "<L", 0),
        "a local extra field over the data": patched(whole, first_local_name - 2, "<H", 40),
        "two records of one name": packed_twice("archive/data/0"),
        "two records of one name but for case": packed_twice("archive/DATA/0"),
        "a name that is not UTF-8": packed([*RECORDS, ("archive/\u00e9", b"")]).replace("é".encode(), b"\xff\xff"),
        "a deflated pickle": packed(RECORDS, method=zipfile.ZIP_DEFLATED),
        "a zip64 end record elsewhere": patched(zip64, locator + 8, "<Q", 7),
        "a zip64 end record past its locator": patched(zip64, locator + 8, "<Q", 1 << 40),
        "end records that disagree": patched(zip64, locator - 8, "<Q", 1),
        "no folder": packed([("data.pkl", b"}."), ("version", b"3")]),
    }


def packed_twice(other: str) -> bytes:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return packed([*RECORDS, (other, bytes(64))])


@pytest.mark.parametrize("case", archives())
def test_a_damaged_archive_is_refused(case):
    with pytest.raises(MalformedCheckpoint):
        index_of(archives()[case])


def test_an_entry_whose_sizes_and_place_are_in_its_zip64_field_is_read():
    whole = packed(RECORDS)
    entry, following, end = central(whole, 1), central(whole, 2), len(whole) - 22
    size, place = 64, struct.unpack_from("<L", whole, entry + 42)[0]
    extra = struct.pack("<2H2H", 0x9999, 4, 1, 2) + struct.pack("<2H3Q", 1, 24, size, size, place)
    wide = bytearray(whole[entry:following] + extra)
    struct.pack_into("<2L", wide, 20, 0xFFFFFFFF, 0xFFFFFFFF)
    struct.pack_into("<H", wide, 30, len(extra))
    struct.pack_into("<L", wide, 42, 0xFFFFFFFF)
    tail = bytearray(whole[end:])
    struct.pack_into("<L", tail, 12, end - central(whole) + len(extra))
    data = whole[:entry] + bytes(wide) + whole[following:end] + bytes(tail)
    assert index_of(data).storages == index_of(whole).storages
    cut_short = data.replace(
        struct.pack("<2H3Q", 1, 24, size, size, place), struct.pack("<2H3Q", 1, 8, size, size, place)
    )
    with pytest.raises(MalformedCheckpoint, match="zip64 field"):
        index_of(cut_short)


def test_an_archive_with_too_many_entries_is_refused():
    whole = packed(RECORDS)
    locator = struct.pack("<4sLQL", b"PK\x06\x07", 0, len(whole) - 22, 1)
    start, length = central(whole), len(whole) - 22 - central(whole)
    wide = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, 300_001, 300_001, length, start)
    end = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 0xFFFF, 0xFFFF, length, start, 0)
    with pytest.raises(MalformedCheckpoint, match="300,001 entries"):
        index_of(whole[:-22] + wide + locator + end)


def test_a_pickle_that_is_too_large_is_refused_before_it_is_read(tmp_path):
    path = tmp_path / "large.pth"
    with zipfile.ZipFile(path, "w") as archive, archive.open("archive/data.pkl", "w", force_zip64=True) as record:
        for _ in range(limits.PICKLE // 2**20 + 1):
            record.write(bytes(2**20))
    with path.open("rb") as file, pytest.raises(LimitExceeded, match=r"data\.pkl"):
        read_tensor_index(file, path.stat().st_size, Sha256("0" * 64))


def test_messages_show_no_untrusted_value_at_length():
    with pytest.raises(MalformedCheckpoint) as caught:
        index_of(checkpoint(tensor(stored=storage(key="\x1b[31m\n" + "k" * 5000)) + b"."))
    message = str(caught.value)
    assert message.isprintable()
    assert len(message) < 200
