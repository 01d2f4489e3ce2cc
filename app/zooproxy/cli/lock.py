"""``zooproxy lock``: writes down what references to weights are, and checks that it is still so."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from zooproxy.cli import lock_check
from zooproxy.cli.lock_sources import LockSource, lock_source
from zooproxy.cli.lock_subjects import subjects
from zooproxy.errors import BadRequest, SettingsError, ZooproxyError
from zooproxy.names.lock import FILE_NAME, Lock, Locked, lock_at, write_lock


def add_to(commands: Any) -> None:
    lock = commands.add_parser(
        "lock",
        help="write what references are (source, sha256, size) into a lock file, or check it",
        description="For each reference, given or mentioned in configs: its source, the full sha256 and the size, as "
        "the first proxy of ZOOPROXY has proven them (what it does not hold is brought in first), or as 'direct' "
        "delivers them. Entries that are there are kept. Nothing is written unless all can be locked.",
    )
    lock.add_argument("what", metavar="CONFIG_OR_REF", nargs="*", help="a reference, a config, or a folder of configs")
    lock.add_argument("-o", "--output", type=Path, default=Path(FILE_NAME), metavar="FILE", help=f"{FILE_NAME}")
    lock.add_argument("--update", action="store_true", help="lock anew, also what changed; all there is by default")
    lock.add_argument("--prune", action="store_true", help="drop the entries of everything that is not named")
    lock.add_argument(
        "--check",
        action="store_true",
        help="write nothing; exit status 1 if a reference is not in the file, or an entry is not right any more",
    )
    lock.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    if options.check and (options.update or options.prune):
        raise BadRequest("--check changes nothing: it goes with neither --update nor --prune")
    named = subjects(options.what)
    if options.check:
        return lock_check.check(options.output, named)
    before = lock_at(options.output) if options.output.exists() else Lock()
    if not named and (options.prune or not options.update or not len(before)):
        raise SettingsError("nothing to lock: name a reference, a config or a folder of configs")
    wanted = named or {entry.ref: "" for entry in before.entries}
    work = _Work(lock_source(), before, update=options.update)
    work.lock(wanted)
    if work.refused:
        for line in work.refused:
            print(line, file=sys.stderr)
        print(f"{options.output} is as it was: {len(work.refused)} could not be locked", file=sys.stderr)
        return 1
    kept = [entry for entry in before.entries if not options.prune or entry.ref in wanted]
    after = _merged(kept, work.locked)
    _tell(before, after)
    _write(options.output, write_lock(after))
    print(f"{options.output}: {len(after)} references", file=sys.stderr)
    return 0


@dataclass
class _Work:
    """``locked`` are entries that are new or changed, ``refused`` a line for each reference that cannot be locked."""

    source: LockSource
    before: Lock
    update: bool
    locked: list[Locked] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)

    def lock(self, wanted: Mapping[str, str]) -> None:
        refs = [ref for ref in wanted if self._is_to_be_obtained(ref, wanted[ref])]
        for ref, found in self.source.obtain(refs).items() if refs else ():
            if isinstance(found, Locked):
                self._take(found)
            else:
                self._refuse(ref, wanted[ref], found)

    def _is_to_be_obtained(self, ref: str, place: str) -> bool:
        """Not where the entry that is there is kept, nor where it is plain already that it cannot be."""
        entry = self.before.of(ref) if ref in self.before else None
        if entry is None or self.update:
            return True
        known = self.source.look(ref)
        if isinstance(known, ZooproxyError):
            self._refuse(ref, place, known)
        elif known.url != entry.url:
            return True
        elif known.sha256 is not None and known.sha256 != entry.sha256:
            self._differs(entry, known.sha256)
        return False

    def _take(self, found: Locked) -> None:
        if not self.update:
            others = [entry for entry in self.before.entries if found.ref == entry.ref or found.url == entry.url]
            differing = next((entry for entry in others if entry.sha256 != found.sha256), None)
            if differing is not None:
                self._differs(differing, found.sha256)
                return
        self.locked.append(found)

    def _differs(self, entry: Locked, sha256: str) -> None:
        self.refused.append(
            f"differs   {entry.ref}: locked with {entry.sha256}, and now it has {sha256}; if the change is right: "
            f"zooproxy lock --update '{entry.ref}'"
        )

    def _refuse(self, ref: str, place: str, error: ZooproxyError) -> None:
        self.refused.append(f"refused   {ref}{f' ({place})' if place else ''}: {error}")


def _merged(kept: Iterable[Locked], locked: Sequence[Locked]) -> Lock:
    """What is kept of a source that was locked anew is the same file, under whatever name."""
    fresh = {entry.url: entry for entry in locked}
    renewed = (replace(fresh.get(entry.url, entry), ref=entry.ref) for entry in kept)
    return Lock({entry.ref: entry for entry in (*renewed, *locked)}.values())


def _tell(before: Lock, after: Lock) -> None:
    for line in (*_changes(before.entries, after), *_additions(before, after.entries)):
        print(line)


def _changes(entries: Iterable[Locked], after: Lock) -> Iterable[str]:
    for entry in entries:
        now = after.of(entry.ref) if entry.ref in after else None
        if now is None:
            yield f"dropped   {entry.ref}"
        elif now.sha256 != entry.sha256:
            yield f"changed   {entry.ref}: {entry.sha256} -> {now.sha256}"
        elif now.url != entry.url:
            yield f"moved     {entry.ref}: {entry.url} -> {now.url}"


def _additions(before: Lock, entries: Sequence[Locked]) -> Iterable[str]:
    yield from (f"locked    {entry.ref}: {entry.sha256}" for entry in entries if entry.ref not in before)


def _write(path: Path, data: bytes) -> None:
    """In one step, and only where it changes something."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.part")
    try:
        if path.exists() and path.read_bytes() == data:
            return
        temporary.write_bytes(data)
        temporary.replace(path)
    except OSError as error:
        temporary.unlink(missing_ok=True)
        raise SettingsError(f"{path} cannot be written: {error.strerror}") from error
