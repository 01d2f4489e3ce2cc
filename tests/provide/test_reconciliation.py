"""Index and directory brought in line: at a start, after a loss, and while others publish."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from fakes.directories import CHANGED, CONTENT, DIGEST, OTHER, OTHER_URL, URL, Directory, soon
from zooproxy.cache.database import open_database
from zooproxy.cache.shelf import DERIVED
from zooproxy.cache.sidecars import Origin, Sidecar, sidecar_from_json, sidecar_to_json
from zooproxy.cache.tables import departures
from zooproxy.digest import Sha256
from zooproxy.errors import BlobAbsent, CacheError
from zooproxy.provide.quarantine import Quarantine
from zooproxy.provide.reconciliation import Reconciled, reconciled

TESTS = Path(__file__).resolve().parents[1]

PUBLISH_UNTIL_KILLED = """
import asyncio, os, signal, sys
from pathlib import Path
from fakes.directories import CONTENT, URL
from fakes.disks import FailingDisk
from zooproxy.cache.database import open_database
from zooproxy.cache.index import Index
from zooproxy.cache.local import LocalBlobStore
from zooproxy.cache.shelf import Shelf

class Disk(FailingDisk):
    left = 2

    def _before(self, call):
        self.left -= call == sys.argv[2]
        if not self.left:
            os.kill(os.getpid(), signal.SIGKILL)

async def main():
    root = Path(sys.argv[1])
    async with open_database(f"sqlite:///{root}/zooproxy.db") as database:
        shelf = Shelf(LocalBlobStore(root, Disk()), Index(database))
        async with await shelf.store.stage() as staged:
            await staged.write(CONTENT)
            await shelf.publish(URL, await staged.commit())

asyncio.run(main())
"""


async def test_what_is_in_line_is_left_alone(directory: Directory) -> None:
    assert await directory.run() == Reconciled()
    await directory.publish()
    await directory.publish(OTHER_URL, CHANGED)
    assert await directory.run() == Reconciled()


async def test_blob_deleted_behind_the_index_makes_its_source_absent_and_keeps_the_trust(directory: Directory) -> None:
    await directory.publish()
    directory.path().unlink()
    assert await directory.run() == Reconciled(dropped=1)
    assert await directory.index.held(URL) is None
    assert await directory.index.blob(DIGEST) is None
    trusted = await directory.index.trust.of(URL)
    assert trusted is not None
    assert trusted.sha256 == DIGEST


async def test_blob_that_has_come_back_before_its_row_is_dropped_stays(directory: Directory) -> None:
    await directory.publish()
    assert await directory.reconciliation.drop([DIGEST]) == 0
    assert await directory.index.held(URL) is not None


async def test_kill_9_between_sidecar_and_row_is_adopted(directory: Directory) -> None:
    await directory.publish()
    held = await directory.index.held(URL)
    await directory.index.forget(DIGEST)
    assert await directory.run() == Reconciled(adopted=1)
    assert await directory.index.held(URL) == held


async def test_kill_9_between_blob_and_sidecar_is_left_and_harms_nobody(directory: Directory) -> None:
    await directory.put()
    assert await directory.run() == Reconciled()
    assert await directory.index.blob(DIGEST) is None
    await directory.publish()
    assert await directory.index.held(URL) is not None


@pytest.mark.parametrize("content", [CONTENT[:-1], b"", CONTENT + b"!"])
async def test_blob_of_a_wrong_length_is_quarantined(directory: Directory, content: bytes) -> None:
    await directory.publish()
    directory.damage(content)
    assert await directory.run() == Reconciled(quarantined=1)
    assert await directory.index.held(URL) is None
    with pytest.raises(BlobAbsent):
        await directory.store.open(DIGEST)
    aside = directory.root / "quarantine" / DIGEST
    assert aside.read_bytes() == content
    note = aside.with_name(f"{DIGEST}.json").read_text()
    assert URL in note
    assert "12 bytes" in note


async def test_directory_in_the_place_of_a_blob_is_quarantined(directory: Directory) -> None:
    await directory.publish()
    directory.path().unlink()
    directory.path().mkdir()
    assert await directory.run() == Reconciled(quarantined=1)
    await directory.publish()
    assert directory.path().read_bytes() == CONTENT


async def test_blob_without_a_row_of_another_length_than_its_sidecar_says_is_quarantined(directory: Directory) -> None:
    await directory.publish()
    await directory.index.forget(DIGEST)
    directory.damage(CONTENT[:-1])
    assert await directory.run() == Reconciled(quarantined=1)


@pytest.mark.parametrize("document", [b"", b"[" * 100_000, b"\xff\xff", None], ids=["empty", "deep", "no text", "gone"])
async def test_blob_with_neither_row_nor_readable_sidecar_is_left(directory: Directory, document: bytes | None) -> None:
    await directory.publish()
    await directory.index.forget(DIGEST)
    directory.rewrite(document or b"")
    if document is None:
        directory.sidecar().unlink()
    assert await directory.run() == Reconciled()
    assert await directory.index.blob(DIGEST) is None
    assert directory.path().read_bytes() == CONTENT


async def test_sidecar_that_is_missing_is_written_again(directory: Directory) -> None:
    await directory.publish()
    await directory.publish(OTHER_URL)
    before = directory.sidecar().read_bytes()
    directory.sidecar().unlink()
    assert await directory.run() == Reconciled(annotated=1)
    assert directory.sidecar().read_bytes() == before


async def test_derived_blob_needs_no_sidecar(directory: Directory) -> None:
    await directory.publish(f"{DERIVED}{OTHER}/{OTHER}")
    assert await directory.run() == Reconciled()


async def test_sidecar_left_alone_by_its_blob_is_no_blob(directory: Directory) -> None:
    await directory.publish()
    await directory.index.forget(DIGEST)
    directory.path().unlink()
    assert await directory.run() == Reconciled()


async def test_stray_files_are_left_alone(directory: Directory) -> None:
    await directory.publish()
    for name in ("README", f"{DIGEST[:2]}/x.tmp", "zz/" + "0" * 62):
        path = directory.root / "blobs" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("somebody's")
    assert await directory.run() == Reconciled()


async def test_lost_index_is_written_anew_from_sidecars(directory: Directory) -> None:
    await directory.publish()
    await directory.publish(OTHER_URL)
    await directory.publish("https://zoo.example/z.pth", CHANGED)
    await directory.shelf.accept("https://zoo.example/z.pth", OTHER)
    async with open_database(f"sqlite:///{directory.root}/fresh.db") as database:
        fresh = Directory(directory.root, database)
        assert await fresh.inventory.is_empty()
        assert await fresh.run() == Reconciled(adopted=2)
        for url in (URL, OTHER_URL, "https://zoo.example/z.pth"):
            assert await fresh.index.held(url) == await directory.index.held(url)
            assert await fresh.index.trust.of(url) == await directory.index.trust.of(url)
        assert await fresh.run() == Reconciled()


async def test_lost_index_holds_what_was_published_last(directory: Directory) -> None:
    """The sidecar of the older blob still claims the source, as after a crash before it was told otherwise."""
    await directory.publish()
    stale = directory.sidecar().read_bytes()
    await directory.publish(URL, CHANGED)
    directory.rewrite(stale)
    async with open_database(f"sqlite:///{directory.root}/fresh.db") as database:
        fresh = Directory(directory.root, database)
        assert await fresh.run() == Reconciled(adopted=2)
        assert await fresh.index.held(URL) == await directory.index.held(URL)


async def test_lost_index_remembers_that_an_operator_has_accepted_other_bytes(directory: Directory) -> None:
    await directory.publish()
    await directory.shelf.accept(URL, OTHER)
    async with open_database(f"sqlite:///{directory.root}/fresh.db") as database:
        fresh = Directory(directory.root, database)
        await fresh.run()
        assert await fresh.index.held(URL) is None
        assert await fresh.index.trust.of(URL) == await directory.index.trust.of(URL)


async def test_sidecar_that_claims_a_source_of_another_digest_is_believed_no_further_than_the_index(
    directory: Directory,
) -> None:
    """A sidecar beside one blob says that a known source is this blob: the index knows what it must be."""
    await directory.publish()
    blob = await directory.put(CHANGED)
    late = datetime.now(UTC) + timedelta(days=1)
    claim = Sidecar(OTHER, blob.size, (Origin(URL, late, OTHER, late),))
    directory.rewrite(sidecar_to_json(claim), OTHER)
    assert await directory.run() == Reconciled(adopted=1)
    held = await directory.index.held(URL)
    assert held is not None
    assert held.sha256 == DIGEST


async def test_thousand_sidecars_are_adopted_in_portions(directory: Directory) -> None:
    blob = await directory.put()
    sidecars = []
    for number in range(1000):
        digest = Sha256.of(b"%d" % number)
        origin = Origin(f"https://zoo.example/{number}", datetime.now(UTC), digest, datetime.now(UTC))
        sidecars.append(Sidecar(digest, blob.size, (origin,)))
    assert await directory.inventory.adopt(sidecars) == 1000
    assert len(await directory.inventory.blobs()) == 1000
    assert len(await directory.inventory.origins()) == 1000


@pytest.mark.parametrize(
    ("call", "adopted"),
    [("create", 0), ("rename", 0), ("unlink", 1)],
    ids=["between blob and sidecar", "before the sidecar has its name", "between sidecar and row"],
)
async def test_kill_9_in_a_publication_leaves_what_the_next_start_understands(
    directory: Directory, call: str, adopted: int
) -> None:
    """Killed before the second such call, which is the sidecar's; the first is the blob's."""
    command = [sys.executable, "-c", PUBLISH_UNTIL_KILLED, str(directory.root), call]
    environment = {**os.environ, "PYTHONPATH": str(TESTS)}
    killed = await asyncio.to_thread(subprocess.run, command, env=environment, check=False)
    assert killed.returncode == -signal.SIGKILL
    assert directory.path().read_bytes() == CONTENT
    assert await directory.index.held(URL) is None
    assert await directory.run() == Reconciled(adopted=adopted)
    assert (await directory.index.held(URL) is not None) == bool(adopted)
    assert await directory.store.sweep() == (0 if call == "create" else 1 - adopted)
    await directory.publish()
    assert await directory.run() == Reconciled()
    assert await directory.index.held(URL) is not None


async def test_blob_that_is_on_its_way_out_is_not_adopted(directory: Directory) -> None:
    await directory.publish()
    await directory.index.forget(DIGEST)
    async with directory.database.write() as connection:
        await connection.execute(departures.insert().values(sha256=DIGEST, size=len(CONTENT), since=0))
    assert await directory.inventory.leaving() == {DIGEST}
    assert await directory.run() == Reconciled()
    assert await directory.index.held(URL) is None


async def test_several_processes_that_start_at_once_agree(directory: Directory) -> None:
    await directory.publish()
    await directory.publish(OTHER_URL, CHANGED)
    async with (
        open_database(f"sqlite:///{directory.root}/fresh.db") as one,
        open_database(f"sqlite:///{directory.root}/fresh.db") as other,
    ):
        both = [Directory(directory.root, one), Directory(directory.root, other)]
        await asyncio.gather(*(each.run() for each in both))
        for each in both:
            assert await each.index.held(URL) is not None
            assert await each.index.held(OTHER_URL) is not None


async def test_empty_index_is_written_before_anybody_is_served(directory: Directory) -> None:
    await directory.publish()
    await directory.index.forget(DIGEST)
    async with reconciled(directory.shelf.store, directory.reconciliation, directory.inventory):
        assert await directory.index.held(URL) is not None


async def test_index_that_knows_something_is_brought_in_line_in_the_background(directory: Directory) -> None:
    await directory.publish()
    await directory.publish(OTHER_URL, CHANGED)
    await directory.index.forget(DIGEST)
    async with reconciled(directory.shelf.store, directory.reconciliation, directory.inventory):
        assert await soon(lambda: directory.index.held(URL))


async def test_store_that_cannot_be_listed_is_told_and_ends_nothing(
    directory: Directory, caplog: pytest.LogCaptureFixture
) -> None:
    await directory.publish()
    (directory.root / "blobs").rename(directory.root / "moved")
    (directory.root / "blobs").write_text("a file where a directory should be")
    with pytest.raises(CacheError):
        await directory.run()

    async def told() -> bool:
        return "could not be compared" in caplog.text

    async with reconciled(directory.shelf.store, directory.reconciliation, directory.inventory):
        assert await soon(told)


async def test_blob_quarantined_while_it_is_published_anew_is_not_taken(directory: Directory) -> None:
    """Between the finding and the quarantine a fill has replaced the file: it is another one now."""
    await directory.publish()
    directory.damage(CONTENT[:-1] + b"?")
    seen = await directory.store.look(DIGEST)
    assert seen is not None
    await directory.publish()
    quarantine = Quarantine(directory.shelf)
    assert not await quarantine.rotten(seen, "it was")
    assert not await quarantine.rotten(replace(seen, digest=None), "it is no blob")
    assert await directory.index.held(URL) is not None
    assert sidecar_from_json(directory.sidecar().read_bytes(), DIGEST).origins[0].url == URL
