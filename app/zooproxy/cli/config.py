"""``zooproxy config``: the server's settings, checked, shown, explained."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from zooproxy.cli.service import check_installed


def add_to(commands: Any) -> None:
    config = commands.add_parser("config", help="check or show the settings of a proxy, or an example of all of them")
    verbs = config.add_subparsers(metavar="VERB", required=True)
    check = verbs.add_parser("check", help="would a proxy start with these settings? exit status 1 if not")
    check.set_defaults(run=_check)
    show = verbs.add_parser("show", help="every setting and where it comes from; secrets masked")
    show.set_defaults(run=_show)
    for verb in (check, show):
        verb.add_argument("file", metavar="FILE", type=Path, nargs="?", help="instead of zooproxy.toml here")
    example = verbs.add_parser("example", help="a settings file with every key and its default")
    example.set_defaults(run=_example)


def _check(options: argparse.Namespace) -> int:
    check_installed()
    from zooproxy.serving.settings import read_settings
    from zooproxy.serving.wiring import check_settings

    check_settings(read_settings(options.file))
    print("the settings are right")
    return 0


def _show(options: argparse.Namespace) -> int:
    check_installed()
    from zooproxy.serving.configuration import shown

    for line in shown(options.file):
        print(line)
    return 0


def _example(_: argparse.Namespace) -> int:
    check_installed()
    from zooproxy.serving.configuration import example

    sys.stdout.write(example())
    return 0
