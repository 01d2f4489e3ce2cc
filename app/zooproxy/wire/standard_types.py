"""Objects that everyone understands, without the library that made them. One table for every face:

==================================  =====================================  =====================  ======================
the checkpoint's object             in the tree and its JSON               in our client          in ``format=pth``
==================================  =====================================  =====================  ======================
numpy scalars                       a number, a text, bytes                the same               the same
numpy array whose bytes lie in the  a tensor                               a tensor               a tensor
file as they are
other numpy array, up to 1 MiB      ``Inert("numpy.ndarray", (dtype,       a tensor               a tensor
                                    shape, bytes))``, little-endian,
                                    row-major
datetime, date, time                ``Inert("datetime.…", (ISO 8601,))``   the same again         its ISO 8601 text
timedelta                           ``Inert("datetime.timedelta",          the same again         seconds, a float
                                    (days, seconds, microseconds))``
pathlib's paths                     ``Inert("pathlib.PurePosixPath",       a pure path            its text
                                    (text,))``, or ``PureWindowsPath``
Decimal, Fraction, UUID             ``Inert("decimal.Decimal",             the same again         its text
                                    (text,))``, …
range, slice                        ``Inert("builtins.range", (start,      the same again         a dict with
                                    stop, step))``                                                ``__type__``, …
deque                               ``Inert("collections.deque", ([…],     the same again         a list
                                    longest))``
argparse's and types' Namespace     ``Inert("argparse.Namespace",          ``argparse.Namespace`` a dict
                                    state=dict)``
mmengine's and mmcv's Config,       a dict                                 a dict                 a dict
ConfigDict; addict's Dict; easydict,
yacs; defaultdict, Counter
mmengine's and mmcv's               ``Inert`` of that name; its state      the same               a dict of its name and
HistoryBuffer                       without its functions                                         its ``state``
OrderedDict, set, frozenset, bytes  themselves                             the same               see
                                                                                                  ``torch_pickle_writer``
torch.Size                          a tuple                                a tuple                a tuple
torch's dtypes                      ``Inert("torch.float32", None)``       the same again         the same
torch.device                        ``Inert("torch.device", (…))``         the same again         its text: ``cuda:0``
Enum                                ``Inert`` of its type with its value;  the member, where the  a dict with
                                    or of the member's name, args None     program has imported   ``__type__``, …
                                                                           the type; else this
named tuple                         ``Inert`` of its type with its items   likewise               a dict with
                                                                                                  ``__type__``, …
any other object (a partial, a      ``Inert``: its type's name, its        the same               a dict with
module inside a mapping)            arguments, state and items                                    ``__type__``, …
==================================  =====================================  =====================  ======================

An Enum is pickled as a call of its type with its value (by Python 3.11.0 to 3.11.3, as an attribute of its type), a
named tuple as an instance made from its items: so is many another object, and the names of a tuple's fields are not in
the pickle. So both count as dropped types, and only who has the type can tell.
"""

from __future__ import annotations

import argparse
import collections
import datetime
import math
import pathlib
from collections.abc import Mapping
from typing import Any, Callable, Final, Optional

from zooproxy.wire.plain import Inert
from zooproxy.wire.tensors import DTYPE_SIZES

NDARRAY: Final = "numpy.ndarray"
NAMESPACE: Final = "argparse.Namespace"
TIMEDELTA: Final = "datetime.timedelta"
POSIX_PATH: Final = "pathlib.PurePosixPath"
WINDOWS_PATH: Final = "pathlib.PureWindowsPath"

DECIMAL: Final = "decimal.Decimal"
FRACTION: Final = "fractions.Fraction"
UUID: Final = "uuid.UUID"
DEQUE: Final = "collections.deque"
DEVICE: Final = "torch.device"

#: Types that one text tells whole.
TEXTS: Final = frozenset(
    {"datetime.datetime", "datetime.date", "datetime.time", POSIX_PATH, WINDOWS_PATH, DECIMAL, FRACTION, UUID}
)


def array_parts(value: Inert) -> Optional[tuple[str, tuple[int, ...], bytes]]:
    """The dtype, shape and bytes of an array by the table above; None where ``value`` is none, whatever its name is."""
    if value.type_name != NDARRAY or type(value.args) is not tuple or len(value.args) != 3:
        return None
    dtype, shape, data = value.args
    if type(dtype) is not str or dtype not in DTYPE_SIZES or type(shape) is not tuple or type(data) is not bytes:
        return None
    if not all(type(length) is int and length >= 0 for length in shape):
        return None
    return (dtype, shape, data) if math.prod(shape) * DTYPE_SIZES[dtype] == len(data) else None


def revived(value: Inert) -> Any:
    """The standard library's object that ``value`` stands for by the table above; else ``value``."""
    revive = _REVIVE.get(value.type_name)
    try:
        return value if revive is None else revive(value)
    except (TypeError, ValueError, ArithmeticError, AttributeError):
        return value  # an object of this name that was not made by that table


def _namespace(value: Inert) -> argparse.Namespace:
    made = argparse.Namespace()
    if type(value.state) is not dict or not all(type(key) is str for key in value.state):
        raise TypeError("not the state of a namespace")
    vars(made).update(value.state)
    return made


def _deque(value: Inert) -> Any:
    items, longest = value.args
    return collections.deque(items, longest)


def _decimal(value: Inert) -> Any:
    import decimal

    return decimal.Decimal(*value.args)


def _fraction(value: Inert) -> Any:
    import fractions

    return fractions.Fraction(*value.args)


def _uuid(value: Inert) -> Any:
    import uuid

    return uuid.UUID(*value.args)


_REVIVE: Final[Mapping[str, Callable[[Inert], Any]]] = {
    "datetime.datetime": lambda value: datetime.datetime.fromisoformat(*value.args),
    "datetime.date": lambda value: datetime.date.fromisoformat(*value.args),
    "datetime.time": lambda value: datetime.time.fromisoformat(*value.args),
    TIMEDELTA: lambda value: datetime.timedelta(*value.args),
    POSIX_PATH: lambda value: pathlib.PurePosixPath(*value.args),
    WINDOWS_PATH: lambda value: pathlib.PureWindowsPath(*value.args),
    NAMESPACE: _namespace,
    DECIMAL: _decimal,
    FRACTION: _fraction,
    UUID: _uuid,
    DEQUE: _deque,
    "builtins.range": lambda value: range(*value.args),
    "builtins.slice": lambda value: slice(*value.args),
}
