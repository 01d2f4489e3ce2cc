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
argparse's and types' Namespace     ``Inert("argparse.Namespace",          ``argparse.Namespace`` a dict
                                    state=dict)``
mmengine's and mmcv's Config,       a dict                                 a dict                 a dict
ConfigDict; addict's Dict
mmengine's and mmcv's               ``Inert`` of that name; its state      the same               a dict of its name and
HistoryBuffer                       without its functions                                         its ``state``
OrderedDict, set, frozenset, bytes  themselves                             the same               see
                                                                                                  ``torch_pickle_writer``
defaultdict                         a dict                                 a dict                 a dict
any other object (an Enum, a named  ``Inert``: its type's name, its        the same               a dict with
tuple, a module inside a mapping)   arguments, state and items                                    ``__type__``, …
==================================  =====================================  =====================  ======================
"""

from __future__ import annotations

import argparse
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

#: Types that one text tells whole.
TEXTS: Final = frozenset(
    {"datetime.datetime", "datetime.date", "datetime.time", "pathlib.PurePosixPath", "pathlib.PureWindowsPath"}
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
    except (TypeError, ValueError, OverflowError, AttributeError):
        return value  # an object of this name that was not made by that table


def _namespace(value: Inert) -> argparse.Namespace:
    made = argparse.Namespace()
    if type(value.state) is not dict or not all(type(key) is str for key in value.state):
        raise TypeError("not the state of a namespace")
    vars(made).update(value.state)
    return made


_REVIVE: Final[Mapping[str, Callable[[Inert], Any]]] = {
    "datetime.datetime": lambda value: datetime.datetime.fromisoformat(*value.args),
    "datetime.date": lambda value: datetime.date.fromisoformat(*value.args),
    "datetime.time": lambda value: datetime.time.fromisoformat(*value.args),
    TIMEDELTA: lambda value: datetime.timedelta(*value.args),
    POSIX_PATH: lambda value: pathlib.PurePosixPath(*value.args),
    WINDOWS_PATH: lambda value: pathlib.PureWindowsPath(*value.args),
    NAMESPACE: _namespace,
}
