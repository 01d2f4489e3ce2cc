"""``zooproxy serve`` and ``zooproxy healthy``: the service as a process, and whether it is ready."""

from __future__ import annotations

import argparse
from typing import Any

from zooproxy.errors import SettingsError


def add_to(commands: Any) -> None:
    serve = commands.add_parser("serve", help="run the proxy; its settings are ZOOPROXY_<NAME> or zooproxy.toml")
    # How a service of several processes starts each of them: the descriptors that it hands down.
    serve.add_argument("--worker", nargs=2, type=int, help=argparse.SUPPRESS)
    serve.set_defaults(run=_serve)
    healthy = commands.add_parser("healthy", help="ask the proxy that the same settings describe whether it is ready")
    healthy.set_defaults(run=_healthy)


def _serve(options: argparse.Namespace) -> int:
    check_installed()
    from zooproxy.serving import workers
    from zooproxy.serving.settings import read_settings

    settings = read_settings()
    if settings.workers > 1 and not options.worker:
        workers.run(settings)
        return 0
    from zooproxy.serving import server  # the whole service: the parent of workers has no use for it

    if options.worker:
        server.run_worker(settings, *options.worker)
    else:
        server.run(settings)
    return 0


def _healthy(_: argparse.Namespace) -> int:
    check_installed()
    from zooproxy.serving.readiness import check_ready
    from zooproxy.serving.settings import read_settings

    check_ready(read_settings())
    return 0


def check_installed() -> None:
    """
    Raises:
        SettingsError: this is the bare client's installation.
    """
    try:
        import uvicorn  # noqa: F401  # one of the server's parts that nothing else brings along
    except ModuleNotFoundError as error:
        raise SettingsError("the server's parts are not installed: pip install 'zooproxy[server]'") from error
