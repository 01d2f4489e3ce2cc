"""Pickles values as this interpreter does: ``python writing.py`` prints JSON, name -> [base64 by protocol]."""

import argparse
import base64
import collections
import datetime
import decimal
import enum
import fractions
import json
import pathlib
import pickle
import types
import uuid


class Colour(enum.Enum):
    RED = 3


class Level(enum.IntEnum):
    LOW = 1


class Way(enum.Flag):
    IN = 1
    OUT = 2


class Name(str, enum.Enum):  # noqa: UP042  # enum.StrEnum came with Python 3.11
    ONE = "one"


class Outer:
    class Inner(enum.Enum):
        ONE = "one"


class Subclass(dict):
    pass


Point = collections.namedtuple("Point", "x y")
UTC = datetime.timezone.utc  # noqa: UP017  # datetime.UTC too

VALUES = {
    "enum": Colour.RED,
    "int enum": Level.LOW,
    "flag": Way.OUT,
    "text enum": Name.ONE,
    "nested enum": Outer.Inner.ONE,
    "named tuple": Point(1, "a"),
    "datetime": datetime.datetime(2020, 1, 2, 3, 4, 5, 6, UTC),
    "date": datetime.date(2020, 1, 2),
    "time": datetime.time(1, 2, fold=1),
    "timedelta": datetime.timedelta(1, 2, 3),
    "path": pathlib.PurePosixPath("/a/b"),
    "windows path": pathlib.PureWindowsPath("C:/a"),
    "decimal": decimal.Decimal("1.50"),
    "fraction": fractions.Fraction(-3, 4),
    "uuid": uuid.UUID(int=7),
    "range": range(1, 9, 2),
    "deque": collections.deque([1, 2], 5),
    "counter": collections.Counter("aab"),
    "defaultdict": collections.defaultdict(list, a=[1]),
    "ordered": collections.OrderedDict(b=1, a=2),
    "set": {1, 2},
    "frozenset": frozenset({1, 2}),
    "namespace": argparse.Namespace(lr=0.1),
    "simple namespace": types.SimpleNamespace(lr=0.1),
    "complex": 1 - 2j,
    "bytes": b"\x00\xff",
    "empty bytes": b"",
    "bytearray": bytearray(b"ab"),
    "text": "\u00fc\U0001f600",
    "long": 2**70,
    "float": float("inf"),
    "subclass of dict": Subclass(a=1),
}


if __name__ == "__main__":
    protocols = range(pickle.HIGHEST_PROTOCOL + 1)
    made = {
        name: [base64.b64encode(pickle.dumps(value, p)).decode() for p in protocols] for name, value in VALUES.items()
    }
    print(json.dumps(made))
