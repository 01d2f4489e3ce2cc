"""The local store when disks and processes fail."""

from __future__ import annotations

import asyncio
import errno
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from components.small_disk import on_small_disk
from fakes.disks import FailingDisk, WatchedDisk
from zooproxy.cache.disk import Disk
from zooproxy.cache.local import LocalBlobStore
from zooproxy.cache.partial import sweep_partials
from zooproxy.digest import Sha256
from zooproxy.errors import BlobAbsent, CacheError, OutOfSpace

TESTS = Path(__file__).resolve().parents[1]
CONTENT = b"some weights"
DIGEST = Sha256.of(CONTENT)

STAGE_AND_WAIT = """
import asyncio, sys
from pathlib import Path
from zooproxy.cache.local import LocalBlobStore

async def main():
    async with await LocalBlobStore(Path(sys.argv[1])).stage() as staged:
        await staged.write(b"some weights")
        print("written", flush=True)
        sys.stdin.read()

asyncio.run(main())
"""

PUT_UNTIL_KILLED = """
import asyncio, sys
from pathlib import Path
from fakes.disks import CrashingDisk
from zooproxy.cache.local import LocalBlobStore

async def main():
    async with await LocalBlobStore(Path(sys.argv[1]), CrashingDisk(int(sys.argv[2]))).stage() as staged:
        await staged.write(b"some weights")
        await staged.commit()

asyncio.run(main())
"""

FILL_A_SMALL_DISK = """
import asyncio, sys
from pathlib import Path
from zooproxy.cache.local import LocalBlobStore
from zooproxy.errors import OutOfSpace

async def main():
    root = Path(sys.argv[1])
    store = LocalBlobStore(root)
    async with await store.stage() as small:
        await small.write(b"some weights")
        held = await small.commit()
    try:
        async with await store.stage() as large:
            for _ in range(4):
                await large.write(bytes(1 << 20))
    except OutOfSpace:
        print("out of space", await store.sweep(), len(list((root / "partial").iterdir())))
    print((await store.open(held.digest)).size)
    async with await store.stage() as again:
        await again.write(bytes(1 << 18))
        print((await again.commit()).size)

asyncio.run(main())
"""


def python(code: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", code, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": str(TESTS)},
    )


@contextmanager
def live_stage(root: Path) -> Iterator[subprocess.Popen[str]]:
    with python(STAGE_AND_WAIT, root) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "written\n"
        yield process


def partials(root: Path) -> list[Path]:
    return list((root / "partial").glob("*"))


async def put(root: Path, disk: Disk | None = None) -> None:
    async with await LocalBlobStore(root, disk).stage() as staged:
        await staged.write(CONTENT)
        await staged.commit()


async def assert_absent(root: Path) -> None:
    with pytest.raises(BlobAbsent):
        await LocalBlobStore(root).open(DIGEST)


async def test_kill_9_between_write_and_commit_leaves_nothing_visible_and_sweep_clears_it(tmp_path: Path) -> None:
    with live_stage(tmp_path) as process:
        process.send_signal(signal.SIGKILL)
    await assert_absent(tmp_path)
    assert len(partials(tmp_path)) == 1
    assert await LocalBlobStore(tmp_path).sweep() == 1
    assert partials(tmp_path) == []


async def test_sweep_spares_the_partial_of_another_live_process(tmp_path: Path) -> None:
    with live_stage(tmp_path):
        assert await LocalBlobStore(tmp_path).sweep() == 0
        assert len(partials(tmp_path)) == 1


async def test_kill_9_before_each_call_leaves_a_whole_blob_or_none(tmp_path: Path) -> None:
    outcomes = []
    for count in range(1, 100):
        root = tmp_path / str(count)
        root.mkdir()
        with python(PUT_UNTIL_KILLED, root, count) as process:
            pass
        held = [path.read_bytes() for path in (root / "blobs").glob("*/*")]
        assert held in ([], [CONTENT])
        assert await LocalBlobStore(root).sweep() <= 1
        assert partials(root) == []
        await put(root)
        outcomes.append(bool(held))
        if process.returncode == 0:
            break
    assert outcomes[0] is False
    assert outcomes[-1] is True
    assert sorted(outcomes) == outcomes


@pytest.mark.parametrize("error", [errno.EIO, errno.ENOSPC, errno.EROFS, errno.EDQUOT], ids=errno.errorcode.get)
@pytest.mark.parametrize("call", ["fsync", "rename", "fsync_directory"])
async def test_failed_call_in_a_commit_is_typed_and_publishes_nothing(tmp_path: Path, call: str, error: int) -> None:
    disk = FailingDisk()
    async with await LocalBlobStore(tmp_path, disk).stage() as staged:
        await staged.write(CONTENT)
        disk.broken, disk.errno = call, error
        with pytest.raises(OutOfSpace if error in {errno.ENOSPC, errno.EDQUOT} else CacheError) as failure:
            await staged.commit()
    assert isinstance(failure.value.__cause__, OSError)
    assert partials(tmp_path) == []
    await assert_absent(tmp_path)


async def test_failed_fsync_is_not_believed_when_the_next_one_succeeds(tmp_path: Path) -> None:
    disk = FailingDisk()
    async with await LocalBlobStore(tmp_path, disk).stage() as staged:
        await staged.write(CONTENT)
        disk.broken, disk.errno = "fsync", errno.EIO
        with pytest.raises(CacheError):
            await staged.commit()
        disk.broken = None
        with pytest.raises(CacheError):
            await staged.commit()
    await assert_absent(tmp_path)


@pytest.mark.parametrize("call", ["fsync", "rename", "fsync_directory"])
async def test_failed_call_in_the_commit_of_a_batch_is_typed_and_publishes_none_of_it(
    tmp_path: Path, call: str
) -> None:
    await put(tmp_path)
    disk = FailingDisk()
    batch = LocalBlobStore(tmp_path, disk).batch()
    for number in range(20):
        batch.take([b"%d weights" % number], lambda digest, file, size: None)
    disk.broken, disk.errno = call, errno.ENOSPC
    with pytest.raises(OutOfSpace):
        await asyncio.to_thread(batch.commit)
    assert partials(tmp_path) == []
    assert [path.name for path in (tmp_path / "blobs").glob("*/*")] == [DIGEST[2:]]


async def test_batch_whose_last_name_could_not_be_given_takes_the_others_back(tmp_path: Path) -> None:
    renamed: list[Path] = []

    class FullDisk(Disk):
        def rename(self, source: Path, target: Path) -> None:
            if len(renamed) == 9:
                raise OSError(errno.ENOSPC, "no space left")
            super().rename(source, target)
            renamed.append(target)

    batch = LocalBlobStore(tmp_path, FullDisk()).batch()
    for number in range(10):
        batch.take([b"%d weights" % number], lambda digest, file, size: None)
    with pytest.raises(OutOfSpace):
        await asyncio.to_thread(batch.commit)
    assert len(renamed) == 9
    assert list((tmp_path / "blobs").glob("*/*")) == partials(tmp_path) == []


async def test_name_whose_directory_could_not_be_flushed_is_taken_back(tmp_path: Path) -> None:
    disk = FailingDisk()

    def fail_after_rename(call: str) -> None:
        if call == "rename":
            disk.broken, disk.errno = "fsync_directory", errno.EIO

    class RenamingDisk(WatchedDisk):
        def fsync_directory(self, path: Path) -> None:
            disk.fsync_directory(path)

    with pytest.raises(CacheError):
        await put(tmp_path, RenamingDisk(fail_after_rename))
    assert list((tmp_path / "blobs").glob("*/*")) == []
    assert partials(tmp_path) == []


async def test_disk_full_in_a_write_is_out_of_space_and_gives_the_room_back(tmp_path: Path) -> None:
    disk = FailingDisk()
    async with await LocalBlobStore(tmp_path, disk).stage() as staged:
        await staged.write(CONTENT)
        disk.broken, disk.errno = "write", errno.ENOSPC
        with pytest.raises(OutOfSpace, match="free space"):
            await staged.write(CONTENT)
        disk.broken = None
        assert partials(tmp_path) == []
        with pytest.raises(CacheError):
            await staged.commit()
    await assert_absent(tmp_path)


def test_real_disk_full_fails_the_fill_and_keeps_the_service(tmp_path: Path) -> None:
    command = [*on_small_disk(tmp_path, "1m"), sys.executable, "-c", FILL_A_SMALL_DISK, str(tmp_path)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    assert done.stdout.splitlines() == ["out of space 0 0", "12", "262144"]


async def test_stage_on_a_broken_disk_is_typed(tmp_path: Path) -> None:
    disk = FailingDisk()
    disk.broken, disk.errno = "create", errno.EROFS
    with pytest.raises(CacheError, match="Read-only"):
        await LocalBlobStore(tmp_path, disk).stage()


async def test_sweep_that_takes_a_newborn_partial_makes_stage_begin_again(tmp_path: Path) -> None:
    swept: list[int] = []

    class SweptDisk(Disk):
        def create(self, path: Path) -> int:
            descriptor = super().create(path)
            if not swept:
                swept.append(sweep_partials(path.parent, Disk()))
            return descriptor

    await put(tmp_path, SweptDisk())
    assert swept == [1]
    assert (await LocalBlobStore(tmp_path).open(DIGEST)).size == len(CONTENT)


async def test_sweep_meeting_a_partial_that_is_published_meanwhile_counts_nothing(tmp_path: Path) -> None:
    directory = tmp_path / "partial"
    directory.mkdir()
    (directory / "dead").write_bytes(CONTENT)

    class PublishingDisk(Disk):
        def unlink(self, path: Path) -> None:
            path.rename(tmp_path / "published")
            super().unlink(path)

    assert await LocalBlobStore(tmp_path, PublishingDisk()).sweep() == 0
    assert (tmp_path / "published").read_bytes() == CONTENT


async def test_write_cancelled_while_the_disk_is_slow_is_settled_before_the_discard(tmp_path: Path) -> None:
    writing, resume = threading.Event(), threading.Event()

    def stall(call: str) -> None:
        if call == "write":
            writing.set()
            resume.wait()

    async def fill() -> None:
        async with await LocalBlobStore(tmp_path, WatchedDisk(stall)).stage() as staged:
            await staged.write(CONTENT)

    task = asyncio.create_task(fill())
    await asyncio.to_thread(writing.wait)
    task.cancel()
    resume.set()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert partials(tmp_path) == []


async def test_stage_cancelled_twice_while_the_disk_is_slow_is_discarded_all_the_same(tmp_path: Path) -> None:
    writing, resume, discarded = threading.Event(), threading.Event(), threading.Event()

    def stall(call: str) -> None:
        if call == "write":
            writing.set()
            resume.wait()
        if call == "unlink":
            discarded.set()

    async def fill() -> None:
        async with await LocalBlobStore(tmp_path, WatchedDisk(stall)).stage() as staged:
            await staged.write(CONTENT)

    task = asyncio.create_task(fill())
    await asyncio.to_thread(writing.wait)
    task.cancel()
    await asyncio.wait([task], timeout=0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    resume.set()
    assert await asyncio.to_thread(discarded.wait, 10)


async def test_stage_cancelled_while_the_disk_is_slow_leaves_nothing(tmp_path: Path) -> None:
    creating, resume, discarded = threading.Event(), threading.Event(), threading.Event()

    def stall(call: str) -> None:
        if call == "create":
            creating.set()
            resume.wait()
        if call == "unlink":
            discarded.set()

    task = asyncio.create_task(LocalBlobStore(tmp_path, WatchedDisk(stall)).stage())
    await asyncio.to_thread(creating.wait)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    resume.set()
    assert await asyncio.to_thread(discarded.wait, 10)
