"""The ``zooproxy`` command: one module per noun, each of which adds its subcommands to the parser."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence

import zooproxy
from zooproxy.cli import (
    bundle,
    cache,
    catalog,
    config,
    diff,
    files,
    lock,
    publish,
    pull,
    run,
    service,
    token,
    warm,
    watch,
)
from zooproxy.errors import ProxyRefused, ZooproxyError

_NOUNS = (service, config, token, catalog, files, warm, pull, publish, run, diff, lock, cache, bundle, watch)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status: 0 done, 1 refused (a sentence on stderr says why), 2 misused."""
    options = _parser().parse_args(arguments)
    try:
        status: int = options.run(options)
    except ZooproxyError as error:
        print(f"zooproxy: {error.title.lower()}: {error}", file=sys.stderr)
        for suggestion in _suggestions(error):
            print(f"  {suggestion}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # Whoever read the output (head, less) has read enough; what Python would flush at its end goes nowhere.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    return status


def _suggestions(error: ZooproxyError) -> list[str]:
    """The nearest names, of this installation's catalog or of a proxy's."""
    members = error.details if isinstance(error, ProxyRefused) else error.extras
    named = members.get("suggestions")
    return [name for name in named if isinstance(name, str)] if isinstance(named, list) else []


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("zooproxy", description="A caching proxy for model weights.")
    parser.add_argument("--version", action="version", version=zooproxy.__version__)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    for noun in _NOUNS:
        noun.add_to(commands)
    return parser
