"""Who fetches: taken once, given up, taken over, fenced."""

from __future__ import annotations

import asyncio

import pytest

from zooproxy.cache.database import Database
from zooproxy.cache.index import Index
from zooproxy.cache.leases import Leases, Staged, boot_id
from zooproxy.digest import Sha256
from zooproxy.errors import LeaseLost

URL = "https://zoo.example/x.pth"
STAGED = Staged("p" * 32, "https://mirror.example/x.pth", 9, '"v1"', None, resumable=True)


@pytest.fixture
def ours(database: Database) -> Leases:
    return Leases(database, "o" * 32)


@pytest.fixture
def theirs(database: Database) -> Leases:
    return Leases(database, "t" * 32)


async def test_one_of_many_takes_it(ours: Leases, theirs: Leases) -> None:
    leases = await asyncio.gather(*(each.take(URL) for each in [ours, theirs] * 8))
    assert len({(lease.owner, lease.fence) for lease in leases}) == 1


async def test_what_is_recorded_is_found_by_the_others(ours: Leases, theirs: Leases) -> None:
    lease = await ours.take(URL)
    await ours.record(lease, STAGED)
    assert await ours.beat(lease, 5)
    found = await theirs.find(URL)
    assert found is not None
    assert (found.staged, found.done, found.beat, found.trusted) == (STAGED, 5, 1, None)
    assert await theirs.all() == [found]


async def test_a_freed_lease_is_taken_with_what_its_owner_left(ours: Leases, theirs: Leases) -> None:
    lease = await ours.take(URL)
    await ours.record(lease, STAGED)
    await ours.free(lease, durable=7)
    taken = await theirs.take(URL)
    assert (taken.owner, taken.fence, taken.staged, taken.done) == (theirs.owner, 2, STAGED, 7)


async def test_a_lease_freed_with_nothing_left_is_forgotten(ours: Leases) -> None:
    await ours.free(await ours.take(URL), durable=0)
    assert await ours.find(URL) is None


async def test_after_a_new_boot_only_what_was_durable_is_trusted(ours: Leases, database: Database) -> None:
    lease = await ours.take(URL)
    await ours.record(lease, STAGED)
    await ours.free(lease, durable=7)
    async with database.write() as connection:
        await connection.exec_driver_sql("UPDATE fills SET boot = 'another'")
    found = await ours.find(URL)
    assert found is not None
    assert found.trusted == 7
    assert boot_id() == boot_id()


async def test_a_dead_owners_lease_is_taken_over_and_the_old_owner_is_fenced_off(
    ours: Leases, theirs: Leases, database: Database
) -> None:
    old = await ours.take(URL)
    taken = await theirs.take(URL, dead=old.sign_of_life)
    assert (taken.owner, taken.fence) == (theirs.owner, 2)
    for refused in (ours.beat(old, 1), ours.record(old, STAGED), Index(database).publish(URL, Sha256.of(b""), 0, old)):
        with pytest.raises(LeaseLost):
            await refused
    await ours.free(old, durable=0)
    assert await theirs.find(URL) == taken
    assert await Index(database).held(URL) is None


async def test_an_owner_that_gave_a_sign_of_life_meanwhile_keeps_its_lease(ours: Leases, theirs: Leases) -> None:
    lease = await ours.take(URL)
    await ours.beat(lease, 1)
    assert (await theirs.take(URL, dead=lease.sign_of_life)).owner == ours.owner


async def test_publishing_ends_the_lease_in_the_same_transaction(ours: Leases, database: Database) -> None:
    lease = await ours.take(URL)
    held = await Index(database).publish(URL, Sha256.of(b""), 0, lease)
    assert await Index(database).held(URL) == held
    assert await ours.find(URL) is None


async def test_the_owner_learns_that_it_is_to_stop(ours: Leases, theirs: Leases) -> None:
    lease = await ours.take(URL)
    assert await theirs.cancel(URL)
    assert not await ours.beat(lease, 1)
    await ours.free(lease, durable=7)
    assert not await theirs.cancel(URL)
    assert await ours.find(URL) is None


async def test_forget_spares_what_somebody_has_taken_meanwhile(ours: Leases, theirs: Leases) -> None:
    old = await ours.take(URL)
    await theirs.take(URL, dead=old.sign_of_life)
    await ours.forget(old)
    taken = await ours.find(URL)
    assert taken is not None
    await ours.forget(taken)
    assert await ours.find(URL) is None
