"""The ``zooproxy`` command: one module per noun, each of which adds its subcommands to the parser."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import zooproxy
from zooproxy.cli import service
from zooproxy.errors import ZooproxyError

_NOUNS = (service,)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status: 0 done, 1 refused (a sentence on stderr says why), 2 misused."""
    options = _parser().parse_args(arguments)
    try:
        status: int = options.run(options)
    except ZooproxyError as error:
        print(f"zooproxy: {error.title.lower()}: {error}", file=sys.stderr)
        return 1
    return status


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("zooproxy", description="A caching proxy for model weights.")
    parser.add_argument("--version", action="version", version=zooproxy.__version__)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for noun in _NOUNS:
        noun.add_to(commands)
    return parser
