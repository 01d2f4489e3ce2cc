"""``zooproxy run``: an unchanged program, with the hooks in it and in every Python that it starts."""

from __future__ import annotations

import argparse
import os
import sys
from typing import Any

from zooproxy.errors import SettingsError


def add_to(commands: Any) -> None:
    run = commands.add_parser(
        "run",
        help="run a program, a script or a command, whose checkpoints come through the proxy",
        description="Runs PROGRAM with mmengine's, mmcv 1.x's and torch.hub's downloads behind the proxy that ZOOPROXY "
        "names, in child processes too. A file that ends in .py is run with this Python.",
    )
    run.add_argument("program", nargs=argparse.REMAINDER, metavar="[--] PROGRAM …")
    run.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from zooproxy.client.imports import environment_with_hooks
    from zooproxy.client.settings import ClientSettings

    program = options.program[1:] if options.program[:1] == ["--"] else options.program
    if not program:
        raise SettingsError("zooproxy run needs a program: zooproxy run -- python tools/train.py config.py")
    ClientSettings.from_environ()  # said here, and not by each rank in the middle of its start
    command = [sys.executable, *program] if program[0].endswith(".py") else program
    try:
        os.execvpe(command[0], command, environment_with_hooks())  # noqa: S606  # the user's own program, replacing us
    except OSError as error:
        raise SettingsError(f"the program {command[0]} cannot be run: {error.strerror}") from error
