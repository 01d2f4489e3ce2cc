"""Coverage-guided: ``python -m fuzz.guided TARGET [libFuzzer's options]``. atheris instruments what it imports."""

from __future__ import annotations

import sys
from pathlib import Path

import atheris

with atheris.instrument_imports(include=["zooproxy"]):
    from fuzz.targets import TARGETS


def main() -> None:
    target, *options = sys.argv[1:]
    corpus = Path(__file__).parent / "corpus" / target
    # The first folder is where libFuzzer puts what it finds; the saved corpus is only read.
    found = Path(__file__).parents[2] / ".state" / "fuzz" / target
    found.mkdir(parents=True, exist_ok=True)
    atheris.Setup([sys.argv[0], str(found), str(corpus), "-max_len=8192", *options], lambda data: TARGETS[target](data))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
