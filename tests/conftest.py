"""What every room's tests may use."""

from __future__ import annotations

import gc
import io
from collections.abc import Iterator
from pathlib import Path

import pytest

from fakes.upstream import Upstream, running_upstream
from zygote import zygote


def pytest_collection_finish() -> None:
    gc.collect()
    gc.freeze()  # what was imported and collected stays: no collection of garbage need look through it again


@pytest.fixture(scope="session", autouse=True)
def zygote_until_the_end() -> Iterator[None]:
    """Before coverage is summed up, so that it has told its own."""
    yield
    zygote().close()


@pytest.fixture(autouse=True)
def node_store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where the client keeps what it received: never the home directory of whoever runs the tests."""
    folder = tmp_path / "node store"
    monkeypatch.setenv("ZOOPROXY_CACHE_DIR", str(folder))
    return folder


@pytest.fixture
def upstream() -> Iterator[Upstream]:
    with running_upstream() as upstream:
        yield upstream


@pytest.fixture(scope="session")
def small_checkpoint() -> bytes:
    """A real torch.save file: a state dict of two tensors."""
    import torch

    file = io.BytesIO()
    torch.save({"weight": torch.arange(6.0).reshape(2, 3), "bias": torch.ones(2)}, file)
    return file.getvalue()


@pytest.fixture(scope="session")
def large_checkpoint() -> bytes:
    """Some 4 MB, so that blocks of it are on disk before the last one has come."""
    import torch

    file = io.BytesIO()
    torch.save({"weight": torch.arange(1_000_000.0)}, file)
    return file.getvalue()
