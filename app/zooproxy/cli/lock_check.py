"""``zooproxy lock --check``: whether a lock file lists all that configs need, and is still right."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Optional

from zooproxy.cli.look_ups import LookUps, PackagedLookUps, look_ups
from zooproxy.errors import BadReference, NotInCatalog, ProxyRefused, ZooproxyError
from zooproxy.names.lock import Lock, Locked, lock_at
from zooproxy.wire.answers import ResolveAnswer

#: What is found. The first four make the exit status 1; without a proxy, names of its site are unknown, and noted.
MISSING: Final = "missing"
STALE: Final = "stale"
DIFFERS: Final = "differs"
UNKNOWN: Final = "unknown"
SURPLUS: Final = "surplus"
UNCHECKED: Final = "unchecked"
_NOTED: Final = (SURPLUS, UNCHECKED)


@dataclass(frozen=True)
class Finding:
    verdict: str
    ref: str
    words: str

    def __str__(self) -> str:
        return f"{self.verdict:9} {self.ref}: {self.words}"


def check(path: Path, named: Mapping[str, str]) -> int:
    """Prints what is found of the lock at ``path`` and of ``named`` (where each reference stands); the exit status.

    Raises:
        MalformedLock: there is no lock.
        ProxyUnreachable: ``ZOOPROXY`` names a proxy, and none answers.
    """
    lock, source = lock_at(path), look_ups()
    checked = _Checked(lock, source, offline=isinstance(source, PackagedLookUps))
    found = [*checked.needed(named), *checked.entries(), *checked.surplus(named)]
    for one in found:
        print(one)
    wrong = sum(one.verdict not in _NOTED for one in found)
    whom = "the packaged catalog" if checked.offline else "the proxy"
    print(f"{path}: {len(lock)} references checked against {whom}, {wrong} not right", file=sys.stderr)
    return 1 if wrong else 0


@dataclass(frozen=True)
class _Checked:
    lock: Lock
    source: LookUps
    offline: bool

    def needed(self, named: Mapping[str, str]) -> Iterator[Finding]:
        for ref, place in named.items():
            where = f"{place} names it" if place else "it is not in the lock file"
            try:
                if self._entry_for(ref) is None:
                    yield Finding(MISSING, ref, f"{where}; zooproxy lock '{ref}'")
            except (BadReference, NotInCatalog, ProxyRefused) as error:
                yield Finding(UNKNOWN, ref, f"{where}; {_own(error)}")

    def entries(self) -> Iterator[Finding]:
        for entry in self.lock.entries:
            try:
                finding = self._of(entry, self.source.resolve(entry.ref))
            except (NotInCatalog, ProxyRefused) as error:
                finding = Finding(UNCHECKED if self.offline else UNKNOWN, entry.ref, str(_own(error)))
            if finding is not None:
                yield finding

    def surplus(self, named: Mapping[str, str]) -> Iterator[Finding]:
        """Entries that nothing of ``named`` leads to, where something was named."""
        if not named:
            return
        used = {entry.url for entry in map(self._entry_or_none, named) if entry}
        for entry in self.lock.entries:
            if entry.url not in used:
                yield Finding(
                    SURPLUS, entry.ref, "nothing named here needs it; zooproxy lock --prune drops such entries"
                )

    def _of(self, entry: Locked, answer: ResolveAnswer) -> Optional[Finding]:
        again = f"zooproxy lock --update '{entry.ref}'"
        if answer.url != entry.url:
            return Finding(STALE, entry.ref, f"locked from {entry.url}, and it leads to {answer.url} now; {again}")
        if answer.sha256 is not None and answer.sha256 != entry.sha256:
            return Finding(
                DIFFERS, entry.ref, f"locked with {entry.sha256}, and the proxy has {answer.sha256}; {again}"
            )
        return None

    def _entry_for(self, ref: str) -> Optional[Locked]:
        return self.lock.of(ref) or self.lock.of_url(self.source.resolve(ref).url)

    def _entry_or_none(self, ref: str) -> Optional[Locked]:
        try:
            return self._entry_for(ref)
        except (BadReference, NotInCatalog, ProxyRefused):
            return None  # told already


def _own(error: ZooproxyError) -> ZooproxyError:
    """
    Raises:
        ProxyRefused: it is not about one reference.
    """
    if isinstance(error, ProxyRefused) and error.status not in (400, 404):
        raise error
    return error
