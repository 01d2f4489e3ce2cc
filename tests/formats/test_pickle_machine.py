"""The machine gives what Python's own unpickler gives, wherever that builds plain values."""

from __future__ import annotations

import pickle
import pickletools
from collections import OrderedDict

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zooproxy.errors import LimitExceeded, MalformedCheckpoint
from zooproxy.formats import limits
from zooproxy.formats.pickle_machine import PickleMachine
from zooproxy.formats.pickle_opcodes import run_pickle
from zooproxy.formats.pickle_values import Elided, Global, Placeholder, SetNode
from zooproxy.formats.torch_rebuilds import REBUILDS


def run(data: bytes, start: int = 0):
    def refuse(saved_id):
        raise AssertionError("no persistent id is expected")

    return run_pickle(PickleMachine(data, REBUILDS, refuse), start)


def plain(value):
    """The machine's sets as Python's."""
    if isinstance(value, SetNode):
        return frozenset(value.members) if value.frozen else set(value.members)
    if isinstance(value, (list, tuple)):
        return type(value)(map(plain, value))
    if isinstance(value, dict):
        return type(value)((key, plain(item)) for key, item in value.items())
    return value


texts = st.text(st.characters(codec="utf-8"))
atoms = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.floats(allow_nan=False),
    texts,
    st.binary(),
    st.complex_numbers(allow_nan=False),
)
keys = st.one_of(texts, st.integers(-(2**62), 2**62), st.none(), st.tuples(texts, st.booleans()))
values = st.recursive(
    st.one_of(atoms, st.sets(texts), st.frozensets(st.integers(0, 99)), st.binary().map(bytearray)),
    lambda inner: st.one_of(
        st.lists(inner),
        st.lists(inner).map(tuple),
        st.dictionaries(keys, inner),
        st.dictionaries(keys, inner).map(OrderedDict),
    ),
    max_leaves=15,
)


@given(values, st.integers(0, 5))
def test_plain_values_of_every_protocol_are_read_as_python_reads_them(value, protocol):
    data = pickle.dumps(value, protocol)
    read, end = run(data)
    assert plain(read) == value
    assert end == len(data)


@given(st.lists(values, max_size=4), st.binary(max_size=10))
def test_pickles_in_a_row_are_read_one_by_one(row, after):
    data = b"".join(pickle.dumps(value) for value in row) + after
    at = 0
    for value in row:
        read, at = run(data, at)
        assert plain(read) == value
    assert data[at:] == after


def test_shared_and_self_containing_values_keep_their_identity():
    shared: list[object] = []
    looped: list[object] = [shared, shared]
    looped.append(looped)
    read, _ = run(pickle.dumps(looped))
    assert read[0] is read[1]
    assert read[2] is read


@pytest.mark.parametrize(
    "data",
    [
        b"(lp0\nI1\nag0\n0.",  # protocol 0: list, PUT, GET, POP
        b"(I01\nI00\nI-5\nL12L\nL-7\nF1.5\nF-inf\nt.",
        b"(S'abc'\nS\"it's\"\nVsn\\u00f6w\nt.",
        b"(T\x03\x00\x00\x00abcU\x02hit.",
        b"(K\x01(K\x02K\x031t.",  # POP_MARK
        b"(K\x010(0t.",  # POP of a mark
        b"K\x012\x86.",  # DUP
        b"](K\x01K\x02e.",
        b"(K\x01K\x02d.",
        b"(K\x01K\x02l.",
        b"\x8a\x00.",
        b"\x8b\x02\x00\x00\x00\xff\x7f.",
        b"K\x07r\x00\x01\x00\x00j\x00\x01\x00\x00\x86.",  # LONG_BINPUT, LONG_BINGET
        b"\x8d\x02\x00\x00\x00\x00\x00\x00\x00ab.",
        b"\x8e\x02\x00\x00\x00\x00\x00\x00\x00ab.",
        b"\x96\x02\x00\x00\x00\x00\x00\x00\x00ab.",
    ],
)
def test_hand_made_opcodes_are_read_as_python_reads_them(data):
    read, _ = run(data)
    expected = pickle.loads(data, encoding="utf-8")
    assert plain(read) == expected


REFUSED = {"PERSID", "EXT1", "EXT2", "EXT4", "NEXT_BUFFER", "READONLY_BUFFER"}


@pytest.mark.parametrize("opcode", pickletools.opcodes, ids=lambda opcode: opcode.name)
def test_every_opcode_of_python_is_known_but_those_that_no_checkpoint_has(opcode):
    refused = "is no opcode" in _refusal(opcode.code.encode("latin-1"))
    assert refused == (opcode.name in REFUSED)


def _refusal(data: bytes) -> str:
    """The words of the refusal, empty where there is none."""
    try:
        run(data)
    except MalformedCheckpoint as error:
        return str(error)
    return ""


def test_python_2_text_that_is_no_utf_8_stays_bytes():
    assert run(b"U\x02\xff\xfe.")[0] == b"\xff\xfe"


def test_long_strings_stay_where_they_lie():
    data = pickle.dumps("x" * (limits.STRING_IN_PLACE + 1), 3)
    read, _ = run(data)
    assert read == Elided("builtins.str", 7, limits.STRING_IN_PLACE + 1)


@pytest.mark.parametrize("text", ["x" * 60_000, "x" * 20_000 + "\N{GRINNING FACE}"])
def test_strings_end_at_their_budget(text):
    count = limits.STRINGS // 60_000 + 1
    data = b"".join([b"(", *[pickle.dumps(f"{at}{text}", 3)[2:-1] for at in range(count)], b"l."])
    with pytest.raises(LimitExceeded, match="strings"):
        run(data)


@pytest.mark.parametrize(
    ("call", "args"),
    [
        ("collections.defaultdict", (1, 2)),
        ("builtins.complex", ("1",)),
        ("builtins.bytearray", (5,)),
        ("_codecs.encode", ("a", "rot13")),
        ("collections.OrderedDict", ({},)),
        ("builtins.set", (1,)),
    ],
)
def test_a_known_name_with_other_arguments_stays_inert(call, args):
    module, _, name = call.rpartition(".")
    data = b"".join([b"c", module.encode(), b"\n", name.encode(), b"\n", pickle.dumps(args, 2)[2:-1], b"R."])
    read, _ = run(data)
    assert isinstance(read, Placeholder)
    assert (read.type_name, read.args) == (call, args)


def test_text_that_does_not_fit_latin_1_is_refused_where_bytes_are_meant():
    with pytest.raises(MalformedCheckpoint):
        run(b"c_codecs\nencode\n" + pickle.dumps(("\u20ac", "latin1"), 2)[2:-1] + b"R.")


def test_keywords_of_a_new_object_are_kept():
    read, _ = run(b"ca\nB\n)}X\x01\x00\x00\x00kK\x01s\x92.")
    assert read.args == ({"k": 1},)


def test_ordered_mapping_made_as_an_instance_is_a_mapping():
    assert run(b"ccollections\nOrderedDict\n)\x81.")[0] == OrderedDict()


def test_a_name_is_a_value():
    assert run(b"cos\nsystem\n.")[0] == Global("os.system")


def test_nothing_but_malformed_or_excessive_leaves_the_machine():
    for code in range(256):
        for argument in (b"", b"\n\n", b"\xff" * 9, bytes(9), b"(]}K\x01"):
            try:
                run(bytes([code]) + argument + b".")
            except (MalformedCheckpoint, LimitExceeded):
                continue
