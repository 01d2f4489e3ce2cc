"""Who leaves when room is needed, and who never does."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fakes.landings import landing_in
from fakes.memory_blobs import MemoryBlobStore
from fakes.stocks import ZOO, Site, digest_of, open_site
from zooproxy.cache.local import LocalBlobStore
from zooproxy.cache.shelf import DERIVED
from zooproxy.cache.space import Room, Space
from zooproxy.errors import CacheError, OutOfSpace
from zooproxy.fetch.upstream import Version

SIZE = 10_000


@pytest.fixture(params=["local", "memory"])
async def site(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Site]:
    """Four blobs of 10,000 bytes, as many as may be held; they came in the order of their names."""
    store = LocalBlobStore(tmp_path) if request.param == "local" else MemoryBlobStore()
    async with open_site(tmp_path, store, cap=4 * SIZE) as site:
        for name in "abcd":
            await site.put(name)
        yield site


async def test_least_recently_used_leaves_first_and_only_as_many_as_needed(site: Site) -> None:
    await site.use("a", "c")
    await site.stock.space.reserve(SIZE + 1)
    assert await site.held() == "ac"
    assert [(one.kind, one.data["urls"]) for one in site.told] == [("evicted", [ZOO + "b"]), ("evicted", [ZOO + "d"])]


async def test_uses_that_are_not_written_down_yet_count(site: Site) -> None:
    site.shelf.index.uses.note(digest_of("a"))
    await site.stock.space.reserve(SIZE)
    assert await site.held() == "cda"


async def test_room_that_is_there_costs_nobody_his_place(site: Site) -> None:
    await site.stock.remove(digest_of("a"))
    await site.stock.space.reserve(SIZE)
    assert await site.held() == "bcd"


async def test_derived_blobs_leave_before_all_others_and_so_do_those_that_nothing_leads_to(site: Site) -> None:
    await site.stock.shrink(2 * SIZE)
    await site.put("e", url=f"{DERIVED}{digest_of('d')}/{'0' * 64}")
    await site.use("e")
    page = await site.stock.page("", 10)
    assert [one.derived for one in page.blobs] == [True, False, False]
    await site.stock.space.reserve(2 * SIZE)
    assert await site.held() == "cd"
    await site.shelf.accept(ZOO + "d", digest_of("x"))
    await site.stock.space.reserve(SIZE)
    assert await site.held() == "c"


async def test_pinned_source_is_never_evicted(site: Site) -> None:
    await site.stock.pin(ZOO + "a", "zoo://a")
    await site.stock.space.reserve(3 * SIZE)
    assert await site.held() == "a"


async def test_everything_pinned_is_refused_with_the_figures_and_nothing_leaves_for_it(site: Site) -> None:
    for name in "abc":
        await site.stock.pin(ZOO + name, name)
    with pytest.raises(OutOfSpace, match=r"of what is held 30000 bytes are pinned and 0 in use") as refused:
        await site.stock.space.reserve(SIZE + 1)
    figures = {"needed_bytes": SIZE + 1, "free_bytes": 0, "pinned_bytes": 3 * SIZE, "in_use_bytes": 0}
    assert refused.value.extras == figures
    assert await site.held() == "abcd"


async def test_file_larger_than_the_cap_is_refused_and_nothing_leaves_for_it(site: Site) -> None:
    with pytest.raises(OutOfSpace):
        await site.stock.space.reserve(4 * SIZE + 1)
    assert await site.held() == "abcd"


async def test_blob_that_is_read_is_passed_over_and_another_one_leaves(site: Site) -> None:
    blob = await site.store.open(digest_of("a"))
    with blob.file() as file:
        await site.stock.space.reserve(SIZE)
        assert await site.held() == "acd"
        assert len(file.read()) == SIZE


async def test_blob_that_is_in_use_for_a_moment_only_is_waited_for(site: Site) -> None:
    files = [(await site.store.open(digest_of(name))).file() for name in "abcd"]
    asyncio.get_running_loop().call_later(0.05, files[1].close)
    await site.stock.space.reserve(SIZE)
    assert await site.held() == "acd"
    for file in files:
        file.close()


async def test_all_in_use_is_refused_with_the_figures(site: Site) -> None:
    blobs = [await site.store.open(digest_of(name)) for name in "abcd"]
    files = [blob.file() for blob in blobs]
    with pytest.raises(OutOfSpace) as refused:
        await site.stock.space.reserve(SIZE)
    assert refused.value.in_use == 4 * SIZE
    for file in files:
        file.close()
    await site.stock.space.reserve(SIZE)
    assert await site.held() == "bcd"


async def test_reservations_count_towards_the_cap_until_they_are_released(site: Site) -> None:
    room = await site.stock.space.reserve(SIZE)
    room.used(SIZE)
    await site.stock.space.reserve(SIZE)
    assert await site.held() == "cd"
    room.release()
    await site.stock.space.reserve(SIZE)
    assert await site.held() == "cd"


async def test_room_for_many_at_once_is_made_for_each(site: Site) -> None:
    await asyncio.gather(*(site.stock.space.reserve(SIZE) for _ in range(4)))
    assert await site.held() == ""
    with pytest.raises(OutOfSpace):
        await site.stock.space.reserve(1)


async def test_reservation_whose_owner_is_cancelled_leaves_no_removal_half_done(site: Site) -> None:
    task = asyncio.create_task(site.stock.space.reserve(SIZE))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await site.stock.eviction.close()
    assert len(await site.held()) in (3, 4)
    assert await site.stock.leaving() == (0, 0)


async def test_transfer_of_no_declared_length_gets_room_as_it_grows_and_is_refused_when_there_is_none(
    site: Site,
) -> None:
    landing = landing_in(site.store, space=site.stock.space)
    await landing.begin(Version("https://example.org/chunked"))
    await landing.write(bytes(SIZE // 2), 0)
    assert await site.held() == "bcd"
    await landing.write(bytes(SIZE // 2), SIZE // 2)
    assert await site.held() == "bcd"
    for name in "bcd":
        await site.stock.pin(ZOO + name, name)
    with pytest.raises(OutOfSpace):
        await landing.write(b"more", SIZE)
    await landing.discard()
    assert await site.stock.space.available() == SIZE


async def test_disk_full_makes_room_by_eviction_and_says_so_of_the_disk_alone(site: Site) -> None:
    free = 0

    def free_bytes() -> int:
        return free

    space = Space(free_bytes, 0, site.stock.eviction)
    site.stock.eviction.cap = 0
    await space.reserve(SIZE)
    assert await site.held() == "bcd"
    await site.stock.pin(ZOO + "b", "b")
    await site.stock.pin(ZOO + "c", "c")
    await site.stock.pin(ZOO + "d", "d")
    with pytest.raises(OutOfSpace, match="30000 bytes are pinned"):
        await space.reserve(SIZE)


async def test_too_much_is_evicted_in_the_background_down_to_the_cap(site: Site) -> None:
    await site.put("e")
    await site.put("f")
    await site.stock.eviction.keep_within()
    assert await site.held() == "cdef"


async def test_cap_below_what_is_pinned_evicts_the_rest_and_says_what_stayed(site: Site) -> None:
    await site.stock.pin(ZOO + "b", "b")
    relieved = await site.stock.shrink(0)
    assert (relieved.room.held, relieved.pinned) == (3 * SIZE, SIZE)
    assert await site.held() == "b"


async def test_shrinking_to_nothing_in_particular_without_a_cap_evicts_nothing(site: Site) -> None:
    site.stock.eviction.cap = 0
    assert (await site.stock.shrink()).room == Room()
    assert await site.held() == "abcd"


async def test_blob_deleted_behind_the_index_leaves_and_frees_nothing(site: Site) -> None:
    await site.store.remove(digest_of("a"))
    await site.stock.space.reserve(SIZE)
    page = await site.stock.page("", 10)
    assert [one.urls[0][-1] for one in page.blobs] == ["b", "c", "d"]
    space = Space(lambda: 0, 0, site.stock.eviction)
    site.stock.eviction.cap = 0
    await site.store.remove(digest_of("b"))
    await space.reserve(1)
    assert await site.held() == "d"


async def test_more_blobs_than_leave_at_once_leave_all_the_same(tmp_path: Path) -> None:
    async with open_site(tmp_path, MemoryBlobStore()) as site:
        for number in range(70):
            await site.put(f"{number:03}", 100)
        relieved = await site.stock.shrink(400)
        assert relieved.room.held == 6_600
        assert await site.held() == "".join(f"{number:03}" for number in range(66, 70))


async def test_clock_going_backwards_neither_breaks_the_order_nor_evicts_what_is_in_use(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    await site.use("a")
    a_day_ago = time.time_ns() - 86_400 * 10**9
    monkeypatch.setattr(time, "time_ns", lambda: a_day_ago)
    await site.use("b")
    assert await site.held() == "cdab"
    with (await site.store.open(digest_of("c"))).file():
        await site.stock.space.reserve(2 * SIZE)
        assert await site.held() == "cb"


async def test_two_processes_on_one_data_directory_evict_together_no_more_than_is_too_much(tmp_path: Path) -> None:
    async with open_site(tmp_path, cap=4 * SIZE) as first, open_site(tmp_path, cap=4 * SIZE) as second:
        for name in "abcdefgh":
            await first.put(name)
        await asyncio.gather(first.stock.eviction.keep_within(), second.stock.eviction.keep_within())
        assert await first.held() == await second.held() == "efgh"
        assert len(first.told) + len(second.told) == 4


async def test_blob_read_in_another_process_is_not_evicted_in_this_one(tmp_path: Path) -> None:
    async with open_site(tmp_path, cap=SIZE) as first, open_site(tmp_path, cap=SIZE) as second:
        await first.put("a")
        with (await second.store.open(digest_of("a"))).file():
            with pytest.raises(OutOfSpace) as refused:
                await first.stock.space.reserve(SIZE)
            assert refused.value.in_use == SIZE
        await first.stock.space.reserve(SIZE)
        assert await second.held() == ""


async def test_database_locked_by_another_process_refuses_the_eviction_and_nothing_is_lost(tmp_path: Path) -> None:
    async with open_site(tmp_path, cap=SIZE, busy_seconds=0.1) as site, open_site(tmp_path) as other:
        await site.put("a")
        async with other.database.write():
            with pytest.raises(CacheError, match="locked by another process"):
                await site.stock.space.reserve(SIZE)
        assert await site.held() == "a"
        await site.stock.space.reserve(SIZE)
        assert await site.held() == ""
