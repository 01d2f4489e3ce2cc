"""Every implementation that a contract suite runs against."""

from __future__ import annotations

from pathlib import Path

import pytest

from fakes.memory_blobs import MemoryBlobStore
from zooproxy.cache.blobs import BlobStore
from zooproxy.cache.local import LocalBlobStore


@pytest.fixture(params=["local", "memory"])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> BlobStore:
    return LocalBlobStore(tmp_path / "data") if request.param == "local" else MemoryBlobStore()
