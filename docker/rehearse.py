"""Rehearses the image where there is no Docker: the Dockerfile's own steps, in a clean directory and environment.

Its COPY, RUN, ENV, ENTRYPOINT, CMD and HEALTHCHECK lines are read from the file, with the image's absolute paths moved
below a temporary directory; what would need root or a base image (useradd, USER, FROM) is left out. Then the service
must start, pass its health check, serve the packaged names, hold no torch, and end in order on SIGTERM.

With a wheel as its argument, that wheel is installed in place of the source: the same checks then hold for a release.
"""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.request
from pathlib import Path

ROOT = Path(__file__).parents[1]
PORT = "18765"


def steps() -> list[tuple[str, str]]:
    """(instruction, arguments), continuation lines joined."""
    text = re.sub(r"\\\n\s*", " ", (ROOT / "docker" / "Dockerfile").read_text())
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [(line.split(" ", 1)[0], line.split(" ", 1)[1]) for line in lines]


def build(image: Path, wheel: Path | None) -> None:
    source = image / "src"
    source.mkdir()
    for instruction, arguments in steps():
        if instruction == "COPY" and not arguments.startswith("--from"):
            *names, target = arguments.split()
            for name in names:
                copy(ROOT / name, source / target if target != "./" else source / name)
        elif instruction == "RUN" and "useradd" not in arguments:
            command = moved(arguments, image).replace("python -m venv", f"{sys.executable} -m venv")
            if wheel is not None:
                command = command.replace("'.[server]'", f"'{wheel.resolve()}[server]'")
            subprocess.run(command, shell=True, check=True, cwd=source, env={**os.environ, "PIP_QUIET": "1"})


def copy(source: Path, target: Path) -> None:
    if source.is_dir():
        shutil.copytree(source, target, ignore=shutil.ignore_patterns("__pycache__"))
    else:
        shutil.copy(source, target)


def moved(text: str, image: Path) -> str:
    return text.replace("/opt/zooproxy", f"{image}/opt/zooproxy").replace("/var/lib/zooproxy", f"{image}/data")


def one(instruction: str) -> str:
    return next(arguments for name, arguments in steps() if name == instruction)


def environment(image: Path) -> dict[str, str]:
    given = dict(pair.split("=", 1) for pair in shlex.split(moved(one("ENV"), image)))
    return {"PATH": os.environ["PATH"], **given, "ZOOPROXY_PORT": PORT, "ZOOPROXY_HOST": "127.0.0.1"}


def run(image: Path) -> None:
    command = json.loads(moved(one("ENTRYPOINT"), image))
    health = json.loads(moved(one("HEALTHCHECK").split("CMD", 1)[1], image))
    (image / "data").mkdir()
    service = subprocess.Popen([*command, *json.loads(one("CMD"))], env=environment(image), cwd=image / "data")
    try:
        wait_for(health, environment(image), service)
        with urllib.request.urlopen(f"http://127.0.0.1:{PORT}/v1/zoos/torchvision/map", timeout=5) as answer:
            assert len(json.load(answer)) == 250
    finally:
        service.send_signal(signal.SIGTERM)
    assert service.wait(30) == 0, "the service did not end in order"
    python = Path(command[0]).with_name("python")
    assert subprocess.run([python, "-c", "import torch"], capture_output=True).returncode != 0, "torch is in the image"


def wait_for(health: list[str], env: dict[str, str], service: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 30
    while subprocess.run(health, env=env, capture_output=True).returncode != 0:
        assert service.poll() is None, "the service ended at once"
        assert time.monotonic() < deadline, "the health check never passed"
        time.sleep(0.1)


def main() -> None:
    wheel = Path(sys.argv[1]) if len(sys.argv) > 1 else None
    with tempfile.TemporaryDirectory() as directory:
        build(Path(directory), wheel)
        run(Path(directory))
    print(f"rehearsed: {'the Dockerfile' if wheel is None else wheel.name}")


if __name__ == "__main__":
    main()
