"""Objects that are understood without their library, in every face: tree, JSON and client, and format=pth."""

from __future__ import annotations

import argparse
import collections
import datetime
import decimal
import enum
import fractions
import functools
import io
import pathlib
import pickle
import sys
import types
import uuid
import warnings
from typing import NamedTuple

import numpy
import pytest
import safetensors.torch
import torch

from formats.checkpoint_files import (
    checkpoint,
    digested,
    index_of,
    integer,
    mapping,
    name,
    rebuilt,
    rendered,
    saved,
    tensor,
    text,
    tuple_of,
)
from zooproxy.client.assembly import tree_from_json, tree_with_tensors
from zooproxy.errors import UnsupportedFormat
from zooproxy.formats import limits
from zooproxy.formats.safetensors_writer import safetensors_rendition
from zooproxy.formats.torch_zip_writer import pth_rendition
from zooproxy.formats.variants import refuse_odd_tensors, select_model
from zooproxy.wire import plain
from zooproxy.wire.plain import Inert
from zooproxy.wire.standard_types import revived

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # what mmengine's own imports warn of
    import addict
    from mmengine.config import Config, ConfigDict
    from mmengine.logging import HistoryBuffer

CHECKPOINTS = pathlib.Path(__file__).parent.parent / "data" / "checkpoints"
UTC = datetime.UTC
ELSEWHERE = datetime.timezone(datetime.timedelta(hours=5, minutes=45))

#: value -> (what the client gives, what format=pth gives)
KNOWN = {
    "float64": (numpy.float64(0.1), 0.1, 0.1),
    "float32": (numpy.float32(0.5), 0.5, 0.5),
    "float16": (numpy.float16(0.5), 0.5, 0.5),
    "int64": (numpy.int64(-3), -3, -3),
    "uint8": (numpy.uint8(200), 200, 200),
    "big-endian": (numpy.array(7, ">i4")[()], 7, 7),
    "bool": (numpy.bool_(True), True, True),
    "complex": (numpy.complex128(1 + 2j), 1 + 2j, 1 + 2j),
    "str": (numpy.str_("\u00fcx"), "\u00fcx", "\u00fcx"),
    "bytes": (numpy.bytes_(b"ab"), b"ab", b"ab"),
    "datetime": (datetime.datetime(2020, 1, 2, 3, 4, 5, 6), None, "2020-01-02T03:04:05.000006"),  # noqa: DTZ001
    "datetime in UTC": (datetime.datetime(2020, 1, 2, tzinfo=UTC), None, "2020-01-02T00:00:00+00:00"),
    "datetime elsewhere": (datetime.datetime(2020, 1, 2, tzinfo=ELSEWHERE), None, "2020-01-02T00:00:00+05:45"),
    "date": (datetime.date(2020, 1, 2), None, "2020-01-02"),
    "time": (datetime.time(1, 2, 3, tzinfo=ELSEWHERE), None, "01:02:03+05:45"),
    "timedelta": (datetime.timedelta(days=1, microseconds=5), None, 86400.000005),
    "path": (pathlib.PurePosixPath("/a/b"), None, "/a/b"),
    "this system's path": (pathlib.Path("a/b.py"), pathlib.PurePath("a/b.py"), "a/b.py"),
    "windows path": (pathlib.PureWindowsPath("C:/a"), None, "C:\\a"),
    "Namespace": (argparse.Namespace(lr=0.1, steps=[1]), None, {"lr": 0.1, "steps": [1]}),
    "SimpleNamespace": (types.SimpleNamespace(lr=0.1), argparse.Namespace(lr=0.1), {"lr": 0.1}),
    "Config": (Config({"a": 1, "b": {"c": [2, {"d": 3}]}}), {"a": 1, "b": {"c": [2, {"d": 3}]}}, None),
    "ConfigDict": (ConfigDict(a=1, b={"c": 2}), {"a": 1, "b": {"c": 2}}, {"a": 1, "b": {"c": 2}}),
    "addict": (addict.Dict(a=1, b={"c": 2}), {"a": 1, "b": {"c": 2}}, {"a": 1, "b": {"c": 2}}),
    "empty addict": (addict.Dict(), {}, {}),
    "Decimal": (decimal.Decimal("-1.50E+3"), None, "-1.50E+3"),
    "Decimal without end": (decimal.Decimal("-Infinity"), None, "-Infinity"),
    "Fraction": (fractions.Fraction(-3, 4), None, "-3/4"),
    "UUID": (uuid.UUID(int=7), None, "00000000-0000-0000-0000-000000000007"),
    "range": (range(1, 9, 2), None, {"__type__": "builtins.range", "args": (1, 9, 2)}),
    "slice": (slice(None, 3, None), None, {"__type__": "builtins.slice", "args": (None, 3, None)}),
    "deque": (collections.deque([1, "a"], 5), None, [1, "a"]),
    "empty deque": (collections.deque(), None, []),
    "Counter": (collections.Counter("aab"), {"a": 2, "b": 1}, {"a": 2, "b": 1}),
    "complex number": (1 - 2j, None, None),
    "frozenset": (frozenset({1, 2}), None, {1, 2}),
    "device": (torch.device("cuda:1"), None, "cuda:1"),
    "dtype": (torch.bfloat16, None, None),
    "Size": (torch.Size([2, 3]), (2, 3), (2, 3)),
    "defaultdict": (collections.defaultdict(list, a=[1]), {"a": [1]}, {"a": [1]}),
}


def client_s(data: bytes) -> object:
    """What the client makes of the index's JSON; what it makes of the index itself must be the same."""
    index = index_of(data)
    assert not index.tensors
    return tree_from_json(plain.to_json(index.tree), []), tree_with_tensors(index.tree, [])


def safely(data: bytes) -> object:
    return torch.load(io.BytesIO(rendered(pth_rendition(digested(data)), data)), weights_only=True)


@pytest.mark.parametrize("protocol", [0, 1, 2, 4, 5])
@pytest.mark.parametrize("case", KNOWN)
def test_a_known_object_has_its_value_in_every_face(case, protocol):
    value, in_client, in_pth = KNOWN[case]
    data = saved({"x": value}, pickle_protocol=protocol)
    expected = value if in_client is None else in_client
    for given in client_s(data):
        assert given == {"x": expected}
        assert type(given["x"]) is type(expected) or isinstance(expected, pathlib.PurePath)
    assert safely(data) == {"x": expected if in_pth is None else in_pth}
    assert set(index_of(data).dropped) <= {"torch.device", "torch.bfloat16"}


ARRAYS = {
    "row-major": numpy.arange(6, dtype="<f4").reshape(2, 3),
    "column-major": numpy.asfortranarray(numpy.arange(6, dtype="<i8").reshape(2, 3)),
    "big-endian": numpy.arange(6, dtype=">f4"),
    "big-endian complex": numpy.arange(3, dtype=">c8"),
    "column-major in three dimensions": numpy.asfortranarray(numpy.arange(24, dtype="<u2").reshape(2, 3, 4)),
    "empty": numpy.zeros((0, 3), "<f8"),
    "scalar": numpy.array(3, "<i4"),
    "bool": numpy.array([True, False]),
    "long": numpy.arange(20_000, dtype="<f4"),
    "zeros, which are text too": numpy.zeros(40, "<f4"),
}


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
@pytest.mark.parametrize("case", ARRAYS)
def test_an_array_becomes_a_tensor_in_every_face(case, protocol):
    array = ARRAYS[case]
    data = saved({"x": array}, pickle_protocol=protocol)
    index = index_of(data)
    in_place = rebuilt(index, data)["x"]
    here = in_place if isinstance(in_place, torch.Tensor) else tree_with_tensors(index.tree, [])["x"]
    assert isinstance(in_place, torch.Tensor) or protocol == 2 or "big-endian" in case or "empty" in case
    there = safely(data)["x"]
    expected = torch.from_numpy(array.astype(array.dtype.newbyteorder("=")))
    for given in (here, there):
        assert given.dtype is expected.dtype
        assert torch.equal(given, expected)
    assert index.dropped == ()


def test_an_array_too_long_for_the_tree_is_named_and_refused_by_what_has_tensors_only(monkeypatch):
    monkeypatch.setattr(limits, "TEXT_IN_TREE", 1000)
    index = index_of(saved({"state_dict": {"x": numpy.arange(40_000.0)}}, pickle_protocol=2))
    assert index.dropped == ("numpy.ndarray, not read",)
    with pytest.raises(UnsupportedFormat, match=r"state_dict\.x"):
        refuse_odd_tensors(index)


def test_arrays_of_objects_and_texts_stay_inert():
    tree = index_of(saved({"o": numpy.array(["a", None], object), "u": numpy.array(["a", "b"])})).tree
    assert {tree[key].type_name.rpartition(".")[2] for key in "ou"} == {"_reconstruct"}


def test_a_history_buffer_keeps_its_numbers_and_loses_its_functions():
    data = saved({"loss": HistoryBuffer([1.0, 2.0], [1, 1])})
    (given, _) = client_s(data)  # which has mmengine
    assert type(given["loss"]) is HistoryBuffer
    assert given["loss"].data[0].tolist() == [1.0, 2.0]
    there = safely(data)["loss"]
    assert there["__type__"].endswith("HistoryBuffer")
    assert there["state"]["_log_history"].tolist() == [1.0, 2.0]


def test_many_known_objects_keep_each_its_own_values():
    value = {
        f"x{number}": [HistoryBuffer([float(number)], [1]), datetime.timedelta(number), ConfigDict(n=number)]
        for number in range(50)
    }
    (given, _) = client_s(saved(value))
    for number in range(50):
        history, delta, config = given[f"x{number}"]
        assert history.data[0].tolist() == [float(number)]
        assert (delta, config) == (datetime.timedelta(number), {"n": number})


class Colour(enum.Enum):
    RED = 3


class Level(enum.IntEnum):
    LOW = 1


class Way(enum.Flag):
    IN = 1
    OUT = 2


class Point(NamedTuple):
    x: int
    y: tuple[int, int]


class Pair(tuple):
    """A tuple, and no named one."""


class Outer:
    class Inner(enum.Enum):
        ONE = "one"


SHAPES = (Colour, Level, Way, Point, Pair, Outer)
INSTANCES = {
    "colour": Colour.RED,
    "level": Level.LOW,
    "way": Way.OUT,
    "point": Point(1, (2, 3)),
    "inner": Outer.Inner.ONE,
}


@pytest.fixture
def shapes(monkeypatch):
    """The module that the types above say they come from, imported."""
    module = types.ModuleType("shapes")
    for kind in SHAPES:
        monkeypatch.setattr(kind, "__module__", "shapes")
        setattr(module, kind.__name__, kind)
    monkeypatch.setattr(Outer.Inner, "__module__", "shapes")
    monkeypatch.setitem(sys.modules, "shapes", module)
    return module


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
def test_enums_and_named_tuples_keep_their_type_s_name_and_arguments(shapes, protocol):
    tree = index_of(saved(INSTANCES, pickle_protocol=protocol)).tree
    assert tree == {
        "colour": Inert("shapes.Colour", (3,)),
        "level": Inert("shapes.Level", (1,)),
        "way": Inert("shapes.Way", (2,)),
        "point": Inert("shapes.Point", (1, (2, 3))),
        "inner": Inert("shapes.Outer.Inner", ("one",)),
    }


@pytest.mark.parametrize("protocol", [0, 2, 5])
def test_enums_and_named_tuples_are_themselves_where_the_program_has_their_type(shapes, monkeypatch, protocol):
    data = saved(INSTANCES, pickle_protocol=protocol)
    for given in client_s(data):
        assert given == INSTANCES
        assert type(given["point"]) is Point
    monkeypatch.delitem(sys.modules, "shapes")
    for given in client_s(data):
        assert all(isinstance(value, Inert) for value in given.values())
    assert "shapes" not in sys.modules
    assert safely(data)["colour"] == {"__type__": "shapes.Colour", "args": (3,)}


def test_an_enum_s_member_by_its_name_is_a_name(shapes):
    """As Python 3.11.0 to 3.11.3 write it."""
    by_name = name("builtins.getattr") + tuple_of(name("shapes.Colour"), text("RED")) + b"R"
    data = checkpoint(mapping(x=by_name, y=by_name.replace(b"RED", b"TEN")) + b".")
    assert index_of(data).tree["x"] == Inert("shapes.Colour.RED", None)
    for given in client_s(data):
        assert given == {"x": Colour.RED, "y": Inert("shapes.Colour.TEN", None)}


MISTAKEN = {
    "no member of that value": Inert("shapes.Colour", (4,)),
    "a value that cannot be looked up": Inert("shapes.Colour", ([],)),
    "two values": Inert("shapes.Colour", (1, 2)),
    "an enum with a state": Inert("shapes.Colour", (3,), {"a": 1}),
    "a combination that was never made": Inert("shapes.Way", (7,)),
    "too few items": Inert("shapes.Point", (1,)),
    "a tuple without names": Inert("shapes.Pair", ((1, 2),)),
    "a type that is neither": Inert("shapes.Outer", ()),
    "a name that leads nowhere": Inert("shapes.No.Colour", (3,)),
    "an attribute of an instance": Inert("shapes.instance.RED", None),
    "a module": Inert("shapes", None),
    "a tuple that C has made": Inert("time.struct_time", tuple(range(9))),
    "a function": Inert("os.system", ("exit 1",)),
    "a class that is called": Inert("subprocess.Popen", ("exit 1",)),
    "nothing's attribute": Inert("no_such_module.Colour", (3,)),
}


@pytest.mark.parametrize("case", MISTAKEN)
def test_what_only_looks_like_an_enum_or_a_named_tuple_stays_inert(shapes, case):
    shapes.instance = Colour.RED
    assert tree_with_tensors({"x": MISTAKEN[case]}, [])["x"] is not None
    assert tree_with_tensors({"x": MISTAKEN[case]}, [])["x"] == MISTAKEN[case]


def test_a_partial_and_other_callables_stay_inert():
    tree = index_of(saved({"p": functools.partial(print, 1), "f": len, "t": int})).tree
    assert tree["p"].type_name == "functools.partial"
    assert (tree["f"], tree["t"]) == (Inert("builtins.len", None), Inert("builtins.int", None))


@pytest.mark.parametrize("library", ["easydict.EasyDict", "yacs.config.CfgNode", "mmcv.utils.config.ConfigDict"])
def test_a_library_s_mapping_is_a_mapping(library):
    """With its state beside its items, as a subclass of dict is pickled."""
    made = name(library) + b")\x81" + b"(" + text("lr") + b"K\x01u" + b"}" + text("lr") + b"K\x01sb"
    for given in client_s(checkpoint(mapping(x=made) + b".")):
        assert given == {"x": {"lr": 1}}


def test_mmcv_s_config_of_version_1_is_its_mapping():
    """``Config.__getstate__``: the mapping, the file's name, its text."""
    inner = name("mmcv.utils.config.ConfigDict") + b")\x81(" + text("lr") + b"K\x01u"
    made = name("mmcv.utils.config.Config") + b")\x81" + tuple_of(inner, text("a.py"), text("lr = 1")) + b"b"
    for given in client_s(checkpoint(mapping(x=made) + b".")):
        assert given == {"x": {"lr": 1}}


def call(function: str, *arguments: bytes, state: bytes = b"") -> bytes:
    return name(function) + tuple_of(*arguments) + b"R" + (state + b"b" if state else b"")


DTYPE = call("numpy.dtype", text("f4"), state=tuple_of(b"K\x03", text("<")))
MISMADE = {
    "datetime": call("datetime.datetime", b"C\x03abc"),
    "datetime of numbers": call("datetime.datetime", b"K\x01"),
    "datetime without": call("datetime.datetime"),
    "datetime somewhere": call("datetime.datetime", b"C\x0a\x07\xe4\x01\x02\x03\x04\x05\0\0\0", text("x")),
    "datetime far off": call(
        "datetime.datetime",
        b"C\x0a\x07\xe4\x01\x02\x03\x04\x05\0\0\0",
        call("datetime.timezone", call("datetime.timedelta", b"K\x09", b"K\0", b"K\0")),
    ),
    "date": call("datetime.date", b"N"),
    "time": call("datetime.time", b"C\x06\xff\xff\xff\xff\xff\xff"),
    "timedelta": call("datetime.timedelta", b"\x8a\x08" + b"\xff" * 7 + b"\x7f"),
    "path": call("pathlib.PosixPath", b"K\x01"),
    "namespace": call("argparse.Namespace", state=b"K\x01"),
    "namespace of numbers": call("argparse.Namespace", state=b"}K\x01Ns"),
    "decimal of letters": call("decimal.Decimal", text("one")),
    "decimal of a number": call("decimal.Decimal", b"K\x01"),
    "decimal of many digits": call("decimal.Decimal", text("1" * 1001)),
    "fraction over nothing": call("fractions.Fraction", text("1/0")),
    "fraction of floats": call("fractions.Fraction", b"G\0\0\0\0\0\0\0\0", b"K\x01"),
    "uuid without": call("uuid.UUID", state=b"}"),
    "uuid too long": call("uuid.UUID", state=mapping(int=integer(2**128))),
    "uuid below nothing": call("uuid.UUID", state=mapping(int=integer(-1))),
    "range of texts": call("builtins.range", text("a"), b"K\x01", b"K\x01"),
    "slice of two": call("builtins.slice", b"N", b"N"),
    "deque of a number": call("collections.deque", b"K\x01"),
    "deque of a negative length": call("collections.deque", b")", b"J\xff\xff\xff\xff"),
    "attribute of a number": call("builtins.getattr", b"K\x01", text("real")),
    "attribute that is no name": call("builtins.getattr", name("a.B"), text("a b")),
    "instance of a number": call("copyreg._reconstructor", b"K\x01", b"K\x01", b"N"),
    "config": call("mmengine.config.config.Config", state=b")"),
    "config of text": call("mmengine.config.config.Config", state=tuple_of(text("a"))),
    "config dict": call("mmengine.config.config.ConfigDict", text("a")),
    "history": call("mmengine.logging.history_buffer.HistoryBuffer", state=b"K\x01"),
    "scalar too short": call("numpy.core.multiarray.scalar", DTYPE, b"C\x01a"),
    "scalar of nothing": call("numpy.core.multiarray.scalar", b"N", b"C\x01a"),
    "scalar of a number": call("numpy.core.multiarray.scalar", DTYPE, b"K\x01"),
    "scalar of half a character": call(
        "numpy.core.multiarray.scalar",
        call("numpy.dtype", text("U1"), state=tuple_of(b"K\x03", text("<"))),
        b"C\x04\xff\xff\xff\xff",
    ),
    "array too short": call(
        "numpy.core.multiarray._reconstruct",
        state=tuple_of(b"K\x01", tuple_of(b"K\x02"), DTYPE, b"\x89", b"C\x04abcd"),
    ),
    "array of a negative shape": call(
        "numpy.core.multiarray._reconstruct",
        state=tuple_of(b"K\x01", tuple_of(b"J\xff\xff\xff\xff"), DTYPE, b"\x89", b"C\x04abcd"),
    ),
    "array of its own name": name("numpy.ndarray") + tuple_of(text("float32"), tuple_of(b"K\x01"), b"N") + b"R",
    "array of nothing": call("numpy._core.numeric._frombuffer", b"N", b"N", b"N", b"N"),
}


@pytest.mark.parametrize("case", MISMADE)
def test_an_object_that_its_type_would_not_build_stays_inert(case):
    index = index_of(checkpoint(mapping(w=tensor(), x=MISMADE[case]) + b"."))
    assert isinstance(index.tree["x"], Inert)
    assert index.dropped
    tree_with_tensors(index.tree, [torch.ones(1)] * len(index.tensors))


@pytest.mark.parametrize(
    "value",
    [
        Inert("datetime.date", ("never",)),
        Inert("datetime.date", (1, 2, 3)),
        Inert("argparse.Namespace", (), {1: 2}),
        Inert("pathlib.PurePosixPath", (1,)),
        Inert("datetime.timedelta", None),
        Inert("numpy.ndarray", ("float32", (3,), b"abcd")),
        Inert("numpy.ndarray", (1,)),
        Inert("numpy.ndarray", ("float32", ("a",), b"abcd")),
        Inert("numpy.ndarray", ("text", (1,), b"abcd")),
        Inert("numpy.ndarray", ("float32", (1,), Inert("a.B"))),
        Inert("some.Other", ("2020-01-02",)),
    ],
)
def test_an_inert_value_that_only_has_the_name_stays_inert(value):
    assert revived(value) is value
    assert tree_with_tensors({"x": value}, [])["x"] == value


def test_a_namespace_with_names_of_python_s_own_stays_data():
    made = revived(Inert("argparse.Namespace", (), {"__class__": 1, "__dict__": 2}))
    assert type(made) is argparse.Namespace
    assert vars(made) == {"__class__": 1, "__dict__": 2}


def test_python_2_s_arrays_lie_in_place():
    """cPickle of Python 2 writes an array's bytes as a string, which is text where it happens to be UTF-8."""
    raw = bytes(range(16))
    dtype = call("numpy.dtype", b"U\x02f4", b"K\0", b"K\1", state=tuple_of(b"K\x03", b"U\x01<"))
    array = call(
        "numpy.core.multiarray._reconstruct",
        name("numpy.ndarray"),
        tuple_of(b"K\0"),
        b"U\x01b",
        state=tuple_of(b"K\x01", tuple_of(b"K\x04"), dtype, b"\x89", b"U\x10" + raw),
    )
    data = b"\x80\x02}U\x01w" + array + b"s."
    index = index_of(data)
    (row,), (storage,) = index.tensors, index.storages
    assert (index.container, row.name, row.dtype, row.shape) == ("pickle", "w", "float32", (4,))
    assert data[storage.offset : storage.offset + storage.size] == raw


@pytest.mark.parametrize("protocol", [0, 1, 2])
def test_what_python_2_pickled_reads_as_numpy_reads_it(protocol):
    """Arrays and values as Caffe2 and Detectron dump them."""
    data = (CHECKPOINTS / f"python-2-protocol-{protocol}.pkl").read_bytes()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # numpy's, of dtypes as its old versions wrote them
        theirs = pickle.loads(data, encoding="latin1")
    index = index_of(data)
    assert (index.container, index.dropped) == ("pickle", ())
    assert bool(index.tensors) == (protocol > 0)  # protocol 0 escapes bytes, so no range has them
    ours = tree_with_tensors(rebuilt(index, data), [])
    assert list(ours) == list(theirs)
    arrays = {key: value for key, value in theirs["blobs"].items() if isinstance(value, numpy.ndarray)}
    assert all(torch.equal(ours["blobs"][key], torch.from_numpy(value)) for key, value in arrays.items())
    assert all(ours["blobs"][key] == theirs["blobs"][key] for key in ("scalar", "u"))
    assert ours["cfg"].decode("latin1") == theirs["cfg"]  # a text that is no UTF-8 stays bytes
    assert [ours[key] for key in ("od", "when", "s")] == [theirs[key] for key in ("od", "when", "s")]


def test_an_array_of_protocol_0_too_long_for_the_tree_is_refused_by_name(monkeypatch):
    monkeypatch.setattr(limits, "QUOTED", 100)
    data = (CHECKPOINTS / "python-2-protocol-0.pkl").read_bytes()
    with pytest.raises(UnsupportedFormat, match=r"blobs\.\w+"):
        refuse_odd_tensors(index_of(data))


@pytest.mark.parametrize("protocol", [2, 4])
def test_arrays_that_no_range_describes_are_tensors_of_a_safetensors_file(protocol):
    arrays = {"w": numpy.arange(6.0).reshape(2, 3), "b": numpy.arange(3, dtype=">f4"), "h": numpy.ones(2, "<f2")}
    data = saved({"state_dict": arrays, "extra": [torch.ones(2)], "a": numpy.ones(1)}, pickle_protocol=protocol)
    index = index_of(data)
    given = safetensors.torch.load(rendered(safetensors_rendition(index), data))
    assert sorted(given) == ["a", "b", "extra.0", "h", "w"]
    for key, array in arrays.items():
        assert torch.equal(given[key], torch.from_numpy(array.astype(array.dtype.newbyteorder("="))))


def test_an_array_that_safetensors_has_no_dtype_for_is_refused_by_name():
    data = saved({"w": numpy.ones(2, ">c16")})
    with pytest.raises(UnsupportedFormat, match="'w' is of dtype complex128"):
        safetensors_rendition(index_of(data))


def test_a_prefix_selects_arrays_that_no_range_describes():
    index = select_model(index_of(saved({"a.w": numpy.ones(2, ">f4"), "b.w": numpy.ones(2)})), recipe=None, prefix="a")
    assert list(index.tree) == ["w"]


def test_a_pickle_of_arrays_reads_bit_equal_and_becomes_safetensors():
    value = {"conv1_w": numpy.arange(30_000, dtype="<f4").reshape(3, -1), "conv1_b": numpy.ones(3, "<f4")}
    data = pickle.dumps(value, 4)
    given = safetensors.torch.load(rendered(safetensors_rendition(index_of(data)), data))
    assert all(torch.equal(given[key], torch.from_numpy(value[key])) for key in value)
