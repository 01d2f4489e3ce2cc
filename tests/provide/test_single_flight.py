from __future__ import annotations

import asyncio
import gc

import pytest

from zooproxy.errors import Offline
from zooproxy.provide.single_flight import SingleFlight


class Work:
    """Runs until released; counts its runs."""

    def __init__(self) -> None:
        self.runs = 0
        self.begun = asyncio.Event()
        self.release = asyncio.Event()
        self.cleaned_up = False

    async def __call__(self) -> int:
        self.runs += 1
        self.begun.set()
        try:
            await self.release.wait()
        finally:
            self.cleaned_up = True
        return self.runs


async def test_askers_at_the_same_time_share_one_run() -> None:
    flight: SingleFlight[str, int] = SingleFlight()
    work = Work()
    asking = [asyncio.create_task(flight.join("key", work)) for _ in range(50)]
    await work.begun.wait()
    assert "key" in flight
    work.release.set()
    assert await asyncio.gather(*asking) == [1] * 50
    assert "key" not in flight


async def test_other_keys_run_beside_it() -> None:
    flight: SingleFlight[str, int] = SingleFlight()
    slow, quick = Work(), Work()
    quick.release.set()
    waiting = asyncio.create_task(flight.join("slow", slow))
    assert await flight.join("quick", quick) == 1
    slow.release.set()
    assert await waiting == 1


async def test_the_next_asker_after_the_end_starts_anew() -> None:
    flight: SingleFlight[str, int] = SingleFlight()
    work = Work()
    work.release.set()
    assert [await flight.join("key", work) for _ in range(2)] == [1, 2]


async def test_an_asker_who_leaves_takes_nothing_from_the_others() -> None:
    flight: SingleFlight[str, int] = SingleFlight()
    work = Work()
    leaver = asyncio.create_task(flight.join("key", work))
    stayer = asyncio.create_task(flight.join("key", work))
    await work.begun.wait()
    leaver.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leaver
    work.release.set()
    assert await stayer == 1


async def test_the_work_goes_on_when_every_asker_has_left() -> None:
    flight: SingleFlight[str, int] = SingleFlight()
    work = Work()
    leaver = asyncio.create_task(flight.join("key", work))
    await work.begun.wait()
    leaver.cancel()
    await asyncio.wait([leaver])
    assert "key" in flight
    later = asyncio.create_task(flight.join("key", work))
    work.release.set()
    assert await later == 1


async def test_a_failure_reaches_every_asker_and_is_not_kept() -> None:
    flight: SingleFlight[str, int] = SingleFlight()
    fails = True

    async def work() -> int:
        await asyncio.sleep(0)
        if fails:
            raise Offline("no")
        return 7

    results = await asyncio.gather(*(flight.join("key", work) for _ in range(3)), return_exceptions=True)
    assert [type(result) for result in results] == [Offline] * 3
    fails = False
    assert await flight.join("key", work) == 7


async def test_a_failure_that_nobody_waits_for_is_not_reported_as_forgotten() -> None:
    flight: SingleFlight[str, int] = SingleFlight()
    reports: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: reports.append(context))
    release = asyncio.Event()

    async def work() -> int:
        await release.wait()
        raise Offline("no")

    leaver = asyncio.create_task(flight.join("key", work))
    await asyncio.sleep(0)
    leaver.cancel()
    await asyncio.wait([leaver])
    release.set()
    await asyncio.gather(*(asyncio.all_tasks() - {asyncio.current_task()}), return_exceptions=True)
    gc.collect()
    assert reports == []


async def test_close_cancels_what_runs_and_waits_for_its_clean_up() -> None:
    flight: SingleFlight[str, int] = SingleFlight()
    work = Work()
    asking = asyncio.create_task(flight.join("key", work))
    await work.begun.wait()
    await flight.close()
    assert work.cleaned_up
    with pytest.raises(asyncio.CancelledError):
        await asking
