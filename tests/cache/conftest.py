from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from zooproxy.cache.database import Database, open_database


@pytest.fixture
def url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/zooproxy.sqlite3"


@pytest.fixture
async def database(url: str) -> AsyncIterator[Database]:
    async with open_database(url) as database:
        yield database
