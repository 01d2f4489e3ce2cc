from __future__ import annotations

import os
from pathlib import Path

import pytest

from zooproxy.errors import UpstreamUnreachable
from zooproxy.fetch.local_files import LocalFiles


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "local"
    (root / "models").mkdir(parents=True)
    (root / "models" / "a b.pth").write_bytes(b"x" * 3_000_000)
    (tmp_path / "secret").write_bytes(b"secret")
    (root / "link.pth").symlink_to(root / "models" / "a b.pth")
    (root / "out.pth").symlink_to(tmp_path / "secret")
    return root


async def read(root: Path, url: str) -> bytes:
    async with LocalFiles(root).get(url, lambda _: False) as body:
        blocks = [block async for block in body.blocks]
        assert body.version.length == sum(map(len, blocks))
        assert body.start == 0
    return b"".join(blocks)


@pytest.mark.parametrize("name", ["models/a%20b.pth", "link.pth"])
async def test_file_in_the_folder_is_read_whole(root: Path, name: str) -> None:
    assert await read(root, f"local://-/{name}") == b"x" * 3_000_000


@pytest.mark.parametrize(
    "url",
    [
        "local://-/out.pth",
        "local://-/../secret",
        "local://-/%2e%2e/secret",
        "local://-//etc/passwd",
        "local://-/models",
        "local://-/absent.pth",
        "local://-/",
        "https://-/link.pth",
    ],
)
async def test_anything_else_is_unreachable(root: Path, url: str) -> None:
    with pytest.raises(UpstreamUnreachable):
        await read(root, url)


async def test_a_file_that_was_written_again_looks_changed(root: Path) -> None:
    files, url = LocalFiles(root), "local://-/models/a%20b.pth"
    before = await files.look(url, lambda _: False)
    assert (await files.look(url, lambda _: False)).difference(before) is None
    os.utime(root / "models" / "a b.pth", (1, 1))
    assert (await files.look(url, lambda _: False)).difference(before) is not None


async def test_folder_that_is_not_there_has_no_files(tmp_path: Path) -> None:
    with pytest.raises(UpstreamUnreachable, match="cannot be read"):
        await read(tmp_path / "nowhere", "local://-/x.pth")
