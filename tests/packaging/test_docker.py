"""The image and the composition, linted; ``docker/rehearse.py`` runs the steps themselves."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).parents[2]
BIN = Path(sys.executable).parent


def lint(*command: str | Path) -> None:
    done = subprocess.run([str(part) for part in command], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_dockerfile_passes_hadolint() -> None:
    lint(BIN / "hadolint", "docker/Dockerfile")


def test_compose_follows_the_compose_specification() -> None:
    lint(BIN / "check-jsonschema", "--builtin-schema", "vendor.compose-spec", "compose.yaml")


def test_hadolint_would_find_a_fault(tmp_path: Path) -> None:
    (tmp_path / "Dockerfile").write_text("FROM debian\nRUN cd /tmp && sudo true\n")
    with pytest.raises(AssertionError, match="DL300"):
        lint(BIN / "hadolint", tmp_path / "Dockerfile")


def test_compose_builds_the_dockerfile_and_mounts_its_volume() -> None:
    service = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]["zooproxy"]
    dockerfile = (ROOT / service["build"]["dockerfile"]).read_text()
    (volume,) = service["volumes"]
    assert f"VOLUME {volume.partition(':')[2]}" in dockerfile
    assert "USER 10001" in dockerfile
    assert "HEALTHCHECK" in dockerfile
