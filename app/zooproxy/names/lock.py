"""weights.lock: what references are locked to, as values and as the one file format; both sides import this.

::

    # weights.lock: what each reference to weights is. Made by `zooproxy lock`; check it in.
    format = 1

    [weights."torchvision://resnet50"]
    url = "https://download.pytorch.org/models/resnet50-0676ba61.pth"
    sha256 = "0676ba61b6795bbe1773cffd859882e5e297624d384b6993f7c9e683e722fb8a"
    size = 102530333

It is made for code review: a block for each reference, in the order of their code points, so that a changed digest is
one changed line and a new reference is one new block. It is TOML, which editors colour and any TOML library reads; but
Python 3.9 has no TOML reader, and the client has no dependencies. So what is read here is exactly what is written here,
line by line: no other TOML, no comments, no other order. Every lock has one text and every text is one lock; nothing
can be hidden in it that a reviewer reads differently than the reader does. (JSON would need no reader of our own, but
reads worse: a block is braces and commas, and a merge that touches two neighbours breaks a comma.)

A reference is kept as its user wrote it and found by what it means: its text, else its canonical spelling, else its
source's URL. Several references may lead to one source; they must agree on what it is.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, Final, Optional

from zooproxy.digest import Sha256
from zooproxy.errors import BadReference, MalformedLock
from zooproxy.names.published import locate
from zooproxy.names.reference import MAX_LENGTH, ZooReference, parse

FILE_NAME: Final = "weights.lock"
FORMAT: Final = 1

MAX_BYTES: Final = 32 << 20
MAX_ENTRIES: Final = 50_000
MAX_SIZE: Final = 2**63 - 1  # bytes of a file, as the index counts them

_HEAD: Final = (
    f"# {FILE_NAME}: what each reference to weights is. Made by `zooproxy lock`; check it in.",
    f"format = {FORMAT}",
)
_FORMAT = re.compile(r"format = ([0-9]{1,9})\Z")
_BLOCK = re.compile(r'\[weights\."((?:[^"\\]|\\["\\])+)"\]\Z')
_URL = re.compile(r'url = "((?:[^"\\]|\\["\\])+)"\Z')
_SHA256 = re.compile(r'sha256 = "([0-9a-f]{64})"\Z')
_SIZE = re.compile(r"size = (0|[1-9][0-9]{0,18})\Z")
_ESCAPED = re.compile(r'\\(["\\])')
_CONFLICT = ("<<<<<<<", "=======", ">>>>>>>", "|||||||")
_WAY_OUT = "lock the reference again with 'zooproxy lock'"


@dataclass(frozen=True)
class Locked:
    """What ``ref`` is locked to: the URL of its source, canonical, and the digest and the size in bytes of the file."""

    ref: str
    url: str
    sha256: Sha256
    size: int


class Lock:
    """Entries in the order of their references. Never changes."""

    def __init__(self, entries: Iterable[Locked] = ()) -> None:
        """
        Raises:
            MalformedLock: an entry cannot be, two are of one reference, or two of one source contradict each other.
        """
        self.entries = tuple(sorted(entries, key=lambda entry: entry.ref))
        if len(self.entries) > MAX_ENTRIES:
            raise MalformedLock(f"a lock has {MAX_ENTRIES:,} entries at most")
        self._by_ref: dict[str, Locked] = {}
        self._by_canonical: dict[str, Locked] = {}
        self._by_url: dict[str, Locked] = {}
        self._by_digest: dict[Sha256, Locked] = {}
        for entry in self.entries:
            self._add(entry)

    def _add(self, entry: Locked) -> None:
        canonical = _checked(entry)
        if entry.ref in self._by_ref:
            raise MalformedLock(f"two entries are of '{entry.ref}'; keep the right one")
        other = self._by_url.setdefault(entry.url, entry)
        if other.sha256 != entry.sha256:
            raise MalformedLock(f"'{other.ref}' and '{entry.ref}' have one source and not one digest; {_WAY_OUT}")
        other = self._by_canonical.setdefault(canonical, entry)
        if other.sha256 != entry.sha256:
            raise MalformedLock(f"'{other.ref}' and '{entry.ref}' are one name and not one digest; {_WAY_OUT}")
        other = self._by_digest.setdefault(entry.sha256, entry)
        if other.size != entry.size:
            raise MalformedLock(f"'{other.ref}' and '{entry.ref}' have one digest and not one size; {_WAY_OUT}")
        self._by_ref[entry.ref] = entry

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Lock) and self.entries == other.entries

    def __hash__(self) -> int:
        return hash(self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def __contains__(self, ref: str) -> bool:
        """Whether there is an entry of just this text."""
        return ref in self._by_ref

    def of(self, ref: str) -> Optional[Locked]:
        """The entry of a reference: as it is written, else by its canonical spelling or as the URL of a source.

        Raises:
            BadReference: the text is no reference.
        """
        found = self._by_ref.get(ref)
        if found is None:
            canonical = parse(ref).canonical
            found = self._by_canonical.get(canonical) or self._by_url.get(canonical)
        return found

    def of_url(self, url: str) -> Optional[Locked]:
        """The first entry whose source is at ``url`` (canonical)."""
        return self._by_url.get(url)

    def of_digest(self, sha256: Sha256) -> Optional[Locked]:
        """The first entry of a file with this digest."""
        return self._by_digest.get(sha256)

    def sources(self) -> Iterator[Locked]:
        """One entry for each source."""
        return iter(self._by_url.values())


def _checked(entry: Locked) -> str:
    """The canonical spelling of the entry's reference.

    Raises:
        MalformedLock: a part of it cannot be.
    """
    try:
        canonical = parse(entry.ref).canonical
    except BadReference as error:
        raise MalformedLock(f"'{_shown(entry.ref)}' is no reference: {error}") from error
    if not _is_source(entry.url):
        raise MalformedLock(
            f"the url of '{entry.ref}' is none that a source has, in its canonical spelling; {_WAY_OUT}"
        )
    if not 0 <= entry.size <= MAX_SIZE:
        raise MalformedLock(f"the size of '{entry.ref}' is no number of bytes; {_WAY_OUT}")
    return canonical


def _is_source(url: str) -> bool:
    if len(url) > MAX_LENGTH or not url.isprintable():
        return False
    try:
        found = locate(url)
    except BadReference:
        return False
    return not isinstance(found, ZooReference) and found.canonical == url


# -- the file ---------------------------------------------------------------------------------------------


def write_lock(lock: Lock) -> bytes:
    """The file's bytes: the same for the same entries."""
    lines = list(_HEAD)
    for entry in lock.entries:
        lines += ["", f"[weights.{_quoted(entry.ref)}]", f"url = {_quoted(entry.url)}"]
        lines += [f'sha256 = "{entry.sha256}"', f"size = {entry.size}"]
    return ("\n".join(lines) + "\n").encode()


def read_lock(file: BinaryIO) -> Lock:
    """The lock that ``write_lock`` wrote.

    Raises:
        MalformedLock: anything else; the message names the line and the way out.
    """
    data = file.read(MAX_BYTES + 1)
    if len(data) > MAX_BYTES:
        raise MalformedLock(f"it has more than {MAX_BYTES:,} bytes")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise MalformedLock(f"it is no UTF-8 from byte {error.start} on") from error
    if "\r" in text:
        raise MalformedLock("its lines end with a carriage return; keep it as it is in the checkout: eol=lf")
    lines = text.split("\n")
    if lines.pop():
        raise MalformedLock("it ends in the middle of a line, so a part of it is missing")
    conflict = next((number for number, line in enumerate(lines, 1) if line.startswith(_CONFLICT)), None)
    if conflict is not None:
        raise MalformedLock(f"line {conflict} is left from a merge; keep the blocks of both sides, in order")
    return Lock(_entries(lines))


def lock_at(path: Path) -> Lock:
    """
    Raises:
        MalformedLock: there is no file that can be read, or it is no lock; the message names it.
    """
    try:
        with path.open("rb") as file:
            return read_lock(file)
    except OSError as error:
        raise MalformedLock(f"{path} cannot be read: {error.strerror}; 'zooproxy lock' writes a lock") from error
    except MalformedLock as error:
        raise MalformedLock(f"{path}: {error}") from error


def _entries(lines: list[str]) -> Iterator[Locked]:
    _check_head(lines)
    before = ""
    for at in range(len(_HEAD), len(lines), 5):
        entry = _entry(lines, at)
        if entry.ref <= before:
            raise MalformedLock(
                f"line {at + 2}: '{entry.ref}' stands after '{before}'; each reference has one block, and the blocks "
                "are in the order of their references"
            )
        before = entry.ref
        yield entry


def _check_head(lines: list[str]) -> None:
    stated = _FORMAT.match(lines[1]) if len(lines) > 1 else None
    if stated is not None and int(stated[1]) > FORMAT:
        raise MalformedLock(f"it is of format {stated[1]}, and this zooproxy reads format {FORMAT}; use a newer one")
    if lines[: len(_HEAD)] != list(_HEAD):
        raise MalformedLock(f"it does not begin as a lock does; 'zooproxy lock' writes one, {FILE_NAME} is its name")


def _entry(lines: list[str], at: int) -> Locked:
    block = [*lines[at : at + 5], "", "", "", "", ""]
    if block[0]:
        raise MalformedLock(f"line {at + 1} should be empty: a block of four lines follows")
    ref = _found(_BLOCK, block[1], at + 2, '[weights."<reference>"]')
    url = _found(_URL, block[2], at + 3, 'url = "<url>"')
    sha256 = _found(_SHA256, block[3], at + 4, 'sha256 = "<64 lower-case hexadecimal digits>"')
    size = _found(_SIZE, block[4], at + 5, "size = <bytes>")
    return Locked(_ESCAPED.sub(r"\1", ref), _ESCAPED.sub(r"\1", url), Sha256(sha256), int(size))


def _found(pattern: re.Pattern[str], line: str, number: int, right: str) -> str:
    match = pattern.match(line)
    if match is None:
        raise MalformedLock(f"line {number} should be {right}; lock it again with 'zooproxy lock'")
    return match[1]


def _quoted(text: str) -> str:
    """A TOML basic string; references and URLs hold no characters that need more than this."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _shown(text: str) -> str:
    return "".join(character if character.isprintable() else "?" for character in text[:80])
