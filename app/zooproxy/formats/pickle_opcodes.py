"""The opcodes of pickle, protocols 0 to 5, on a machine that executes nothing (after Python's Lib/pickletools.py).

Each opcode is a function of the machine and the position after the opcode; it returns the position after its
argument. An argument cut short leaves that position past the end, where fetching the next opcode fails. Opcodes that
no checkpoint holds (text persistent ids, the extension registry, out-of-band buffers) are refused.
"""

from __future__ import annotations

import struct
from collections import OrderedDict
from typing import Any, Callable

from zooproxy.errors import LimitExceeded, MalformedCheckpoint
from zooproxy.formats import limits
from zooproxy.formats import pickle_atoms as atoms
from zooproxy.formats.pickle_machine import PickleMachine
from zooproxy.formats.pickle_values import Global, Placeholder, SetNode

_STOP = ord(".")
_UINT4 = struct.Struct("<I").unpack_from


def run_pickle(machine: PickleMachine, start: int = 0) -> tuple[Any, int]:
    """The value that the pickle at byte ``start`` of the machine's data describes, and the position after its STOP.

    Raises:
        MalformedCheckpoint: this is no pickle, or one that Python would not load either.
        LimitExceeded: it asks for more than ``limits`` allow.
    """
    try:
        return _run(machine, start)
    except (IndexError, struct.error, OverflowError) as error:
        raise MalformedCheckpoint("the pickle ends early or takes more from its stack than it put there") from error
    except KeyError as error:
        raise MalformedCheckpoint("the pickle recalls something that it never stored") from error
    except ValueError as error:
        raise MalformedCheckpoint("the pickle holds a number or a text that is malformed") from error


def _run(machine: PickleMachine, at: int) -> tuple[Any, int]:
    data, table = machine.data, _OPCODES
    for _ in range(limits.OPCODES):
        code = data[at]
        if code == _STOP:
            return machine.stack.pop(), at + 1
        at = table[code](machine, at + 1)
    raise LimitExceeded(f"the pickle has more than {limits.OPCODES:,} opcodes")


# -- opcodes: stack, memo, marks --------------------------------------------------------------------------


def _proto(machine: PickleMachine, at: int) -> int:
    if machine.data[at] > 5:
        raise MalformedCheckpoint("the pickle has a protocol above 5")
    return at + 1


def _frame(_: PickleMachine, at: int) -> int:
    return at + 8  # frames only help readers that stream


def _mark(machine: PickleMachine, at: int) -> int:
    machine.marked.append(machine.stack)
    machine.stack = []
    return at


def _pop(machine: PickleMachine, at: int) -> int:
    if machine.stack:
        machine.stack.pop()
    else:
        machine.pop_mark()
    return at


def _pop_mark(machine: PickleMachine, at: int) -> int:
    machine.pop_mark()
    return at


def _dup(machine: PickleMachine, at: int) -> int:
    machine.stack.append(machine.stack[-1])
    return at


def _put(machine: PickleMachine, at: int) -> int:
    text, after = machine.line(at)
    machine.memo[atoms.decimal(text)] = machine.stack[-1]
    return after


def _binput(machine: PickleMachine, at: int) -> int:
    machine.memo[machine.data[at]] = machine.stack[-1]
    return at + 1


def _long_binput(machine: PickleMachine, at: int) -> int:
    machine.memo[_UINT4(machine.data, at)[0]] = machine.stack[-1]  # a quarter of all opcodes: no call to spare
    return at + 4


def _memoize(machine: PickleMachine, at: int) -> int:
    machine.memo[len(machine.memo)] = machine.stack[-1]
    return at


def _get(machine: PickleMachine, at: int) -> int:
    text, after = machine.line(at)
    machine.stack.append(machine.memo[atoms.decimal(text)])
    return after


def _binget(machine: PickleMachine, at: int) -> int:
    machine.stack.append(machine.memo[machine.data[at]])
    return at + 1


def _long_binget(machine: PickleMachine, at: int) -> int:
    machine.stack.append(machine.memo[atoms.uint4(machine.data, at)])
    return at + 4


# -- opcodes: containers ----------------------------------------------------------------------------------


def _empty_list(machine: PickleMachine, at: int) -> int:
    machine.charge_object()
    machine.stack.append([])
    return at


def _empty_dict(machine: PickleMachine, at: int) -> int:
    machine.charge_object()
    machine.stack.append({})
    return at


def _empty_set(machine: PickleMachine, at: int) -> int:
    machine.stack.append(machine.new_set([], frozen=False))
    return at


def _list(machine: PickleMachine, at: int) -> int:
    items = machine.pop_mark()
    machine.charge_object()
    machine.stack.append(items)
    return at


def _dict(machine: PickleMachine, at: int) -> int:
    items = machine.pop_mark()
    made: dict[Any, Any] = {}
    machine.charge_object()
    machine.set_items(made, items)
    machine.stack.append(made)
    return at


def _tuple(machine: PickleMachine, at: int) -> int:
    items = machine.pop_mark()
    machine.stack.append(tuple(items))
    return at


def _tuple_of(count: int) -> Callable[[PickleMachine, int], int]:
    def push(machine: PickleMachine, at: int) -> int:
        stack = machine.stack
        if len(stack) < count:
            raise IndexError("stack underflow")
        stack[-count:] = [tuple(stack[-count:])]
        return at

    return push


def _frozenset(machine: PickleMachine, at: int) -> int:
    items = machine.pop_mark()
    machine.stack.append(machine.new_set(items, frozen=True))
    return at


def _append(machine: PickleMachine, at: int) -> int:
    value = machine.stack.pop()
    machine.extend(machine.stack[-1], [value])
    return at


def _appends(machine: PickleMachine, at: int) -> int:
    items = machine.pop_mark()
    machine.extend(machine.stack[-1], items)
    return at


def _setitem(machine: PickleMachine, at: int) -> int:
    value = machine.stack.pop()
    key = machine.stack.pop()
    machine.set_items(machine.stack[-1], [key, value])
    return at


def _setitems(machine: PickleMachine, at: int) -> int:
    items = machine.pop_mark()
    machine.set_items(machine.stack[-1], items)
    return at


def _additems(machine: PickleMachine, at: int) -> int:
    items = machine.pop_mark()
    target = machine.stack[-1]
    if isinstance(target, SetNode) and not target.frozen:
        machine.add_members(target, items)
    elif isinstance(target, Placeholder):
        machine.extend(target, items)
    else:
        raise MalformedCheckpoint("the pickle adds to something that is no set")
    return at


#: What pickle's fix_imports does (Lib/_compat_pickle.py), as far as it matters here.
_PYTHON_2 = {"__builtin__": "builtins", "copy_reg": "copyreg"}
_PYTHON_2_NAMES = {
    "builtins.xrange": "builtins.range",
    "builtins.long": "builtins.int",
    "builtins.unicode": "builtins.str",
}


# -- opcodes: names, calls, objects -----------------------------------------------------------------------


def _name(machine: PickleMachine, module: Any, name: Any) -> Global:
    if type(module) is not str or type(name) is not str or not module or not name:
        raise MalformedCheckpoint("the pickle imports something whose name is no text")
    if len(module) + len(name) >= limits.GLOBAL_NAME:
        raise LimitExceeded(f"the pickle imports a name of more than {limits.GLOBAL_NAME} characters")
    if not (module + name).isprintable():
        raise MalformedCheckpoint("the pickle imports a name with characters that no name has")
    machine.charge_object()
    dotted = f"{_PYTHON_2.get(module, module)}.{name}"
    return Global(_PYTHON_2_NAMES.get(dotted, dotted))


def _global_lines(machine: PickleMachine, at: int) -> tuple[Global, int]:
    module, at = machine.line(at)
    name, at = machine.line(at)
    return _name(machine, module.decode("utf-8"), name.decode("utf-8")), at


def _global(machine: PickleMachine, at: int) -> int:
    found, after = _global_lines(machine, at)
    machine.stack.append(found)
    return after


def _stack_global(machine: PickleMachine, at: int) -> int:
    name = machine.stack.pop()
    module = machine.stack.pop()
    machine.stack.append(_name(machine, module, name))
    return at


def _reduce(machine: PickleMachine, at: int) -> int:
    args = machine.stack.pop()
    machine.stack[-1] = machine.call(machine.stack[-1], args)
    return at


def _newobj(machine: PickleMachine, at: int) -> int:
    args = machine.stack.pop()
    machine.stack[-1] = machine.instance(machine.stack[-1], args)
    return at


def _newobj_ex(machine: PickleMachine, at: int) -> int:
    keywords = machine.stack.pop()
    args = machine.stack.pop()
    machine.stack[-1] = machine.instance(machine.stack[-1], args, keywords)
    return at


def _inst(machine: PickleMachine, at: int) -> int:
    kind, after = _global_lines(machine, at)
    args = machine.pop_mark()
    machine.stack.append(machine.instance(kind, tuple(args)))
    return after


def _obj(machine: PickleMachine, at: int) -> int:
    args = machine.pop_mark()
    machine.stack.append(machine.instance(args[0], tuple(args[1:])))
    return at


def _build(machine: PickleMachine, at: int) -> int:
    state = machine.stack.pop()
    target = machine.stack[-1]
    if isinstance(target, Placeholder) and target.state is None:
        target.state = state
    elif isinstance(target, OrderedDict) and isinstance(state, dict) and not hasattr(target, "_metadata"):
        if "_metadata" in state:
            target._metadata = state["_metadata"]  # type: ignore[attr-defined]  # as torch does
    else:
        raise MalformedCheckpoint("the pickle gives a state to something that has one, or can have none")
    return at


def _binpersid(machine: PickleMachine, at: int) -> int:
    machine.stack[-1] = machine.persistent_load(machine.stack[-1])
    return at


def _refused(machine: PickleMachine, at: int) -> int:
    code = machine.data[at - 1]
    raise MalformedCheckpoint(f"byte 0x{code:02x} is no opcode that a checkpoint's pickle has")


_BY_CODE: dict[bytes, Callable[[PickleMachine, int], int]] = {
    b"\x80": _proto,
    b"\x95": _frame,
    b"(": _mark,
    b"0": _pop,
    b"1": _pop_mark,
    b"2": _dup,
    b"p": _put,
    b"q": _binput,
    b"r": _long_binput,
    b"\x94": _memoize,
    b"g": _get,
    b"h": _binget,
    b"j": _long_binget,
    b"N": atoms.constant(None),
    b"\x88": atoms.constant(True),
    b"\x89": atoms.constant(False),
    b"I": atoms.int_,
    b"L": atoms.long_,
    b"J": atoms.binint,
    b"K": atoms.binint1,
    b"M": atoms.binint2,
    b"\x8a": atoms.long1,
    b"\x8b": atoms.long4,
    b"F": atoms.float_,
    b"G": atoms.binfloat,
    b"X": atoms.binunicode,
    b"\x8c": atoms.short_binunicode,
    b"\x8d": atoms.binunicode8,
    b"B": atoms.binbytes,
    b"C": atoms.short_binbytes,
    b"\x8e": atoms.binbytes8,
    b"\x96": atoms.binbytes8,
    b"T": atoms.binstring,
    b"U": atoms.short_binstring,
    b"S": atoms.string,
    b"V": atoms.unicode,
    b"]": _empty_list,
    b"}": _empty_dict,
    b")": atoms.constant(()),
    b"\x8f": _empty_set,
    b"l": _list,
    b"d": _dict,
    b"t": _tuple,
    b"\x85": _tuple_of(1),
    b"\x86": _tuple_of(2),
    b"\x87": _tuple_of(3),
    b"\x91": _frozenset,
    b"a": _append,
    b"e": _appends,
    b"s": _setitem,
    b"u": _setitems,
    b"\x90": _additems,
    b"c": _global,
    b"\x93": _stack_global,
    b"R": _reduce,
    b"\x81": _newobj,
    b"\x92": _newobj_ex,
    b"i": _inst,
    b"o": _obj,
    b"b": _build,
    b"Q": _binpersid,
}
_OPCODES = [_BY_CODE.get(bytes([code]), _refused) for code in range(256)]
