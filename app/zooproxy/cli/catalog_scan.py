"""``zooproxy catalog scan``: every checkpoint that configs mention, and whether it can be had."""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from zooproxy.cli.config_references import config_files
from zooproxy.cli.look_ups import LookUps, look_ups
from zooproxy.errors import BadReference, NotInCatalog, ProxyRefused, UnreadableConfig
from zooproxy.names.mentions import mentions

#: What is found of a reference. ``unresolvable`` and ``unreadable`` make the exit status 1.
OK: Final = "ok"
PATH: Final = "path"
UNRESOLVABLE: Final = "unresolvable"
UNREADABLE: Final = "unreadable"
_FLAGGED = (UNRESOLVABLE, UNREADABLE)


@dataclass(frozen=True)
class Finding:
    """``notes`` are warnings of what resolves, or why something does not; ``ref`` is empty for an unreadable file."""

    file: str
    line: int
    ref: str
    verdict: str
    url: str | None = None
    notes: tuple[str, ...] = ()


def add_to(verbs: Any) -> None:
    scan = verbs.add_parser(
        "scan",
        help="list the checkpoints that configs mention",
        description="Reads configs (Python, never executed; YAML; JSON) and lists every checkpoint that they mention. "
        "Exit status 1 if one is unresolvable or a file cannot be read; a plain path is neither.",
    )
    scan.add_argument("paths", metavar="PATH", nargs="+", type=Path, help="a file, or a folder to go through")
    scan.add_argument("--flagged", action="store_true", help="only what is unresolvable or unreadable")
    scan.add_argument("--json", action="store_true")
    scan.set_defaults(run=_scan)


def _scan(options: argparse.Namespace) -> int:
    source = look_ups()
    files = list(dict.fromkeys(config_files(options.paths)))
    found = list(_findings(files, source))
    shown = [one for one in found if one.verdict in _FLAGGED or not options.flagged]
    if options.json:
        print(json.dumps([asdict(one) for one in shown], indent=1, ensure_ascii=False))
    else:
        for one in shown:
            print(_line(one))
    verdicts = Counter(one.verdict for one in found)
    told = ", ".join(f"{verdicts[verdict]} {verdict}" for verdict in (OK, PATH, *_FLAGGED))
    print(f"{len(files)} files, {len({one.ref for one in found})} different references: {told}", file=sys.stderr)
    return 1 if any(verdicts[verdict] for verdict in _FLAGGED) else 0


def _findings(files: Iterable[Path], source: LookUps) -> Iterator[Finding]:
    known: dict[str, tuple[str, str | None, tuple[str, ...]]] = {}
    for file in files:
        try:
            found = mentions(file.name, file.read_bytes())
        except UnreadableConfig as error:
            yield Finding(str(file), 1, "", UNREADABLE, notes=(str(error),))
            continue
        except OSError as error:
            yield Finding(str(file), 1, "", UNREADABLE, notes=(error.strerror or "it cannot be read",))
            continue
        for mention in found:
            if mention.text not in known:
                known[mention.text] = (PATH, None, ()) if mention.is_path else _resolved(mention.text, source)
            yield Finding(str(file), mention.line, mention.text, *known[mention.text])


def _resolved(ref: str, source: LookUps) -> tuple[str, str | None, tuple[str, ...]]:
    try:
        answer = source.resolve(ref)
    except (BadReference, NotInCatalog) as error:
        return UNRESOLVABLE, None, (str(error),)
    except ProxyRefused as error:
        if not 400 <= error.status < 500:
            raise
        return UNRESOLVABLE, None, (str(error),)
    return OK, answer.url, tuple(answer.warnings)


def _line(one: Finding) -> str:
    notes = "; ".join(one.notes)
    said = f"{one.file}:{one.line}: {one.ref}".rstrip()
    verdict = "" if one.verdict == OK else f"  [{one.verdict}]"
    return f"{said}{verdict}" + (f"  {notes}" if notes else "")
