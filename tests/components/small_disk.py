"""A small file system of one's own, for a disk that is really full."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from components.programs import program

_MOUNTED = 'mount -t tmpfs -o "size=$1" none "$2" && shift 2 && exec "$@"'


def with_own_mounts() -> list[str]:
    """What stands before a command so that it may mount what nobody else sees.

    Where nobody may mount, the test is skipped, and under CI it fails.
    """
    unshare = program("unshare")
    for alone in ([unshare, "-Urm"], [unshare, "-m"]):
        if subprocess.run([*alone, "true"], check=False, capture_output=True).returncode == 0:
            return alone
    missing = "this kernel lets nobody mount a file system of their own: run as root, or allow user namespaces"
    if "CI" in os.environ:
        pytest.fail(missing)
    pytest.skip(missing)


def on_small_disk(directory: Path, size: str) -> list[str]:
    """What stands before a command so that ``directory`` is a tmpfs of ``size`` (``8m``) to it, and to nobody else."""
    return [*with_own_mounts(), "bash", "-c", _MOUNTED, "mounted", size, str(directory)]
