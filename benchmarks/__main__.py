"""``python -m benchmarks [--smoke] [NAME …]``: every figure, side by side in one run, printed and stored as JSON."""

from __future__ import annotations

import argparse
import importlib
import json
import os
import platform
import sys
from dataclasses import asdict
from pathlib import Path

from benchmarks.chart import chart
from benchmarks.components import MissingComponent
from benchmarks.figures import Figure

NAMES = ("names", "tensor_index", "variants", "serving", "crowds", "fills", "loading", "eviction", "bundles")

#: Only where they are asked for: they need what not every machine has.
ASKED_FOR = ("devices",)


def main() -> int:
    parser = argparse.ArgumentParser("benchmarks", description=__doc__)
    parser.add_argument(
        "names",
        nargs="*",
        metavar="NAME",
        help=f"of {', '.join(NAMES)}, which all run by default; or {', '.join(ASKED_FOR)}",
    )
    parser.add_argument("--smoke", action="store_true", help="small sizes and one round: does it still run?")
    parser.add_argument("--out", type=Path, help="where to store the figures as JSON")
    parser.add_argument("--chart", type=Path, help="where to draw them (SVG)")
    options = parser.parse_args()
    try:
        figures = [figure for name in options.names or NAMES for figure in _figures(name, options.smoke)]
    except MissingComponent as error:
        print(error, file=sys.stderr)
        return 1
    if options.out:
        options.out.write_text(json.dumps({"machine": machine(), "figures": list(map(asdict, figures))}, indent=1))
    if options.chart:
        options.chart.write_text(chart(figures))
    return 0


def _figures(name: str, smoke: bool) -> list[Figure]:
    figures: list[Figure] = importlib.import_module(f"benchmarks.{name}").run(smoke)
    for figure in figures:
        numbers = f"{figure.ours:12,.3f} {figure.theirs:12,.3f} {figure.unit:<11} {figure.ratio:7.3f}"
        print(f"{figure.name:<62} {numbers}   reach {figure.reach}", flush=True)
    return figures


def machine() -> dict[str, str | int | None]:
    return {
        "cpus": os.cpu_count(),
        "machine": platform.machine(),
        "kernel": platform.release(),
        "python": platform.python_version(),
    }


if __name__ == "__main__":
    sys.exit(main())
