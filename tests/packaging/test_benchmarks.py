"""The benchmarks still run: small sizes, one round. What they measured here means nothing."""

from __future__ import annotations

import json
import subprocess
import sys
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import torch

from components.programs import program
from tracing import untraced

ROOT = Path(__file__).parents[2]
FOUND = {path.stem for path in (ROOT / "benchmarks").glob("*.py") if "def run(smoke: bool)" in path.read_text()}
DEVICES = "devices"
NAMES = sorted(FOUND - {DEVICES})


@pytest.mark.parametrize("name", [*NAMES, *([DEVICES] if torch.cuda.is_available() else [])])
def test_a_benchmark_runs_small_stores_its_figures_and_draws_those_that_have_an_aim(name: str, tmp_path: Path) -> None:
    for needed in ("nginx", "wrk", "curl"):
        program(needed)
    out, drawn = tmp_path / "figures.json", tmp_path / "figures.svg"
    command = [sys.executable, "-m", "benchmarks", "--smoke", "--out", str(out), "--chart", str(drawn), name]
    done = subprocess.run(command, cwd=ROOT, env=untraced(), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    figures = json.loads(out.read_text())["figures"]
    assert len(figures) == len(done.stdout.splitlines()) > 0
    assert all(figure["ours"] > 0 for figure in figures)
    aimed = {figure["name"] for figure in figures if figure["reach"].startswith(("<=", ">="))}
    texts = {element.text for element in ET.parse(drawn).iter("{http://www.w3.org/2000/svg}text")}
    assert aimed <= texts


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device, which the test above uses")
def test_without_a_device_its_figures_cannot_be_had(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "benchmarks", "--smoke", "--out", str(tmp_path / "figures.json"), DEVICES]
    done = subprocess.run(command, cwd=ROOT, env=untraced(), capture_output=True, text=True, timeout=300)
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines()[-1] == "torch finds no CUDA device here"
    assert list(tmp_path.iterdir()) == []


def test_all_benchmarks_are_those_that_run_by_default() -> None:
    done = subprocess.run([sys.executable, "-m", "benchmarks", "--help"], cwd=ROOT, capture_output=True, text=True)
    named = done.stdout.partition("of ")[2].partition(", which")[0]
    assert sorted(" ".join(named.split()).split(", ")) == NAMES
