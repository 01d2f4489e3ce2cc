"""The saved corpus of the fuzzers, replayed: every way that an input was once seen to end, and none a fault."""

from __future__ import annotations

import itertools
import pathlib
import random

import pytest

from fuzz.__main__ import mutants
from fuzz.targets import TARGETS

CORPUS = pathlib.Path(__file__).parent / "corpus"


@pytest.mark.parametrize("target", TARGETS)
def test_the_saved_corpus_ends_in_the_project_s_own_errors_or_is_read(target):
    files = sorted((CORPUS / target).iterdir())
    outcomes = {path.name: TARGETS[target](path.read_bytes()) for path in files}
    assert any(outcome.startswith("read") for outcome in outcomes.values())
    assert len(set(outcomes.values())) > 1 or target == "json"


def test_mutants_of_bundles_end_in_the_project_s_own_errors_or_are_read():
    seeds = [path.read_bytes() for path in sorted((CORPUS / "bundle").iterdir())]
    outcomes = {TARGETS["bundle"](data) for data in itertools.islice(mutants(seeds, random.Random(0)), 3000)}
    assert len(outcomes) > 10


def test_a_fault_of_a_target_is_not_swallowed(monkeypatch):
    def fail(*_, **__):
        raise KeyError("a fault")

    monkeypatch.setattr("fuzz.targets.read_tensor_index", fail)
    with pytest.raises(KeyError):
        TARGETS["file"](b"")
