"""``zooproxy cache ls`` and ``du``: what the proxy holds."""

from __future__ import annotations

import argparse
import json
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final
from urllib.parse import urlencode

from zooproxy.cli.warm import Service
from zooproxy.client.settings import ClientSettings
from zooproxy.wire import routes

PAGE: Final = 500


def add_to(verbs: Any) -> None:
    listing = verbs.add_parser("ls", help="list what the proxy holds, the first to leave first")
    listing.add_argument("find", metavar="TEXT", nargs="?", default="", help="a reference, part of a URL, or digits")
    listing.add_argument("--json", action="store_true", help="as JSON, all that is known")
    listing.set_defaults(run=_list)
    used = verbs.add_parser("du", help="how much the proxy holds, and how much may be")
    used.add_argument("--json", action="store_true", help="as JSON")
    used.set_defaults(run=_used)


def _list(options: argparse.Namespace) -> int:
    blobs = list(_blobs(Service(ClientSettings.from_environ(os.environ)), options.find))
    if options.json:
        print(json.dumps(blobs, indent=1))
    elif blobs:
        _print_aligned([("BYTES", "LAST USED", "USES", "", "SHA256", "WHAT"), *map(_row, blobs)])
    return 0


def _blobs(service: Service, find: str) -> Iterator[Mapping[str, Any]]:
    """Page by page; one that was used meanwhile moves to the end and is not told twice."""
    told, cursor = set(), ""
    while True:
        page = service.call("GET", f"{routes.CACHE_BLOBS}?{urlencode({'q': find, 'limit': PAGE, 'cursor': cursor})}")
        for blob in page["blobs"]:
            if blob["sha256"] not in told:
                told.add(blob["sha256"])
                yield blob
        cursor = page["next"]
        if not cursor:
            return


def _row(blob: Mapping[str, Any]) -> Sequence[str]:
    marks = [word for word in ("pinned", "derived") if blob[word]]
    what = (blob["refs"] or blob["sources"] or ["-"])[0]
    used = (blob["last_used_at"] or "never")[:16].replace("T", " ")
    return f"{blob['size']:,}", used, str(blob["uses"]), " ".join(marks), blob["sha256"][:16], what


def _print_aligned(rows: Sequence[Sequence[str]]) -> None:
    """The numbers to the right."""
    widths = [max(map(len, column)) for column in zip(*rows)]
    for row in rows:
        cells = [
            cell.rjust(width) if number in (0, 2) else cell.ljust(width)
            for number, (cell, width) in enumerate(zip(row, widths))
        ]
        print("  ".join(cells).rstrip())


def _used(options: argparse.Namespace) -> int:
    answer = Service(ClientSettings.from_environ(os.environ)).call("GET", routes.CACHE)
    if options.json:
        print(json.dumps(answer, indent=1))
        return 0
    rows = [("held", answer["bytes"], answer["blobs"])]
    rows += [(word, answer[f"{word}_bytes"], answer[f"{word}_blobs"]) for word in ("pinned", "derived", "leaving")]
    cells = [(word, f"{size:,} bytes", f"{count:,} blobs") for word, size, count in rows]
    cells.append(("free", f"{answer['free_bytes']:,} bytes", ""))
    cells.append(("cap", f"{answer['cap_bytes']:,} bytes" if answer["cap_bytes"] else "none", ""))
    word_width, size_width, count_width = (max(map(len, column)) for column in zip(*cells))
    for word, size, count in cells:
        print(f"{word:<{word_width}}  {size:>{size_width}}  {count:>{count_width}}".rstrip())
    return 0
