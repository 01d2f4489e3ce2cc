"""``zooproxy pull``: a checkpoint through the proxy into a file, with a progress bar."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from zooproxy.wire import routes

if TYPE_CHECKING:
    from zooproxy.client.pulling import Report


def add_to(commands: Any) -> None:
    pull = commands.add_parser("pull", help="download a checkpoint through the proxy; goes on where it was cut short")
    pull.add_argument("ref", metavar="REF", help="such as torchvision://resnet50 or an https:// URL")
    pull.add_argument("-o", "--output", type=Path, metavar="FILE", help="a file, or a directory; by default here")
    pull.add_argument("--variant", choices=routes.VARIANTS, default=routes.RAW, help="raw by default")
    pull.add_argument("--format", choices=routes.FORMATS, default=routes.SAFETENSORS, help="of full and model")
    pull.add_argument("--prefix", help="only the tensors under it, stripped of it; of full and model")
    pull.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from zooproxy.client.pulling import Rendition, pull
    from zooproxy.client.settings import ClientSettings
    from zooproxy.errors import BadRequest, SettingsError

    if options.prefix is not None and options.variant == routes.RAW:
        raise BadRequest("a raw checkpoint is pulled as published: --prefix needs --variant model or full")
    wanted = Rendition(options.ref, options.variant, options.format, options.prefix)
    with reporting() as report:
        try:
            pulled = pull(wanted, options.output or Path(), ClientSettings.from_environ(), report)
        except OSError as error:
            raise SettingsError(f"the output cannot be written: {error.strerror}") from error
    for text in pulled.warnings:
        print(f"zooproxy: warning: {text}", file=sys.stderr)
    print(f"{pulled.path}  {pulled.size:,} bytes")
    return 0


@contextmanager
def reporting() -> Iterator[Report]:
    """rich's bar on a terminal where rich is installed, else the plain one; nothing where nobody looks."""
    from zooproxy.client.progress import Bar

    try:
        from rich.console import Console
    except ImportError:
        with Bar() as bar:
            yield bar.report
        return
    with _rich(Console(stderr=True)) as report:
        yield report


@contextmanager
def _rich(console: Any) -> Iterator[Report]:
    from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=console, disable=not console.is_terminal) as progress:
        tasks: dict[str, Any] = {}

        def report(label: str, done: int, total: int | None) -> None:
            if label not in tasks:
                tasks[label] = progress.add_task(label, total=total)
            progress.update(tasks[label], completed=done, total=total)

        yield report
