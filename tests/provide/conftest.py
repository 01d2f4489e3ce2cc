from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fakes.directories import Directory
from zooproxy.cache.database import open_database


@pytest.fixture
async def directory(tmp_path: Path) -> AsyncIterator[Directory]:
    async with open_database(f"sqlite:///{tmp_path}/zooproxy.db") as database:
        yield Directory(tmp_path, database)
