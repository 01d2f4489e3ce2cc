"""``zooproxy cache verify``: is what a proxy's data directory holds what it should be?"""

from __future__ import annotations

import argparse
import asyncio
import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from zooproxy.cli.recording import record
from zooproxy.cli.service import check_installed

if TYPE_CHECKING:
    from zooproxy.provide.findings import Verified
    from zooproxy.serving.settings import Settings


def add_to(verbs: Any) -> None:
    verify = verbs.add_parser(
        "verify",
        help="prove what the data directory of these settings holds; a server may run on it. Exit status 1: faults",
    )
    depth = verify.add_mutually_exclusive_group()
    depth.add_argument("--quick", action="store_true", help="existence, lengths, index, sidecars (the default)")
    depth.add_argument("--full", action="store_true", help="and the sha256 of every blob, and the tensor indexes")
    verify.add_argument(
        "--repair",
        action="store_true",
        help="quarantine bad blobs, so that they are fetched again when asked for, and put the rest right",
    )
    verify.add_argument("--json", action="store_true", help="one JSON object instead of a table")
    verify.set_defaults(run=_verify)


def _verify(options: argparse.Namespace) -> int:
    check_installed()
    from zooproxy.serving.settings import read_settings

    settings = read_settings()
    verified = asyncio.run(_verified(settings, options))
    repaired = {one.name: one.outcome for one in verified.findings if one.is_repaired}
    if repaired:
        record(settings, "cache repair", {"repaired": [f"{name}: {outcome}" for name, outcome in repaired.items()]})
    if options.json:
        print(json.dumps(_members(verified), indent=1))
    else:
        _print(verified)
    return 1 if verified.findings else 0


async def _verified(settings: Settings, options: argparse.Namespace) -> Verified:
    from zooproxy.serving.wiring import open_verification

    async with open_verification(settings) as verification:
        return await verification.run(full=options.full, repair=options.repair)


def _members(verified: Verified) -> dict[str, Any]:
    rate = verified.read / verified.seconds if verified.seconds else 0
    return {**asdict(verified), "bytes_per_second": round(rate)}


def _print(verified: Verified) -> None:
    for one in verified.findings:
        print(f"{one.kind:<12}  {one.name}  {one.detail}: {one.outcome}")
    faults = len(verified.findings)
    repaired = sum(one.is_repaired for one in verified.findings)
    told = f"{faults:,} fault{'s' * (faults > 1)}, {repaired:,} repaired" if faults else "no faults"
    print(f"{told}; {verified.blobs:,} blobs of {verified.size:,} bytes, {verified.seconds:.1f} s", end="")
    if verified.read:
        print(f", {verified.read:,} bytes hashed at {verified.read / verified.seconds / 1e6:,.0f} MB/s", end="")
    print()
