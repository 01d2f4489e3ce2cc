"""pavi, with and without its package."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from zooproxy.errors import UnsupportedSource, UpstreamUnreachable
from zooproxy.fetch.pavi import PaviUpstream

#: What mmengine's ``load_from_pavi`` calls of it.
PACKAGE = """
class Model:
    def download(self, target):
        with open(target, "wb") as file:
            file.write(b"weights")

def get(name):
    if name != "team/net":
        raise RuntimeError("no such model")
    return Model()
"""


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "pavi").mkdir()
    (tmp_path / "pavi" / "__init__.py").write_text("")
    (tmp_path / "pavi" / "modelcloud.py").write_text(PACKAGE)
    monkeypatch.syspath_prepend(tmp_path)
    importlib.invalidate_caches()
    yield
    for name in ("pavi", "pavi.modelcloud"):
        monkeypatch.delitem(sys.modules, name, raising=False)


async def read(url: str) -> tuple[int | None, bytes]:
    async with PaviUpstream().get(url, lambda _: True) as body:
        return body.version.length, b"".join([block async for block in body.blocks])


async def test_without_the_package_it_says_what_to_install() -> None:
    with pytest.raises(UnsupportedSource, match="package 'pavi'"):
        await read("pavi://team/net")


async def test_a_model_cannot_be_looked_at() -> None:
    with pytest.raises(UnsupportedSource, match="nothing of a model but its bytes"):
        await PaviUpstream().look("pavi://team/net", lambda _: True)


@pytest.mark.usefixtures("installed")
async def test_a_model_is_downloaded_through_the_package() -> None:
    assert await read("pavi://team/net") == (7, b"weights")


@pytest.mark.usefixtures("installed")
async def test_what_the_package_does_not_deliver_is_unreachable() -> None:
    with pytest.raises(UpstreamUnreachable, match="RuntimeError"):
        await read("pavi://team/other")
