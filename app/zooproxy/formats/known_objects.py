"""Objects of known libraries, told by their type's name and what they were built from; nothing of them is imported.

What each becomes is the table of ``zooproxy.wire.standard_types``.
"""

from __future__ import annotations

import datetime
import pathlib
import re
from collections.abc import Mapping
from typing import Any, Callable, Final, Optional

from zooproxy.formats import limits
from zooproxy.formats.pickle_values import Global, Placeholder
from zooproxy.wire.standard_types import (
    DECIMAL,
    DEQUE,
    FRACTION,
    NAMESPACE,
    POSIX_PATH,
    TIMEDELTA,
    UUID,
    WINDOWS_PATH,
)


class NotKnown(Exception):
    """The object has the name of a known type and was not built as that type builds it."""


def known_object(value: Placeholder) -> Any:
    """What stands for ``value``: a plain value, or another ``Placeholder``; ``value`` itself if it is not known."""
    read = _KNOWN.get(value.type_name)
    if read is None:
        return value
    try:
        return read(value)
    except (NotKnown, TypeError, ValueError, OverflowError, LookupError):
        return value


def _require(value: Any, kind: type) -> Any:
    if type(value) is not kind:
        raise NotKnown
    return value


def _standard(type_name: str, *args: Any, state: Any = None) -> Placeholder:
    return Placeholder(type_name, args, state, None, known=True)


# -- the standard library ---------------------------------------------------------------------------------


def _offset(value: Any) -> Optional[datetime.timezone]:
    """``datetime.timezone.utc``, or ``datetime.timezone(timedelta(…))``."""
    if value is None:
        return None
    if type(value) is Global and value.name == "datetime.timezone.utc":
        return datetime.timezone.utc
    delta = value.args[0] if type(value) is Placeholder and value.type_name == "datetime.timezone" else None
    if type(delta) is not Placeholder or delta.type_name != TIMEDELTA:
        raise NotKnown
    return datetime.timezone(datetime.timedelta(*(_require(part, int) for part in delta.args)))


def _packed(value: Any) -> bytes:
    """What the standard library's dates are pickled as; Python 2's arrive as text."""
    return value.encode("latin-1") if type(value) is str else _require(value, bytes)


def _datetime(value: Placeholder) -> Any:
    packed, zone = (*value.args, None)[:2]
    made = datetime.datetime(_packed(packed))  # type: ignore[arg-type,call-arg]  # noqa: DTZ001  # how it unpickles
    return _standard("datetime.datetime", made.replace(tzinfo=_offset(zone)).isoformat())


def _date(value: Placeholder) -> Any:
    (packed,) = value.args
    return _standard("datetime.date", datetime.date(_packed(packed)).isoformat())  # type: ignore[arg-type,call-arg]


def _time(value: Placeholder) -> Any:
    packed, zone = (*value.args, None)[:2]
    made = datetime.time(_packed(packed))  # type: ignore[arg-type]
    return _standard("datetime.time", made.replace(tzinfo=_offset(zone)).isoformat())


def _timedelta(value: Placeholder) -> Any:
    made = datetime.timedelta(*(_require(part, int) for part in value.args))
    return _standard(TIMEDELTA, made.days, made.seconds, made.microseconds)


def _path(kind: type[pathlib.PurePath], type_name: str) -> Callable[[Placeholder], Any]:
    return lambda value: _standard(type_name, str(kind(*(_require(part, str) for part in value.args))))


def _namespace(value: Placeholder) -> Any:
    state = _require(value.state, dict)
    if not all(type(key) is str for key in state):
        raise NotKnown
    return _standard(NAMESPACE, state=state)


_DECIMAL = re.compile(r"-?(\d+(\.\d+)?(E[+-]?\d{1,18})?|Infinity|s?NaN\d*)")
_FRACTION = re.compile(r"-?\d{1,1000}(/0*[1-9]\d{0,999})?")


def _decimal(value: Placeholder) -> Any:
    (text,) = value.args
    if len(_require(text, str)) > limits.DIGITS or not _DECIMAL.fullmatch(text):
        raise NotKnown
    return _standard(DECIMAL, text)


def _fraction(value: Placeholder) -> Any:
    """Of a text; newer Pythons': of numerator and denominator."""
    text = "/".join(str(_require(part, int)) for part in value.args) if len(value.args) == 2 else value.args[0]
    if not _FRACTION.fullmatch(_require(text, str)):
        raise NotKnown
    return _standard(FRACTION, text)


def _uuid(value: Placeholder) -> Any:
    number = _require(_require(value.state, dict)["int"], int)
    digits = f"{number:032x}"
    if number < 0 or len(digits) > 32:
        raise NotKnown
    return _standard(UUID, "-".join((digits[:8], digits[8:12], digits[12:16], digits[16:20], digits[20:])))


def _bounds(value: Placeholder) -> Any:
    """A range or a slice."""
    if len(value.args) != 3 or not all(part is None or type(part) is int for part in value.args):
        raise NotKnown
    return _standard(value.type_name, *value.args)


def _deque(value: Placeholder) -> Any:
    """``deque((), longest)``, its items appended."""
    first, longest = (*value.args, (), None)[:2] if value.args else ((), None)
    if first not in ((), []) or not (longest is None or (type(longest) is int and longest >= 0)):
        raise NotKnown
    return _standard(DEQUE, list(value.items or ()), longest)


# -- mmengine, mmcv, addict -------------------------------------------------------------------------------


def _mapping(value: Placeholder) -> Any:
    """A subclass of dict: its items, else the dict that it was built from."""
    if value.items is not None:
        pairs = value.items
    elif len(value.args) == 1 and type(value.args[0]) is dict:
        pairs = list(value.args[0].items())
    elif not value.args:
        pairs = []
    else:
        raise NotKnown
    if not all(type(pair) is tuple and len(pair) == 2 for pair in pairs):
        raise NotKnown
    return dict(pairs)


def _config(value: Placeholder) -> Any:
    """The mapping inside; the file's name and text around it are left out."""
    return known_object(_require(_require(value.state, tuple)[0], Placeholder))


def _history_buffer(value: Placeholder) -> Any:
    state = _require(value.state, dict)
    kept = {key: item for key, item in state.items() if not (type(key) is str and key.endswith("statistics_methods"))}
    return Placeholder(value.type_name, value.args, kept)


_KNOWN: Final[Mapping[str, Callable[[Placeholder], Any]]] = {
    "datetime.datetime": _datetime,
    "datetime.date": _date,
    "datetime.time": _time,
    TIMEDELTA: _timedelta,
    **{
        f"{module}.{name}": _path(kind, type_name)
        for module in ("pathlib", "pathlib._local")  # Python 3.13's
        for kind, type_name, names in (
            (pathlib.PurePosixPath, POSIX_PATH, ("PosixPath", "PurePosixPath")),
            (pathlib.PureWindowsPath, WINDOWS_PATH, ("WindowsPath", "PureWindowsPath")),
        )
        for name in names
    },
    NAMESPACE: _namespace,
    "types.SimpleNamespace": _namespace,
    DECIMAL: _decimal,
    FRACTION: _fraction,
    UUID: _uuid,
    DEQUE: _deque,
    "builtins.range": _bounds,
    "builtins.slice": _bounds,
    "collections.Counter": _mapping,
    "mmengine.config.config.ConfigDict": _mapping,
    "mmcv.utils.config.ConfigDict": _mapping,
    "addict.addict.Dict": _mapping,
    "addict.Dict": _mapping,
    "easydict.EasyDict": _mapping,
    "yacs.config.CfgNode": _mapping,
    "mmengine.config.config.Config": _config,
    "mmcv.utils.config.Config": _config,
    "mmengine.logging.history_buffer.HistoryBuffer": _history_buffer,
    "mmcv.runner.log_buffer.HistoryBuffer": _history_buffer,
}
