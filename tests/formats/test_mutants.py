"""A few hundred mutants of real files, by fixed seeds: refused with a typed error, or read as torch reads them."""

from __future__ import annotations

import io
import pickle
import random
import zipfile

import pytest
import torch

from formats.checkpoint_files import assert_same, index_of, loaded, rebuilt, repacked, saved
from zooproxy.errors import FormatError


def mutants(data: bytes, count: int, seed: int):
    """``data`` with a few bytes changed, cut out or doubled, where its structure lies."""
    draw = random.Random(seed)
    for _ in range(count):
        mutant = bytearray(data)
        for _ in range(draw.randint(1, 3)):
            at = draw.randrange(len(mutant))
            what = draw.random()
            if what < 0.7:
                mutant[at] = draw.choice([draw.randrange(256), mutant[at] ^ (1 << draw.randrange(8)), 0, 255])
            elif what < 0.85:
                del mutant[at : at + draw.randint(1, 8)]
            else:
                mutant[at:at] = mutant[at : at + draw.randint(1, 8)]
        yield bytes(mutant)


def seeds() -> dict[str, bytes]:
    module = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3))
    wrapped = {"state_dict": module.state_dict(), "meta": {"epoch": 1, "names": ("a", "b")}}
    mixed = {
        "f8": torch.ones(3).to(torch.float8_e5m2),
        "tie": [torch.arange(4)] * 2,
        "p": torch.nn.Parameter(torch.ones(2)),
    }
    return {"wrapped": saved(wrapped), "mixed": saved(mixed), "protocol 4": saved(wrapped, pickle_protocol=4)}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", seeds())
def test_mutated_pickles_are_refused_or_read_as_torch_reads_them(seed):
    """Only data.pkl is mutated and the archive rebuilt, so that each mutant reaches the pickle machine."""
    original = seeds()[seed]
    with zipfile.ZipFile(io.BytesIO(original)) as archive:
        pickled = archive.read("archive/data.pkl")
    outcomes = {"refused": 0, "read": 0}
    for mutant in mutants(pickled, 150, seed=7):
        outcomes[outcome(repacked(original, data__pkl=mutant))] += 1
    assert min(outcomes.values()) > 0


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("seed", seeds())
def test_mutated_archives_are_refused_or_read_as_torch_reads_them(seed):
    outcomes = {"refused": 0, "read": 0}
    for mutant in mutants(seeds()[seed], 150, seed=11):
        outcomes[outcome(mutant)] += 1
    assert min(outcomes.values()) > 0


#: What torch raises on mutants for reasons of its own: a CRC, a location, an attribute that a mutant misspells.
TORCH_REFUSES = (
    AssertionError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    MemoryError,
    OverflowError,
    RuntimeError,
    TypeError,
    ValueError,
    pickle.UnpicklingError,
)


def outcome(data: bytes) -> str:
    try:
        index = index_of(data)
    except FormatError:
        return "refused"
    if not index.dropped:  # an inert value stands where torch would have called something: torch is not asked
        try:
            theirs = loaded(data)
        except TORCH_REFUSES:
            return "read"
        assert_same(rebuilt(index, data), theirs)
    return "read"
