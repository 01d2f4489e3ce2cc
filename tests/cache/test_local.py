"""The local store on a sound disk: what lies where, and who may touch it."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from fakes.disks import ShortDisk, WatchedDisk
from zooproxy.cache.blobs import HeldBlob
from zooproxy.cache.disk import Disk
from zooproxy.cache.local import LocalBlobStore
from zooproxy.digest import Sha256
from zooproxy.errors import BlobAbsent, BlobCorrupt, CacheError

CONTENT = b"some weights"
DIGEST = Sha256.of(CONTENT)


def final(root: Path) -> Path:
    return root / "blobs" / DIGEST[:2] / DIGEST[2:]


def files(root: Path) -> list[Path]:
    """All but the locks, which hold nothing."""
    return sorted(path for path in root.rglob("*") if not path.is_dir() and path.parent != root / "locks")


async def put(root: Path, disk: Disk | None = None) -> HeldBlob:
    async with await LocalBlobStore(root, disk).stage() as staged:
        await staged.write(CONTENT)
        return await staged.commit()


async def test_commit_leaves_one_read_only_file_in_the_fan_out(tmp_path: Path) -> None:
    root = tmp_path / "not" / "yet" / "made"
    blob = await put(root)
    assert files(root) == [final(root)] == [blob.path]
    assert stat.S_IMODE(final(root).stat().st_mode) & 0o222 == 0


async def test_bytes_are_flushed_before_they_are_named_and_the_name_after(tmp_path: Path) -> None:
    calls: list[str] = []
    await put(tmp_path, WatchedDisk(calls.append))
    publishing = calls[calls.index("write") + 1 :]
    assert publishing == ["fsync", "fsync_directory", "fsync_directory", "rename", "fsync_directory", "unlink"]


async def test_every_directory_made_is_flushed_into_its_parent(tmp_path: Path) -> None:
    flushed: list[Path] = []

    class RecordingDisk(Disk):
        def fsync_directory(self, path: Path) -> None:
            flushed.append(path)
            super().fsync_directory(path)

    root = tmp_path / "new" / "root"
    await put(root, RecordingDisk())
    assert {tmp_path, tmp_path / "new", root, root / "blobs", final(root).parent} <= set(flushed)


async def test_commit_of_a_held_blob_replaces_a_file_that_may_have_rotted(tmp_path: Path) -> None:
    await put(tmp_path)
    final(tmp_path).chmod(0o644)
    final(tmp_path).write_bytes(CONTENT[:-1] + b"?")
    await put(tmp_path)
    assert final(tmp_path).read_bytes() == CONTENT
    assert files(tmp_path) == [final(tmp_path)]


async def test_commit_replaces_a_file_of_another_length(tmp_path: Path) -> None:
    await put(tmp_path)
    final(tmp_path).chmod(0o644)
    final(tmp_path).write_bytes(CONTENT[:3])
    blob = await put(tmp_path)
    assert final(tmp_path).read_bytes() == CONTENT
    assert blob.size == len(CONTENT)


async def test_short_writes_are_continued(tmp_path: Path) -> None:
    await put(tmp_path, ShortDisk())
    assert final(tmp_path).read_bytes() == CONTENT


async def test_open_of_a_blob_that_a_power_cut_emptied_is_corrupt(tmp_path: Path) -> None:
    final(tmp_path).parent.mkdir(parents=True)
    final(tmp_path).touch()
    with pytest.raises(BlobCorrupt, match=DIGEST):
        await LocalBlobStore(tmp_path).open(DIGEST)


async def test_open_of_a_directory_is_corrupt(tmp_path: Path) -> None:
    final(tmp_path).mkdir(parents=True)
    with pytest.raises(BlobCorrupt):
        await LocalBlobStore(tmp_path).open(DIGEST)


async def test_open_that_the_disk_refuses_is_not_absent(tmp_path: Path) -> None:
    (tmp_path / "blobs").write_text("a file where a directory should be")
    with pytest.raises(CacheError) as refusal:
        await LocalBlobStore(tmp_path).open(DIGEST)
    assert not isinstance(refusal.value, BlobAbsent)
    assert str(tmp_path) not in str(refusal.value)


async def test_chunks_of_a_file_cut_short_are_corrupt(tmp_path: Path) -> None:
    blob = await put(tmp_path)
    final(tmp_path).chmod(0o644)
    final(tmp_path).write_bytes(CONTENT[:5])
    chunks = blob.chunks(0, blob.size)
    assert await anext(chunks) == CONTENT[:5]
    with pytest.raises(BlobCorrupt, match="7 bytes early"):
        await anext(chunks)


async def test_reader_that_holds_a_file_outlives_its_removal(tmp_path: Path) -> None:
    blob = await put(tmp_path)
    with blob.file() as file:
        await LocalBlobStore(tmp_path).remove(DIGEST)
        assert file.read() == CONTENT


async def test_sweep_of_a_store_never_used_finds_nothing(tmp_path: Path) -> None:
    assert await LocalBlobStore(tmp_path / "absent").sweep() == 0
