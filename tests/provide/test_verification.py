"""A data directory proven: every fault told once, by its name, and put right where that can be done."""

from __future__ import annotations

import json
import os
import time
import zlib
from collections.abc import Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from fakes.directories import CHANGED, CONTENT, DIGEST, OTHER, OTHER_URL, URL, Directory
from zooproxy.cache.shelf import DERIVED
from zooproxy.cache.sidecars import Origin, sidecar_from_json, sidecar_to_json
from zooproxy.cache.tables import departures
from zooproxy.formats.reader import READER_VERSION
from zooproxy.provide.findings import (
    DATABASE,
    LEFT,
    LENGTH,
    MISSING,
    ROT,
    SIDECAR,
    STRAY,
    SURPLUS,
    TENSORS,
    UNINDEXED,
    Finding,
    Verified,
)
from zooproxy.provide.verification import Verification


async def verify(directory: Directory, *, full: bool = False, repair: bool = False) -> Verified:
    verification = Verification(directory.shelf, directory.inventory, directory.inspection)
    return await verification.run(full=full, repair=repair)


async def told(directory: Directory, *, full: bool = False, repair: bool = False) -> list[tuple[str, str, str]]:
    findings = (await verify(directory, full=full, repair=repair)).findings
    return [(one.kind, one.name, one.outcome) for one in findings]


def flipped(content: bytes) -> bytes:
    return bytes([content[0] ^ 1]) + content[1:]


def aged(directory: Directory) -> None:
    """As if all files had been there for two hours."""
    then = time.time() - 7200
    for path in (directory.root / "blobs").rglob("*"):
        os.utime(path, (then, then))


async def test_sound_directory_has_no_faults_and_its_figures(directory: Directory) -> None:
    await directory.publish()
    await directory.publish(OTHER_URL, CHANGED)
    quick, full = await verify(directory), await verify(directory, full=True)
    size = len(CONTENT) + len(CHANGED)
    assert (quick.findings, quick.blobs, quick.size, quick.read) == ((), 2, size, 0)
    assert (full.findings, full.blobs, full.read) == ((), 2, size)
    assert full.seconds > 0


async def test_one_flipped_bit_is_found_by_full_and_not_by_quick(directory: Directory) -> None:
    await directory.publish()
    await directory.publish(OTHER_URL, CHANGED)
    directory.damage(flipped(CONTENT))
    assert await told(directory) == []
    assert await told(directory, full=True) == [(ROT, DIGEST, LEFT)]
    assert directory.path().read_bytes() == flipped(CONTENT)
    assert await told(directory, full=True, repair=True) == [(ROT, DIGEST, "quarantined")]
    assert await directory.index.held(URL) is None
    assert not directory.path().exists()
    assert (directory.root / "quarantine" / DIGEST).read_bytes() == flipped(CONTENT)
    assert URL in (directory.root / "quarantine" / f"{DIGEST}.json").read_text()
    assert await told(directory, full=True) == []
    assert await directory.index.held(OTHER_URL) is not None


async def test_full_verification_counts_as_verified_where_it_found_nothing(directory: Directory) -> None:
    await directory.publish()
    await directory.publish(OTHER_URL, CHANGED)
    directory.damage(flipped(CONTENT))
    begun = datetime.now(UTC)
    await verify(directory, full=True)
    due = await directory.inspection.due(datetime.now(UTC), datetime.now(UTC) - begun, 10)
    assert [one.sha256 for one in due] == [DIGEST]


async def gone(directory: Directory) -> None:
    directory.path().unlink()


async def cut_short(directory: Directory) -> None:
    directory.damage(CONTENT[:-1])


async def unindexed(directory: Directory) -> None:
    await directory.index.forget(DIGEST)


async def unindexed_and_cut_short(directory: Directory) -> None:
    await directory.index.forget(DIGEST)
    directory.damage(CONTENT[:-1])


async def surplus(directory: Directory) -> None:
    await directory.index.forget(DIGEST)
    directory.sidecar().unlink()
    aged(directory)


async def surplus_with_garbage(directory: Directory) -> None:
    await directory.index.forget(DIGEST)
    directory.rewrite(b"[" * 100_000)
    aged(directory)


async def sidecar_alone(directory: Directory) -> None:
    await directory.index.forget(DIGEST)
    directory.path().unlink()
    aged(directory)


async def sidecar_missing(directory: Directory) -> None:
    directory.sidecar().unlink()


async def sidecar_garbage(directory: Directory) -> None:
    directory.rewrite(b"\0" * 4096)


async def sidecar_of_another(directory: Directory) -> None:
    await directory.publish(OTHER_URL, CHANGED)
    directory.rewrite(directory.sidecar(OTHER).read_bytes())


FAULTS = {
    gone: (MISSING, "dropped"),
    cut_short: (LENGTH, "quarantined"),
    unindexed: (UNINDEXED, "adopted"),
    unindexed_and_cut_short: (LENGTH, "quarantined"),
    surplus: (SURPLUS, "removed"),
    surplus_with_garbage: (SURPLUS, "removed"),
    sidecar_alone: (SURPLUS, "removed"),
    sidecar_missing: (SIDECAR, "written anew"),
    sidecar_garbage: (SIDECAR, "written anew"),
    sidecar_of_another: (SIDECAR, "written anew"),
}


@pytest.mark.parametrize("harm", FAULTS, ids=lambda harm: harm.__name__)
async def test_fault_is_told_left_alone_and_repaired_when_asked(
    directory: Directory, harm: Callable[..., object]
) -> None:
    await directory.publish()
    await harm(directory)  # type: ignore[misc]
    kind, outcome = FAULTS[harm]
    for _ in range(2):
        assert await told(directory) == [(kind, DIGEST, LEFT)]
    assert await told(directory, repair=True) == [(kind, DIGEST, outcome)]
    assert await told(directory, full=True) == []


async def test_surplus_that_may_still_be_published_is_not_removed(directory: Directory) -> None:
    await directory.put()
    (finding,) = (await verify(directory, repair=True)).findings
    assert (finding.kind, finding.is_repaired) == (SURPLUS, False)
    assert "less than an hour" in finding.detail
    assert directory.path().exists()


async def test_clock_going_backwards_removes_nothing(directory: Directory) -> None:
    await directory.put()
    tomorrow = time.time() + 86_400
    os.utime(directory.path(), (tomorrow, tomorrow))
    assert await told(directory, repair=True) == [(SURPLUS, DIGEST, LEFT)]


async def test_files_of_others_are_told_and_never_touched(directory: Directory) -> None:
    await directory.publish()
    names = ["README", f"{DIGEST[:2]}/x.tmp", "zz"]
    for name in names:
        (directory.root / "blobs" / name).write_text("somebody's")
    aged(directory)
    assert sorted(await told(directory, full=True, repair=True)) == sorted((STRAY, name, LEFT) for name in names)
    assert all((directory.root / "blobs" / name).read_text() == "somebody's" for name in names)


async def test_blob_that_is_on_its_way_out_is_no_fault(directory: Directory) -> None:
    await directory.publish()
    await directory.index.forget(DIGEST)
    async with directory.database.write() as connection:
        await connection.execute(departures.insert().values(sha256=DIGEST, size=len(CONTENT), since=0))
    assert await told(directory, full=True, repair=True) == []


async def test_sidecar_that_claims_what_another_blob_is_held_for_is_put_right(directory: Directory) -> None:
    await directory.publish()
    stale = directory.sidecar().read_bytes()
    await directory.publish(URL, CHANGED)
    await directory.publish(OTHER_URL)
    told_now = sidecar_from_json(directory.sidecar().read_bytes(), DIGEST)
    claim = sidecar_from_json(stale, DIGEST).origins[0]
    long_ago = datetime.now(UTC) - timedelta(days=1)
    directory.rewrite(sidecar_to_json(told_now.with_origin(replace(claim, filled_at=long_ago))))
    assert await told(directory, repair=True) == [(SIDECAR, DIGEST, "written anew")]
    assert await told(directory) == []
    left = sidecar_from_json(directory.sidecar().read_bytes(), DIGEST).of(URL)
    assert left is not None
    assert left.filled_at is None


async def test_sidecar_of_what_is_being_published_at_this_moment_is_no_fault(directory: Directory) -> None:
    await directory.publish()
    now = datetime.now(UTC)
    known = sidecar_from_json(directory.sidecar().read_bytes(), DIGEST)
    directory.rewrite(sidecar_to_json(known.with_origin(Origin(OTHER_URL, now, DIGEST, now))))
    assert await told(directory) == []


async def test_derived_blob_needs_no_sidecar_and_is_hashed_like_any_other(directory: Directory) -> None:
    await directory.publish(f"{DERIVED}{OTHER}/{OTHER}")
    assert await told(directory, full=True) == []
    directory.damage(flipped(CONTENT))
    assert await told(directory, full=True) == [(ROT, DIGEST, LEFT)]


@pytest.mark.parametrize(
    "document",
    [b"", b"no zlib", zlib.compress(b"[" * 100_000), zlib.compress(json.dumps({"blob": DIGEST}).encode())],
    ids=["empty", "garbage", "deep", "half"],
)
async def test_tensor_index_that_cannot_be_read_is_dropped(directory: Directory, document: bytes) -> None:
    await directory.publish()
    await directory.index.keep_tensor_index(DIGEST, READER_VERSION, document)
    assert await told(directory) == []
    assert await told(directory, full=True) == [(TENSORS, DIGEST, LEFT)]
    assert await told(directory, full=True, repair=True) == [(TENSORS, DIGEST, "dropped")]
    assert await directory.index.tensor_index(DIGEST, READER_VERSION) is None


async def test_database_with_a_damaged_page_is_told_with_the_way_out(directory: Directory) -> None:
    for number in range(40):
        await directory.publish(f"https://zoo.example/{number}", b"%d" % number)
        digest = (await directory.index.held(f"https://zoo.example/{number}")).sha256  # type: ignore[union-attr]
        await directory.index.keep_tensor_index(digest, READER_VERSION, zlib.compress(os.urandom(3000)))
    async with directory.database.write() as connection:
        await connection.exec_driver_sql("DELETE FROM tensor_indexes WHERE rowid % 2")
        await connection.exec_driver_sql("PRAGMA writable_schema=ON")
        await connection.exec_driver_sql(
            "UPDATE sqlite_master SET rootpage = (SELECT rootpage FROM sqlite_master WHERE name = 'uses')"
            " WHERE name = 'tensor_indexes'"
        )
        await connection.exec_driver_sql("PRAGMA writable_schema=RESET")
    findings = (await verify(directory, full=True)).findings
    assert [one.kind for one in findings] == [DATABASE]
    assert "move the file away" in findings[0].detail


def test_finding_that_was_left_is_not_repaired() -> None:
    assert not Finding(ROT, DIGEST, "it is bad").is_repaired
    assert Finding(ROT, DIGEST, "it is bad", "quarantined").is_repaired
