"""The ``zooproxy`` command."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

import zooproxy
from zooproxy.errors import SettingsError, ZooproxyError


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status: 0 done, 1 refused (a sentence on stderr says why), 2 misused."""
    options = _parser().parse_args(arguments)
    try:
        options.run()
    except ZooproxyError as error:
        print(f"zooproxy: {error.title.lower()}: {error}", file=sys.stderr)
        return 1
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("zooproxy", description="A caching proxy for model weights.")
    parser.add_argument("--version", action="version", version=zooproxy.__version__)
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    serve = commands.add_parser("serve", help="run the proxy; its settings are ZOOPROXY_<NAME> or zooproxy.toml")
    serve.set_defaults(run=_serve)
    healthy = commands.add_parser("healthy", help="ask the proxy that the same settings describe whether it is ready")
    healthy.set_defaults(run=_healthy)
    return parser


def _serve() -> None:
    _check_installed()
    from zooproxy.serving.server import run
    from zooproxy.serving.settings import read_settings

    run(read_settings())


def _healthy() -> None:
    _check_installed()
    from zooproxy.serving.readiness import check_ready
    from zooproxy.serving.settings import read_settings

    check_ready(read_settings())


def _check_installed() -> None:
    """
    Raises:
        SettingsError: this is the bare client's installation.
    """
    try:
        import uvicorn  # noqa: F401  # the last of the server's parts that anything else would bring
    except ModuleNotFoundError as error:
        raise SettingsError("the server's parts are not installed: pip install 'zooproxy[server]'") from error
