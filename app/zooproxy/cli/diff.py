"""``zooproxy diff``: what two checkpoints, references or files, have in common by names and shapes."""

from __future__ import annotations

import argparse
from typing import Any


def add_to(commands: Any) -> None:
    diff = commands.add_parser(
        "diff",
        help="compare the tensors' names and shapes of two checkpoints, references or files",
        description="Tells which names of A are missing in B, which of B are unexpected, and which differ in shape, "
        "without moving a tensor. The exit status is 0 where all match, else 1.",
    )
    diff.add_argument("wanted", metavar="A", help="a reference, or a file of this machine")
    diff.add_argument("found", metavar="B", help="likewise")
    diff.set_defaults(run=_run)


def _run(options: argparse.Namespace) -> int:
    from zooproxy.client.comparing import compared, shapes_of

    comparison = compared(shapes_of(options.wanted), shapes_of(options.found))
    print(comparison)
    return 0 if comparison.matches else 1
