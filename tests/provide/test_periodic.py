"""Work in the background: again and again, when asked, and never left half done."""

from __future__ import annotations

import asyncio

import pytest

from zooproxy.errors import CacheError
from zooproxy.provide.periodic import repeated


async def test_work_is_done_after_each_pause() -> None:
    rounds = asyncio.Semaphore(0)

    async def work() -> None:
        rounds.release()

    async with repeated(work, 0.001, "counting"):
        for _ in range(3):
            await asyncio.wait_for(rounds.acquire(), 10)


@pytest.mark.parametrize("error", [CacheError("the disk is gone"), RuntimeError("a bug")])
async def test_round_that_fails_is_logged_and_the_next_one_comes(
    error: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    tries, well = 0, asyncio.Event()

    async def work() -> None:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise error
        well.set()

    async with repeated(work, 0.001, "keeping the books"):
        await asyncio.wait_for(well.wait(), 10)
    assert "keeping the books failed and is tried again" in caplog.text


async def test_round_that_runs_at_the_end_is_waited_for_and_none_begins_after_it() -> None:
    begun, go_on, ended = asyncio.Event(), asyncio.Event(), 0

    async def work() -> None:
        nonlocal ended
        begun.set()
        await go_on.wait()
        ended += 1

    async def leave_while_it_runs() -> None:
        async with repeated(work, 0.001, "counting"):
            await begun.wait()

    leaving = asyncio.create_task(leave_while_it_runs())
    await begun.wait()
    await asyncio.sleep(0)
    assert not leaving.done()
    go_on.set()
    await asyncio.wait_for(leaving, 10)
    assert ended == 1
