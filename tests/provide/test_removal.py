"""Removal in two phases: whatever comes in between, a row has its blob, and a blob its row."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from fakes.disks import FailingDisk, WatchedDisk
from fakes.stocks import ZOO, Site, content_of, digest_of, open_site
from zooproxy.cache.departures import Life
from zooproxy.cache.index import HeldSource
from zooproxy.cache.local import LocalBlobStore
from zooproxy.cache.shelf import DERIVED
from zooproxy.errors import BlobAbsent, BlobInUse, BlobPinned, CacheError

TESTS = Path(__file__).resolve().parents[1]
BLOB = digest_of("a")

REMOVE_UNTIL_KILLED = """
import asyncio, sys
from pathlib import Path
from fakes.disks import CrashingDisk
from fakes.stocks import digest_of, open_site
from zooproxy.cache.local import LocalBlobStore

async def main():
    root = Path(sys.argv[1])
    async with open_site(root, LocalBlobStore(root, CrashingDisk(int(sys.argv[2])))) as site:
        await site.stock.remove(digest_of("a"))

asyncio.run(main())
"""


async def life(site: Site) -> Life:
    return await site.stock._departures.life(BLOB)


def on_disk(root: Path) -> list[Path]:
    return [path for path in (root / "blobs").rglob("*") if path.is_file()]


@pytest.mark.parametrize("call", [1, 2, 3])
async def test_kill_9_between_the_phases_leaves_neither_row_nor_file_after_a_restart(tmp_path: Path, call: int) -> None:
    async with open_site(tmp_path) as site:
        await site.put("a")
    command = [sys.executable, "-c", REMOVE_UNTIL_KILLED, str(tmp_path), str(call)]
    killed = await asyncio.to_thread(
        subprocess.run, command, env={**os.environ, "PYTHONPATH": str(TESTS)}, timeout=60, check=False
    )
    assert killed.returncode == -signal.SIGKILL
    async with open_site(tmp_path) as site:
        assert await site.held() == ""
        assert await life(site) is Life.GONE
        assert on_disk(tmp_path) == []
        await site.put("a")
        assert await site.held() == "a"


async def test_removed_blob_is_found_by_nobody_and_told(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        await site.put("a")
        (gone,) = await site.stock.remove(BLOB)
        assert (gone.sha256, gone.size, gone.urls) == (BLOB, 10_000, (ZOO + "a",))
        assert await site.shelf.index.held(ZOO + "a") is None
        with pytest.raises(BlobAbsent):
            await site.store.open(BLOB)
        assert [one.kind for one in site.told] == ["removed"]
        with pytest.raises(BlobAbsent):
            await site.stock.remove(BLOB)


async def test_what_was_derived_goes_along_unless_it_is_held_for_something_else_too(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        for name in "ab":
            await site.put(name)
        for name, of in (("c", "a"), ("d", "b"), ("e", "a")):
            await site.put(name, url=f"{DERIVED}{digest_of(of)}/{'0' * 64}{name}")
        await site.put("e")
        assert {one.sha256 for one in await site.stock.remove(BLOB)} == {BLOB, digest_of("c")}
        page = await site.stock.page("", 10)
        assert {one.sha256 for one in page.blobs} == {digest_of(name) for name in "bde"}


async def test_pinned_blob_is_removed_by_force_alone_and_stays_pinned(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        await site.put("a")
        await site.stock.pin(ZOO + "a", "zoo://a")
        with pytest.raises(BlobPinned, match="force"):
            await site.stock.remove(BLOB)
        assert await site.held() == "a"
        assert len(await site.stock.remove(BLOB, force=True)) == 1
        assert [pin.ref for pin in await site.stock.pins()] == ["zoo://a"]


async def test_blob_in_transfer_is_removed_by_force_alone_and_read_to_its_end(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        blob = await site.put("a")
        with blob.file() as file:
            first = file.read(10)
            with pytest.raises(BlobInUse, match="force"):
                await site.stock.remove(BLOB)
            await site.stock.remove(BLOB, force=True)
            assert first + file.read() == content_of("a")


async def test_fill_of_the_same_blob_during_its_deletion_wins(tmp_path: Path) -> None:
    unlinking, go_on = threading.Event(), threading.Event()

    def pause(call: str) -> None:
        if call == "unlink":
            unlinking.set()
            go_on.wait()

    async with (
        open_site(tmp_path) as other,
        open_site(tmp_path, LocalBlobStore(tmp_path, WatchedDisk(pause))) as site,
    ):
        await other.put("a")
        removing = asyncio.create_task(site.stock.remove(BLOB))
        await asyncio.to_thread(unlinking.wait)
        assert await life(site) is Life.LEAVING
        assert await other.held() == ""
        filling = asyncio.create_task(other.put("a"))
        await asyncio.wait([filling], timeout=0.05)
        go_on.set()
        await asyncio.gather(removing, filling)
        assert await site.held() == await other.held() == "a"
        assert await life(site) is Life.HELD
        assert len(on_disk(tmp_path)) == 2  # the blob and its sidecar


async def test_blob_that_is_just_being_published_cannot_be_removed_even_by_force(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site, open_site(tmp_path) as other:
        await site.put("a")
        async with await other.store.stage() as staged:
            await staged.write(content_of("a"))
            blob = await staged.commit()
            with pytest.raises(BlobInUse):
                await site.stock.remove(BLOB, force=True)
            await other.shelf.publish(ZOO + "again", blob)
        assert len(await site.stock.remove(BLOB)) == 1


async def test_fill_after_a_crash_between_the_phases_wins_over_the_rest_of_the_deletion(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        await site.put("a")
        async with site.store.claim([BLOB]):
            await site.stock._departures.mark([BLOB])  # and here the process died
        assert await life(site) is Life.LEAVING
        await site.put("a")
        assert await life(site) is Life.HELD
        await site.stock.removal.finish()
        assert await site.held() == "a"


async def test_removal_that_another_process_is_about_is_left_to_it(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site, open_site(tmp_path) as other:
        await site.put("a")
        async with site.store.claim([BLOB]):
            await site.stock._departures.mark([BLOB])
            await other.stock.removal.finish()
            assert await life(other) is Life.LEAVING
            assert len(on_disk(tmp_path)) == 2
        assert await other.stock.remove(BLOB) == ()
        assert await life(site) is Life.GONE
        assert on_disk(tmp_path) == []


@pytest.mark.parametrize("call", ["unlink", "fsync_directory"])
async def test_disk_that_fails_between_the_phases_is_typed_and_the_rest_is_done_when_it_works_again(
    tmp_path: Path, call: str
) -> None:
    disk = FailingDisk()
    async with open_site(tmp_path, LocalBlobStore(tmp_path, disk)) as site:
        await site.put("a")
        disk.broken, disk.errno = call, errno.EROFS
        with pytest.raises(CacheError, match="Read-only"):
            await site.stock.remove(BLOB)
        assert await site.held() == ""
        assert await life(site) is Life.LEAVING
        if call == "unlink":
            with pytest.raises(CacheError):
                await site.stock.eviction.keep_within()
        disk.broken = None
        await site.stock.eviction.keep_within()
        assert await life(site) is Life.GONE
        assert on_disk(tmp_path) == []


async def test_start_on_a_read_only_disk_leaves_an_interrupted_removal_for_later(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        await site.put("a")
        await site.put("b")
        async with site.store.claim([BLOB]):
            await site.stock._departures.mark([BLOB])
    disk = FailingDisk()
    disk.broken, disk.errno = "unlink", errno.EROFS
    async with open_site(tmp_path, LocalBlobStore(tmp_path, disk)) as site:
        assert await site.held() == "b"
        assert await life(site) is Life.LEAVING


async def held_source(site: Site) -> HeldSource:
    held = await site.shelf.index.held(ZOO + "a")
    assert held is not None
    return held


async def test_damaged_blob_is_dropped_and_one_that_is_whole_again_is_not(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site:
        await site.put("a")
        held = await held_source(site)
        await site.stock.drop_damaged(held)
        assert await site.held() == "a"
        await site.store.remove(BLOB)
        await site.stock.drop_damaged(held)
        assert await site.held() == ""
        assert await life(site) is Life.GONE


async def test_damaged_blob_that_is_just_published_anew_is_left_alone(tmp_path: Path) -> None:
    async with open_site(tmp_path) as site, open_site(tmp_path) as other:
        await site.put("a")
        held = await held_source(site)
        await site.store.remove(BLOB)
        async with await other.store.stage() as staged:
            await staged.write(content_of("a"))
            blob = await staged.commit()
            await site.stock.drop_damaged(held)
            await other.shelf.publish(ZOO + "a", blob)
        assert await site.held() == "a"
