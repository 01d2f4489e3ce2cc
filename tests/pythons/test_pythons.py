"""Every CPython from 3.9 to 3.13 reads checkpoints with its standard library alone, and what each of them and 3.8
pickles is understood. Interpreters are found on PATH or where pyenv keeps them."""

from __future__ import annotations

import base64
import datetime
import decimal
import fractions
import json
import os
import pathlib
import shutil
import subprocess
import sys
import uuid
from argparse import Namespace
from collections import OrderedDict, deque

import pytest

from formats.checkpoint_files import checkpoint, index_of
from fuzz.__main__ import CORPUS
from zooproxy.client.assembly import tree_with_tensors
from zooproxy.wire.plain import Inert

HERE = pathlib.Path(__file__).parent
APP = HERE.parents[1] / "app"
CHECKPOINTS = HERE.parent / "data" / "checkpoints"


def interpreter(version: str) -> str:
    """The CPython of that version; a machine of CI has to have it."""
    root = pathlib.Path(os.environ.get("PYENV_ROOT", pathlib.Path.home() / ".pyenv"))
    installed = sorted(root.glob(f"versions/{version}.*/bin/python{version}"))
    found = str(installed[-1]) if installed else shutil.which(f"python{version}")
    if found is None and f"{sys.version_info[0]}.{sys.version_info[1]}" == version:
        found = sys.executable
    if found is None:
        told = f"CPython {version} is missing: pyenv install {version}"
        pytest.fail(told) if "CI" in os.environ else pytest.skip(told)
    return found


def printed(*command: object) -> dict:
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


@pytest.fixture(scope="session")
def files(tmp_path_factory):
    """Real checkpoints, and those of the fuzzers' corpus, honest and not."""
    folder = tmp_path_factory.mktemp("files")
    for path in [*CHECKPOINTS.rglob("*.p[tk]*"), *(CORPUS / "file").iterdir()]:
        shutil.copy(path, folder / path.name)
    return folder


@pytest.fixture(scope="session")
def expected(files):
    return printed(sys.executable, "-I", "-S", HERE / "reading.py", APP, files)["outcomes"]


@pytest.mark.parametrize("version", ["3.9", "3.10", "3.11", "3.12", "3.13"])
def test_a_python_reads_checkpoints_with_its_standard_library_alone(version, files, expected):
    told = printed(interpreter(version), "-I", "-S", HERE / "reading.py", APP, files)
    assert told["foreign"] == []
    assert len(told["outcomes"]) > 100
    assert told["outcomes"] == expected


IN_CLIENT = {
    "enum": Inert("__main__.Colour", (3,)),
    "int enum": Inert("__main__.Level", (1,)),
    "flag": Inert("__main__.Way", (2,)),
    "text enum": Inert("__main__.Name", ("one",)),
    "nested enum": Inert("__main__.Outer.Inner", ("one",)),
    "named tuple": Inert("__main__.Point", (1, "a")),
    "datetime": datetime.datetime(2020, 1, 2, 3, 4, 5, 6, datetime.UTC),
    "date": datetime.date(2020, 1, 2),
    "time": datetime.time(1, 2),
    "timedelta": datetime.timedelta(1, 2, 3),
    "path": pathlib.PurePosixPath("/a/b"),
    "windows path": pathlib.PureWindowsPath("C:/a"),
    "decimal": decimal.Decimal("1.50"),
    "fraction": fractions.Fraction(-3, 4),
    "uuid": uuid.UUID(int=7),
    "range": range(1, 9, 2),
    "deque": deque([1, 2], 5),
    "counter": {"a": 2, "b": 1},
    "defaultdict": {"a": [1]},
    "ordered": OrderedDict(b=1, a=2),
    "set": {1, 2},
    "frozenset": frozenset({1, 2}),
    "namespace": Namespace(lr=0.1),
    "simple namespace": Namespace(lr=0.1),
    "complex": 1 - 2j,
    "bytes": b"\x00\xff",
    "empty bytes": b"",
    "bytearray": b"ab",
    "text": "\u00fc\U0001f600",
    "long": 2**70,
    "float": float("inf"),
}


@pytest.mark.parametrize("version", ["3.8", "3.9", "3.10", "3.11", "3.12", "3.13"])
def test_what_a_python_pickles_is_understood_in_every_protocol(version):
    told = printed(interpreter(version), HERE / "writing.py")
    given = {
        name: [tree_with_tensors(index_of(checkpoint(base64.b64decode(each))).tree, []) for each in pickles]
        for name, pickles in told.items()
    }
    assert all(value.type_name == "__main__.Subclass" for value in given.pop("subclass of dict"))
    assert given == {name: [value] * 6 for name, value in IN_CLIENT.items()}
