"""The opcodes of pickle that push an atom: numbers, text, bytes (see ``pickle_opcodes``).

Number texts are taken only as pickle writers write them: Python's own readers differ from each other in the rest.
"""

from __future__ import annotations

import mmap
import re
import struct
from typing import Any, Callable, Union

from zooproxy.errors import LimitExceeded, MalformedCheckpoint
from zooproxy.formats import limits
from zooproxy.formats.pickle_machine import PickleMachine
from zooproxy.formats.pickle_values import Elided

_UINT2 = struct.Struct("<H").unpack_from
_INT4 = struct.Struct("<i").unpack_from
_UINT4 = struct.Struct("<I").unpack_from
_UINT8 = struct.Struct("<Q").unpack_from
_FLOAT8 = struct.Struct(">d").unpack_from
_DIGIT_BYTES = frozenset(b"0123456789")
_FLOAT_BYTES = frozenset(b"0123456789+-.einfaEINFA")


def uint4(data: Union[bytes, mmap.mmap], at: int) -> int:
    value: int = _UINT4(data, at)[0]
    return value


def decimal(text: bytes) -> int:
    """An integer as every pickle writer writes it: no blanks, no underscores, no leading zeros."""
    digits = text[1:] if text[:1] in (b"-", b"+") else text
    if len(digits) > limits.DIGITS:
        raise LimitExceeded(f"the pickle has a number of more than {limits.DIGITS:,} digits")
    if not digits or not _DIGIT_BYTES.issuperset(digits) or (digits[:1] == b"0" and digits != b"0"):
        raise ValueError("not a decimal number")
    return int(text)


def constant(value: Any) -> Callable[[PickleMachine, int], int]:
    def push(machine: PickleMachine, at: int) -> int:
        machine.stack.append(value)
        return at

    return push


def int_(machine: PickleMachine, at: int) -> int:
    text, after = machine.line(at)
    booleans = {b"00": False, b"01": True}
    machine.stack.append(booleans[text] if text in booleans else decimal(text))
    return after


def long_(machine: PickleMachine, at: int) -> int:
    text, after = machine.line(at)
    machine.stack.append(decimal(text[:-1] if text.endswith(b"L") else text))
    return after


def binint(machine: PickleMachine, at: int) -> int:
    machine.stack.append(_INT4(machine.data, at)[0])
    return at + 4


def binint1(machine: PickleMachine, at: int) -> int:
    machine.stack.append(machine.data[at])
    return at + 1


def binint2(machine: PickleMachine, at: int) -> int:
    machine.stack.append(_UINT2(machine.data, at)[0])
    return at + 2


def _push_long(machine: PickleMachine, start: int, length: int) -> int:
    if not 0 <= length <= limits.LONG_BYTES:
        raise LimitExceeded(f"the pickle has an integer of more than {limits.LONG_BYTES} bytes")
    machine.stack.append(int.from_bytes(machine.data[start : start + length], "little", signed=True))
    return start + length


def long1(machine: PickleMachine, at: int) -> int:
    return _push_long(machine, at + 1, machine.data[at])


def long4(machine: PickleMachine, at: int) -> int:
    return _push_long(machine, at + 4, _INT4(machine.data, at)[0])


def float_(machine: PickleMachine, at: int) -> int:
    text, after = machine.line(at)
    if not text or not _FLOAT_BYTES.issuperset(text) or len(text) > limits.DIGITS:
        raise ValueError("not a number")
    machine.stack.append(float(text))
    return after


def binfloat(machine: PickleMachine, at: int) -> int:
    machine.stack.append(_FLOAT8(machine.data, at)[0])
    return at + 8


# -- opcodes: strings -------------------------------------------------------------------------------------


def _push_text(machine: PickleMachine, start: int, length: int) -> int:
    found = machine.take("builtins.str", start, length)
    machine.stack.append(machine.charge_text(found.decode("utf-8", "surrogatepass")) if type(found) is bytes else found)
    return start + length


def _push_bytes(machine: PickleMachine, start: int, length: int) -> int:
    machine.stack.append(machine.locate(machine.take("builtins.bytes", start, length), start))
    return start + length


def _push_python2(machine: PickleMachine, start: int, length: int) -> int:
    """Python 2's ``str``: text if it is UTF-8, which is what torch.load asks for, else bytes."""
    if length < 0:
        raise ValueError("a string of negative length")
    found = machine.take("builtins.bytes", start, length)
    machine.stack.append(machine.locate(_text_or_bytes(found), start) if type(found) is bytes else found)
    return start + length


def _text_or_bytes(found: bytes) -> Any:
    try:
        return found.decode("utf-8")
    except UnicodeDecodeError:
        return found


def short_binunicode(machine: PickleMachine, at: int) -> int:
    return _push_text(machine, at + 1, machine.data[at])


def binunicode(machine: PickleMachine, at: int) -> int:
    return _push_text(machine, at + 4, _UINT4(machine.data, at)[0])


def binunicode8(machine: PickleMachine, at: int) -> int:
    return _push_text(machine, at + 8, _UINT8(machine.data, at)[0])


def short_binbytes(machine: PickleMachine, at: int) -> int:
    return _push_bytes(machine, at + 1, machine.data[at])


def binbytes(machine: PickleMachine, at: int) -> int:
    return _push_bytes(machine, at + 4, _UINT4(machine.data, at)[0])


def binbytes8(machine: PickleMachine, at: int) -> int:
    return _push_bytes(machine, at + 8, _UINT8(machine.data, at)[0])


def short_binstring(machine: PickleMachine, at: int) -> int:
    return _push_python2(machine, at + 1, machine.data[at])


def binstring(machine: PickleMachine, at: int) -> int:
    return _push_python2(machine, at + 4, _INT4(machine.data, at)[0])


#: What ``repr`` of Python 2 escapes in a string, and how.
_ESCAPE = re.compile(rb"\\(?:x([0-9a-fA-F]{2})|(.)?)", re.DOTALL)
_ESCAPED = {b"\\": b"\\", b"'": b"'", b'"': b'"', b"n": b"\n", b"r": b"\r", b"t": b"\t"}


def string(machine: PickleMachine, at: int) -> int:
    """A string of protocol 0, quoted as Python 2 shows it; one that is too long stays where it lies."""
    end = machine.data.find(b"\n", at)
    if end < 0:
        raise MalformedCheckpoint("the pickle ends inside a string")
    if end - at > limits.QUOTED:
        machine.stack.append(Elided("builtins.bytes", at, end - at, encoded=True))
        return end + 1
    text = machine.take("builtins.str", at, end - at, limits.QUOTED)
    if len(text) < 2 or text[:1] not in (b"'", b'"') or text[-1:] != text[:1]:
        raise MalformedCheckpoint("the pickle has a quoted string without its quotes")
    machine.stack.append(_text_or_bytes(_ESCAPE.sub(_unescaped, text[1:-1])))
    return end + 1


def _unescaped(match: re.Match[bytes]) -> bytes:
    found = bytes([int(match[1], 16)]) if match[1] else _ESCAPED.get(match[2])
    if found is None:
        raise MalformedCheckpoint("the pickle has a quoted string with escapes that Python 2 does not write")
    return found


def unicode(machine: PickleMachine, at: int) -> int:
    text, after = machine.line(at, limits.QUOTED)
    machine.stack.append(machine.charge_text(text.decode("raw_unicode_escape")))
    return after
