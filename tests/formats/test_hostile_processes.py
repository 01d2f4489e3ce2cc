"""The hostile files of these tests, each read and rendered in a process of its own, under 200 MB and 3 seconds.

Each ends in the error that it has a name for, or is read; none crashes, and nothing that one names is run.
"""

from __future__ import annotations

import json
import os
import pathlib
import subprocess
import sys

import pytest

from formats import test_hostile, test_known_objects, test_safetensors_reader, test_torch_legacy
from formats.checkpoint_files import checkpoint, mapping, name, packed, tensor, text, tuple_of

RUNNER = pathlib.Path(__file__).parent / "hostile_runner.py"
REFUSED = {"MalformedCheckpoint", "LimitExceeded", "UnsupportedFormat"}


def canaries(ran: pathlib.Path) -> dict[str, bytes]:
    """Every opcode that can call something, asked to make the file ``ran``."""
    call = text(f"touch {ran}")
    system = name("os.system")
    stacked = text("posix") + text("system") + b"\x93"
    ways = {
        "reduce": system + tuple_of(call) + b"R",
        "reduce by stack": stacked + tuple_of(call) + b"R",
        "newobj": name("subprocess.Popen") + tuple_of(call) + b"\x81",
        "newobj ex": name("subprocess.Popen") + tuple_of(call) + b"}\x92",
        "inst": b"(" + call + b"ios\nsystem\n",
        "obj": b"(" + system + call + b"o",
        "build": name("a.B") + b")R" + mapping(__setstate__=system) + b"b" + call + b"0",
        "eval": name("builtins.eval") + tuple_of(text(f"open({str(ran)!r}, 'w')")) + b"R",
        "python 2": name("__builtin__.eval") + tuple_of(text(f"open({str(ran)!r}, 'w')")) + b"R",
        "look-alike": name("o\u0455.system") + tuple_of(call) + b"R",
        "through a partial": name("functools.partial") + tuple_of(system, call) + b"R)R",
        "through map": name("builtins.map") + tuple_of(system, tuple_of(call)) + b"R",
        "torch's loader of bytes": name("torch.storage._load_from_bytes") + tuple_of(b"C\x03abc") + b"R",
        "a rebuild of a call": name("torch._tensor._rebuild_from_type_v2")
        + tuple_of(system, name("torch.Tensor"), tuple_of(call), b"}")
        + b"R",
        "numpy's": name("numpy.core.multiarray._reconstruct") + tuple_of(system, tuple_of(call), b"C\x01b") + b"R",
        "an attribute that is called": name("builtins.getattr") + tuple_of(name("os.path"), text("os")) + b"R)R",
        "an attribute of a call": name("builtins.getattr")
        + tuple_of(system + tuple_of(call) + b"R", text("real"))
        + b"R",
        "copyreg": name("copyreg._reconstructor") + tuple_of(system, name("builtins.object"), b"N") + b"R" + b"}b",
        "copyreg of a tuple": name("copy_reg._reconstructor")
        + tuple_of(system, name("builtins.tuple"), tuple_of(call))
        + b"R",
        "a known type's argument": name("pathlib.PosixPath") + tuple_of(system + tuple_of(call) + b"R") + b"R",
    }
    return {
        f"{way}{where}": made
        for way, pickled in ways.items()
        for where, made in (
            (" in a zip", checkpoint(mapping(w=tensor(), x=pickled) + b".")),
            (" in a pickle", b"\x80\x02" + mapping(x=pickled) + b"."),
            (" in a legacy file", test_torch_legacy.by_hand(mapping(w=test_torch_legacy.WEIGHT, x=pickled))),
        )
    }


def mislabelled() -> dict[str, bytes]:
    """Files that are one thing by their name or their beginning and another inside."""
    pickled = b"\x80\x02" + mapping(w=tensor()) + b"."
    return {
        "a zip that ends as a pickle": checkpoint(pickled) + b".",
        "a pickle with a zip behind it": b"\x80\x02}." + checkpoint(pickled),
        "a zip within a zip": packed([("inner.zip", checkpoint(pickled))]),
        "safetensors with a pickle for a header": (20).to_bytes(8, "little") + b"{\x80\x02cos\nsystem\n" + bytes(30),
        "a legacy file of one header": test_torch_legacy.HEADER[:20],
        "a legacy file without an object": test_torch_legacy.HEADER,
    }


@pytest.fixture(scope="module")
def ran(tmp_path_factory):
    return tmp_path_factory.mktemp("canary") / "ran"


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory, ran):
    folder = tmp_path_factory.mktemp("hostile")
    expected: dict[str, set[str]] = {}

    def put(case: str, data: bytes, among: set[str]) -> None:
        number = f"{len(expected):03}"
        expected[f"{number} {case}".replace("/", "_")] = among
        (folder / f"{number} {case}".replace("/", "_")).write_bytes(data)

    for case, pickled in test_hostile.MALFORMED.items():
        put(case, checkpoint(b"\x80\x02" + pickled), {"MalformedCheckpoint"})
        put(f"{case} in a legacy file", test_torch_legacy.by_hand(pickled), {"MalformedCheckpoint"})
    for case, pickled in test_hostile.EXCESSIVE.items():
        put(case, checkpoint(pickled), REFUSED)
    for case, data in test_hostile.archives().items():
        put(case, data, {"MalformedCheckpoint"})
    for case, data in test_torch_legacy.LIES.items():
        put(case, data, {"MalformedCheckpoint"})
    for case, (data, error) in test_safetensors_reader.REFUSED.items():
        put(case, data, {error.__name__, "MalformedCheckpoint"})
    for case, pickled in test_known_objects.MISMADE.items():
        put(case, checkpoint(mapping(w=tensor(), x=pickled) + b"."), {"read"})
    for case, data in canaries(ran).items():
        put(case, data, REFUSED | {"read"})
    for case, data in mislabelled().items():
        put(case, data, REFUSED)
    # Not measured for coverage: the limits are for the reader, not for what watches it.
    environment = {name: value for name, value in os.environ.items() if not name.startswith("COVERAGE")}
    command = [sys.executable, RUNNER, folder]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    return {case: (expected[case], *outcome) for case, outcome in json.loads(done.stdout).items()}


def test_each_file_ends_in_its_named_error_or_is_read(outcomes):
    assert len(outcomes) > 200
    assert {case: said for case, (among, said, _, _) in outcomes.items() if said not in among} == {}


def test_each_file_takes_less_than_3_seconds_and_200_megabytes(outcomes):
    assert {case: figures for case, (_, _, *figures) in outcomes.items() if figures[0] > 3 or figures[1] > 200} == {}


def test_nothing_that_a_file_names_was_run(outcomes, ran):
    assert outcomes
    assert not ran.exists()
