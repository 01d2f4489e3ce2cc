"""Reads each file of a folder in a process of its own, under limits, and prints what became of it, as JSON.

Run as ``python hostile_runner.py FOLDER``. The parent imports the reader once and forks for each file.
"""

from __future__ import annotations

import json
import os
import pathlib
import resource
import sys

from zooproxy.digest import Sha256
from zooproxy.errors import ZooproxyError
from zooproxy.formats.forms import Form, rendition, selected
from zooproxy.formats.reader import read_tensor_index, with_digests
from zooproxy.wire.tensors import tensor_index_to_json

SECONDS = 3
MEMORY = 200 << 20


def attempt(path: pathlib.Path) -> str:
    """All that the server would do with the file."""
    try:
        with path.open("rb") as file:
            index = with_digests(read_tensor_index(file, path.stat().st_size, Sha256("0" * 64)), file)
        json.dumps(tensor_index_to_json(index))
        for form in (Form("full"), Form("full", "pth")):
            rendition(selected(index, form, None), form)
    except ZooproxyError as error:
        return type(error).__name__
    return "read"


def limited(path: pathlib.Path, answer: int) -> None:
    mapped = int(pathlib.Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (mapped + MEMORY, mapped + MEMORY))
    resource.setrlimit(resource.RLIMIT_CPU, (SECONDS, SECONDS))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        outcome = attempt(path)
    except BaseException as error:  # noqa: BLE001  # the test asserts that nothing comes this way
        outcome = f"escaped: {type(error).__name__}"
    os.write(answer, outcome.encode())
    os._exit(0)


def outcome_of(path: pathlib.Path) -> tuple[str, float, float]:
    """What became of the file, seconds of CPU, MB at the most."""
    ours, theirs = os.pipe()
    child = os.fork()
    if not child:
        limited(path, theirs)
    os.close(theirs)
    with os.fdopen(ours, "rb") as answer:
        said = answer.read().decode()
    _, status, used = os.wait4(child, 0)
    said = said or f"died: {status}"
    return said, used.ru_utime + used.ru_stime, used.ru_maxrss / 1024


if __name__ == "__main__":
    print(json.dumps({path.name: outcome_of(path) for path in sorted(pathlib.Path(sys.argv[1]).iterdir())}))
