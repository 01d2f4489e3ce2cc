"""Index and directory brought in line: at a start, after a loss, and while others publish."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from zooproxy.cache.blobs import HeldBlob
from zooproxy.cache.database import Database, open_database
from zooproxy.cache.index import Index
from zooproxy.cache.inventory import Inventory
from zooproxy.cache.local import LocalBlobStore
from zooproxy.cache.shelf import DERIVED, Shelf
from zooproxy.cache.sidecars import Origin, Sidecar, sidecar_from_json, sidecar_to_json
from zooproxy.cache.tables import departures
from zooproxy.digest import Sha256
from zooproxy.errors import BlobAbsent, CacheError
from zooproxy.provide.quarantine import Quarantine
from zooproxy.provide.reconciliation import Reconciled, Reconciliation, reconciled

URL, OTHER_URL = "https://zoo.example/x.pth", "https://zoo.example/y.pth"
CONTENT, CHANGED = b"some weights", b"other weights!"
DIGEST, OTHER = Sha256.of(CONTENT), Sha256.of(CHANGED)


class Site:
    """One data directory and one process on it."""

    def __init__(self, root: Path, database: Database) -> None:
        self.root = root
        self.database = database
        self.store = LocalBlobStore(root)
        self.index = Index(database)
        self.shelf = Shelf(self.store, self.index)
        self.inventory = Inventory(database, self.index.uses)
        self.reconciliation = Reconciliation(self.shelf, self.inventory, Quarantine(self.shelf))

    async def put(self, content: bytes = CONTENT) -> HeldBlob:
        async with await self.store.stage() as staged:
            await staged.write(content)
            return await staged.commit()

    async def publish(self, url: str = URL, content: bytes = CONTENT) -> None:
        await self.shelf.publish(url, await self.put(content))

    def path(self, digest: Sha256 = DIGEST) -> Path:
        return self.root / "blobs" / digest[:2] / digest[2:]

    def sidecar(self, digest: Sha256 = DIGEST) -> Path:
        return self.path(digest).with_name(digest[2:] + ".json")

    def damage(self, content: bytes, digest: Sha256 = DIGEST) -> None:
        self.path(digest).chmod(0o644)
        self.path(digest).write_bytes(content)

    def rewrite(self, content: bytes, digest: Sha256 = DIGEST) -> None:
        self.sidecar(digest).unlink(missing_ok=True)
        self.sidecar(digest).write_bytes(content)

    async def run(self) -> Reconciled:
        return await self.reconciliation.run()


async def soon(condition: Callable[[], Awaitable[object]]) -> bool:
    async with asyncio.timeout(30):
        while not await condition():  # noqa: ASYNC110  # what is in a database sets no event
            await asyncio.sleep(0.01)
    return True


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with open_database(f"sqlite:///{tmp_path}/zooproxy.db") as database:
        yield Site(tmp_path, database)


async def test_what_is_in_line_is_left_alone(site: Site) -> None:
    assert await site.run() == Reconciled()
    await site.publish()
    await site.publish(OTHER_URL, CHANGED)
    assert await site.run() == Reconciled()


async def test_blob_deleted_behind_the_index_makes_its_source_absent_and_keeps_the_trust(site: Site) -> None:
    await site.publish()
    site.path().unlink()
    assert await site.run() == Reconciled(dropped=1)
    assert await site.index.held(URL) is None
    assert await site.index.blob(DIGEST) is None
    trusted = await site.index.trust.of(URL)
    assert trusted is not None
    assert trusted.sha256 == DIGEST


async def test_blob_that_has_come_back_before_its_row_is_dropped_stays(site: Site) -> None:
    await site.publish()
    assert await site.reconciliation.drop([DIGEST]) == 0
    assert await site.index.held(URL) is not None


async def test_kill_9_between_sidecar_and_row_is_adopted(site: Site) -> None:
    await site.publish()
    held = await site.index.held(URL)
    await site.index.forget(DIGEST)
    assert await site.run() == Reconciled(adopted=1)
    assert await site.index.held(URL) == held


async def test_kill_9_between_blob_and_sidecar_is_left_and_harms_nobody(site: Site) -> None:
    await site.put()
    assert await site.run() == Reconciled()
    assert await site.index.blob(DIGEST) is None
    await site.publish()
    assert await site.index.held(URL) is not None


@pytest.mark.parametrize("content", [CONTENT[:-1], b"", CONTENT + b"!"])
async def test_blob_of_a_wrong_length_is_quarantined(site: Site, content: bytes) -> None:
    await site.publish()
    site.damage(content)
    assert await site.run() == Reconciled(quarantined=1)
    assert await site.index.held(URL) is None
    with pytest.raises(BlobAbsent):
        await site.store.open(DIGEST)
    aside = site.root / "quarantine" / DIGEST
    assert aside.read_bytes() == content
    note = aside.with_name(f"{DIGEST}.json").read_text()
    assert URL in note
    assert "12 bytes" in note


async def test_directory_in_the_place_of_a_blob_is_quarantined(site: Site) -> None:
    await site.publish()
    site.path().unlink()
    site.path().mkdir()
    assert await site.run() == Reconciled(quarantined=1)
    await site.publish()
    assert site.path().read_bytes() == CONTENT


async def test_blob_without_a_row_of_another_length_than_its_sidecar_says_is_quarantined(site: Site) -> None:
    await site.publish()
    await site.index.forget(DIGEST)
    site.damage(CONTENT[:-1])
    assert await site.run() == Reconciled(quarantined=1)


@pytest.mark.parametrize("document", [b"", b"[" * 100_000, b"\xff\xff", None], ids=["empty", "deep", "no text", "gone"])
async def test_blob_with_neither_row_nor_readable_sidecar_is_left(site: Site, document: bytes | None) -> None:
    await site.publish()
    await site.index.forget(DIGEST)
    site.rewrite(document or b"")
    if document is None:
        site.sidecar().unlink()
    assert await site.run() == Reconciled()
    assert await site.index.blob(DIGEST) is None
    assert site.path().read_bytes() == CONTENT


async def test_sidecar_that_is_missing_is_written_again(site: Site) -> None:
    await site.publish()
    await site.publish(OTHER_URL)
    before = site.sidecar().read_bytes()
    site.sidecar().unlink()
    assert await site.run() == Reconciled(annotated=1)
    assert site.sidecar().read_bytes() == before


async def test_derived_blob_needs_no_sidecar(site: Site) -> None:
    await site.publish(f"{DERIVED}{OTHER}/{OTHER}")
    assert await site.run() == Reconciled()


async def test_sidecar_left_alone_by_its_blob_is_no_blob(site: Site) -> None:
    await site.publish()
    await site.index.forget(DIGEST)
    site.path().unlink()
    assert await site.run() == Reconciled()


async def test_stray_files_are_left_alone(site: Site) -> None:
    await site.publish()
    for name in ("README", f"{DIGEST[:2]}/x.tmp", "zz/" + "0" * 62):
        path = site.root / "blobs" / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("somebody's")
    assert await site.run() == Reconciled()


async def test_lost_index_is_written_anew_from_sidecars(site: Site) -> None:
    await site.publish()
    await site.publish(OTHER_URL)
    await site.publish("https://zoo.example/z.pth", CHANGED)
    await site.shelf.accept("https://zoo.example/z.pth", OTHER)
    async with open_database(f"sqlite:///{site.root}/fresh.db") as database:
        fresh = Site(site.root, database)
        assert await fresh.inventory.is_empty()
        assert await fresh.run() == Reconciled(adopted=2)
        for url in (URL, OTHER_URL, "https://zoo.example/z.pth"):
            assert await fresh.index.held(url) == await site.index.held(url)
            assert await fresh.index.trust.of(url) == await site.index.trust.of(url)
        assert await fresh.run() == Reconciled()


async def test_lost_index_holds_what_was_published_last(site: Site) -> None:
    """The sidecar of the older blob still claims the source, as after a crash before it was told otherwise."""
    await site.publish()
    stale = site.sidecar().read_bytes()
    await site.publish(URL, CHANGED)
    site.rewrite(stale)
    async with open_database(f"sqlite:///{site.root}/fresh.db") as database:
        fresh = Site(site.root, database)
        assert await fresh.run() == Reconciled(adopted=2)
        assert await fresh.index.held(URL) == await site.index.held(URL)


async def test_lost_index_remembers_that_an_operator_has_accepted_other_bytes(site: Site) -> None:
    await site.publish()
    await site.shelf.accept(URL, OTHER)
    async with open_database(f"sqlite:///{site.root}/fresh.db") as database:
        fresh = Site(site.root, database)
        await fresh.run()
        assert await fresh.index.held(URL) is None
        assert await fresh.index.trust.of(URL) == await site.index.trust.of(URL)


async def test_sidecar_that_claims_a_source_of_another_digest_is_believed_no_further_than_the_index(
    site: Site,
) -> None:
    """A sidecar beside one blob says that a known source is this blob: the index knows what it must be."""
    await site.publish()
    blob = await site.put(CHANGED)
    late = datetime.now(UTC) + timedelta(days=1)
    claim = Sidecar(OTHER, blob.size, (Origin(URL, late, OTHER, late),))
    site.rewrite(sidecar_to_json(claim), OTHER)
    assert await site.run() == Reconciled(adopted=1)
    held = await site.index.held(URL)
    assert held is not None
    assert held.sha256 == DIGEST


async def test_thousand_sidecars_are_adopted_in_portions(site: Site) -> None:
    blob = await site.put()
    sidecars = []
    for number in range(1000):
        digest = Sha256.of(b"%d" % number)
        origin = Origin(f"https://zoo.example/{number}", datetime.now(UTC), digest, datetime.now(UTC))
        sidecars.append(Sidecar(digest, blob.size, (origin,)))
    assert await site.inventory.adopt(sidecars) == 1000
    assert len(await site.inventory.blobs()) == 1000
    assert len(await site.inventory.origins()) == 1000


async def test_blob_that_is_on_its_way_out_is_not_adopted(site: Site) -> None:
    await site.publish()
    await site.index.forget(DIGEST)
    async with site.database.write() as connection:
        await connection.execute(departures.insert().values(sha256=DIGEST, size=len(CONTENT), since=0))
    assert await site.inventory.leaving() == {DIGEST}
    assert await site.run() == Reconciled()
    assert await site.index.held(URL) is None


async def test_several_processes_that_start_at_once_agree(site: Site) -> None:
    await site.publish()
    await site.publish(OTHER_URL, CHANGED)
    async with (
        open_database(f"sqlite:///{site.root}/fresh.db") as one,
        open_database(f"sqlite:///{site.root}/fresh.db") as other,
    ):
        sites = [Site(site.root, one), Site(site.root, other)]
        await asyncio.gather(*(each.run() for each in sites))
        for each in sites:
            assert await each.index.held(URL) is not None
            assert await each.index.held(OTHER_URL) is not None


async def test_empty_index_is_written_before_anybody_is_served(site: Site) -> None:
    await site.publish()
    await site.index.forget(DIGEST)
    async with reconciled(site.reconciliation, site.inventory):
        assert await site.index.held(URL) is not None


async def test_index_that_knows_something_is_brought_in_line_in_the_background(site: Site) -> None:
    await site.publish()
    await site.publish(OTHER_URL, CHANGED)
    await site.index.forget(DIGEST)
    async with reconciled(site.reconciliation, site.inventory):
        assert await soon(lambda: site.index.held(URL))


async def test_store_that_cannot_be_listed_is_told_and_ends_nothing(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    await site.publish()
    (site.root / "blobs").rename(site.root / "moved")
    (site.root / "blobs").write_text("a file where a directory should be")
    with pytest.raises(CacheError):
        await site.run()

    async def told() -> bool:
        return "could not be compared" in caplog.text

    async with reconciled(site.reconciliation, site.inventory):
        assert await soon(told)


async def test_blob_quarantined_while_it_is_published_anew_is_not_taken(site: Site) -> None:
    """Between the finding and the quarantine a fill has replaced the file: it is another one now."""
    await site.publish()
    site.damage(CONTENT[:-1] + b"?")
    seen = await site.store.look(DIGEST)
    assert seen is not None
    await site.publish()
    quarantine = Quarantine(site.shelf)
    assert not await quarantine.rotten(seen, "it was")
    assert not await quarantine.rotten(replace(seen, digest=None), "it is no blob")
    assert await site.index.held(URL) is not None
    assert sidecar_from_json(site.sidecar().read_bytes(), DIGEST).origins[0].url == URL
