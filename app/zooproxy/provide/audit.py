"""Who changed what: one line of JSON per change in ``DATA_DIR/audit.log``, appended and rotated by size.

Any number of processes write to one file: each line is one write to a file opened for appending, under a lock that
whoever rotates takes too. Text is escaped to visible ASCII, so that no name can begin a line or colour a terminal.
"""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from zooproxy.masking import masked
from zooproxy.wire.access import AuditEntry

FILE: Final = "audit.log"
LARGEST: Final = 16 << 20  # bytes of the file before it is rotated
KEPT: Final = 4  # rotated files
MAX_TEXT: Final = 2048  # characters of one text in a target
MAX_TEXTS: Final = 100  # texts in a list of one

_TAIL = 1 << 20  # bytes of a file's end that are read at once


class AuditLog:
    def __init__(self, folder: Path, largest: int = LARGEST) -> None:
        self._path = folder / FILE
        self._largest = largest

    def write(self, entry: AuditEntry) -> None:
        """
        Raises:
            OSError: it could not be written.
        """
        line = json.dumps(asdict(entry)).encode() + b"\n"
        with self._locked() as descriptor:
            if os.fstat(descriptor).st_size + len(line) <= self._largest:
                os.write(descriptor, line)
                return
            self._rotate()
        with self._locked() as descriptor:
            os.write(descriptor, line)

    def latest(self, limit: int) -> list[dict[str, Any]]:
        """The last ``limit`` entries, newest first; a line that is none (a torn write) is left out."""
        found: list[dict[str, Any]] = []
        for path in (self._path, *map(self._rotated, range(1, KEPT + 1))):
            for line in _lines_from_the_end(path):
                if len(found) >= limit:
                    return found
                found.extend(_entry(line))
        return found

    @contextmanager
    def _locked(self) -> Iterator[int]:
        """The file that has the name, and keeps it until this ends."""
        while True:
            descriptor = os.open(self._path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX)
                if _is_at(descriptor, self._path):
                    yield descriptor
                    return
            finally:
                os.close(descriptor)

    def _rotate(self) -> None:
        for number in range(KEPT, 1, -1):
            older = self._rotated(number - 1)
            if older.exists():
                older.replace(self._rotated(number))
        self._path.replace(self._rotated(1))

    def _rotated(self, number: int) -> Path:
        return self._path.with_name(f"{FILE}.{number}")


def an_entry(who: str, peer: str | None, action: str, target: Mapping[str, Any], outcome: str) -> AuditEntry:
    """An entry of now; credentials in the texts of ``target`` are masked, long ones cut."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    return AuditEntry(now, who, peer, action, {name: _shown(value) for name, value in target.items()}, outcome)


def _shown(value: Any) -> Any:
    if isinstance(value, str):
        text = masked(value)
        return text if len(text) <= MAX_TEXT else f"{text[:MAX_TEXT]}…"
    if isinstance(value, list | tuple):
        more = [f"and {len(value) - MAX_TEXTS} more"] if len(value) > MAX_TEXTS else []
        return [_shown(one) for one in value[:MAX_TEXTS]] + more
    return value


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), path.stat())
    except FileNotFoundError:  # rotated meanwhile
        return False


def _lines_from_the_end(path: Path) -> Iterator[bytes]:
    try:
        file = path.open("rb")
    except FileNotFoundError:
        return
    with file:
        position, rest = file.seek(0, os.SEEK_END), b""
        while position:
            size = min(position, _TAIL)
            position = file.seek(position - size)
            *lines, last = (file.read(size) + rest).split(b"\n")[::-1]
            yield from lines
            rest = last
        yield rest


def _entry(line: bytes) -> Iterator[dict[str, Any]]:
    try:
        found = json.loads(line)
    except ValueError:
        return
    if isinstance(found, dict):
        yield found
