"""``make fuzz``, or in tests/ ``python -m fuzz [TARGET …] [--seconds N]``.

Coverage-guided where atheris is installed, else by mutation. ``--save`` keeps what ended in a way that no file of the
corpus does. An input that breaks a target is written to the working directory as ``fuzz-TARGET-….bin``, and the run
ends with status 1.
"""

from __future__ import annotations

import argparse
import hashlib
import random
import re
import subprocess
import sys
import time
import traceback
from collections.abc import Iterator
from pathlib import Path

from fuzz.targets import TARGETS

CORPUS = Path(__file__).parent / "corpus"
_LONGEST_SAVED = 4096


def main() -> int:
    parser = argparse.ArgumentParser("fuzz", description=__doc__)
    parser.add_argument("targets", nargs="*", metavar="TARGET", help=f"of {', '.join(TARGETS)}; all by default")
    parser.add_argument("--seconds", type=float, default=60, help="for each target")
    parser.add_argument("--seed", type=int, default=0, help="of the mutations")
    parser.add_argument("--mutate", action="store_true", help="by mutation, also where atheris is installed")
    parser.add_argument("--save", action="store_true", help="add to the corpus what ended in a new way")
    options = parser.parse_args()
    failed = [target for target in options.targets or TARGETS if not _fuzzed(target, options)]
    return 1 if failed else 0


def _fuzzed(target: str, options: argparse.Namespace) -> bool:
    if not options.mutate:
        try:
            import atheris  # noqa: F401
        except ModuleNotFoundError:
            print("atheris is not installed: mutations only (pip install atheris)", file=sys.stderr)
        else:
            # libFuzzer ends its process, so each target has one
            command = [sys.executable, "-m", "fuzz.guided", target, f"-max_total_time={options.seconds:.0f}"]
            return subprocess.run(command, check=False).returncode == 0
    return _mutated(target, options)


def _mutated(target: str, options: argparse.Namespace) -> bool:
    run, draw = TARGETS[target], random.Random(options.seed)
    seeds = [path.read_bytes() for path in sorted((CORPUS / target).iterdir())]
    known = {_kind(run(seed)) for seed in seeds}
    count, stop = 0, time.monotonic() + options.seconds
    for data in mutants(seeds, draw):
        if time.monotonic() > stop:
            break
        count += 1
        try:
            kind = _kind(run(data))
        except Exception:  # noqa: BLE001  # whatever it is, it is what was looked for
            path = Path(f"fuzz-{target}-{hashlib.sha256(data).hexdigest()[:12]}.bin")
            path.write_bytes(data)
            traceback.print_exc()
            print(f"{target}: input {count:,} broke it: {path}")
            return False
        if kind not in known:
            known.add(kind)
            seeds.append(data)
            if options.save and len(data) <= _LONGEST_SAVED:
                (CORPUS / target / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
    print(f"{target}: {count:,} inputs, {len(known)} ways to end, none of them a fault")
    return True


def _kind(outcome: str) -> str:
    """The outcome without what is in quotes and without its numbers."""
    return re.sub(r"'[^']*'|[\d,.]+", "…", outcome)


def mutants(seeds: list[bytes], draw: random.Random) -> Iterator[bytes]:
    """Seeds with a few bytes changed, cut out, doubled, or taken from another seed, for ever."""
    while True:
        data = bytearray(draw.choice(seeds))
        for _ in range(draw.choice((1, 1, 2, 3, 6))):
            at = draw.randrange(len(data) + 1)
            what = draw.random()
            if what < 0.6 and at < len(data):
                data[at] = draw.choice((draw.randrange(256), data[at] ^ (1 << draw.randrange(8)), 0, 255))
            elif what < 0.75:
                del data[at : at + draw.randint(1, 16)]
            elif what < 0.9:
                data[at:at] = data[at : at + draw.randint(1, 32)]
            else:
                other = draw.choice(seeds)
                start = draw.randrange(len(other) + 1)
                data[at:at] = other[start : start + draw.randint(1, 64)]
        yield bytes(data)


if __name__ == "__main__":
    sys.exit(main())
