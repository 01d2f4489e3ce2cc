"""Onto a GPU: staged while the bytes arrive, against a load into main memory that is then moved, and others."""

from __future__ import annotations

from dataclasses import replace

from benchmarks.components import MissingComponent
from benchmarks.figures import Figure
from benchmarks.loading import Bench, alternate, held, second_loads


def run(smoke: bool) -> list[Figure]:
    import torch

    if not torch.cuda.is_available():
        raise MissingComponent("torch finds no CUDA device here")
    rounds = 0 if smoke else 3  # a process takes seconds until it has a device
    with held(smoke) as benches:
        bench = replace(benches["large"], device="cuda")
        figures = [*_first(bench, rounds), _second(bench, rounds)]
        if not smoke:  # of a process that has done nothing else
            figures.append(_peak(bench))
    return figures


def _first(bench: Bench, rounds: int) -> list[Figure]:
    unverified, checked, memory, moved, curl, hub = alternate(
        rounds,
        lambda: bench.child("unverified"),
        lambda: bench.child("load"),
        lambda: bench.child("memory"),
        lambda: bench.child("moved"),
        bench.curl,
        lambda: bench.child("hub"),
    )
    what = f"load {bench.size / 1e6:,.0f} MB onto a GPU"
    return [
        Figure(f"{what}, unverified, against curl into /dev/null", unverified, curl, "s", "told"),
        Figure(f"{what}, unverified, against torch.hub", unverified, hub, "s", "<= 0.4"),
        Figure(f"{what}, checked, against torch.hub", checked, hub, "s", "<= 0.625"),
        Figure(f"{what}, checked, against a load that is moved there", checked, moved, "s", "< 1.0"),
        Figure(f"{what}, checked, without the store, against with it", memory, checked, "s", "told"),
    ]


def _second(bench: Bench, rounds: int) -> Figure:
    again, theirs = second_loads(bench, rounds)
    name = f"second load of {bench.size / 1e6:,.0f} MB onto a GPU, against safetensors"
    return Figure(name, again, theirs, "s", "<= 1.2")


def _peak(bench: Bench) -> Figure:
    """Without a store, so that no page of its files counts: what the host needs are the rings of the connections."""
    name = f"load {bench.size / 1e6:,.0f} MB onto a GPU: peak memory of the host, against the tensors"
    return Figure(name, bench.child("hostpeak") / 1e6, bench.size / 1e6, "MB", "<= 0.05")
