from __future__ import annotations

import asyncio

import pytest
from starlette.responses import Response

from zooproxy.errors import TooBusy
from zooproxy.serving.transfers import LimitedResponse, Transfers


class Body(Response):
    """Sends nothing until it is told to."""

    def __init__(self, status: int = 200) -> None:
        self.status_code = status
        self.background = None
        self.begun = asyncio.Event()
        self.may_end = asyncio.Event()

    async def __call__(self, *_: object) -> None:
        self.begun.set()
        await self.may_end.wait()


def send(body: Body, transfers: Transfers, method: str = "GET") -> asyncio.Task[None]:
    async def unused(*_: object) -> None: ...

    return asyncio.create_task(LimitedResponse(body, transfers)({"method": method}, unused, unused))  # type: ignore[arg-type]


async def test_so_many_leave_at_once_as_many_wait_and_the_next_is_refused() -> None:
    transfers = Transfers(2)
    bodies = [Body() for _ in range(5)]
    tasks = [send(body, transfers) for body in bodies[:4]]
    await asyncio.gather(*(body.begun.wait() for body in bodies[:2]))
    assert not any(body.begun.is_set() for body in bodies[2:])
    with pytest.raises(TooBusy, match="2 files at once") as refused:
        await send(bodies[4], transfers)
    assert refused.value.retry_after > 0
    for body in bodies:
        body.may_end.set()
    await asyncio.gather(*tasks)
    assert all(body.begun.is_set() for body in bodies[:4])


async def test_one_that_leaves_the_queue_makes_room_in_it() -> None:
    transfers = Transfers(1)
    running, waiting, next_one = Body(), Body(), Body()
    task = send(running, transfers)
    await running.begun.wait()
    leaver = send(waiting, transfers)
    await asyncio.sleep(0)
    leaver.cancel()
    await asyncio.wait([leaver])
    queued = send(next_one, transfers)
    for body in (running, next_one):
        body.may_end.set()
    await asyncio.gather(task, queued)


@pytest.mark.parametrize(("method", "status"), [("HEAD", 200), ("GET", 304), ("GET", 416)])
async def test_what_has_no_body_takes_no_transfer(method: str, status: int) -> None:
    transfers = Transfers(1)
    running = Body()
    task = send(running, transfers)
    await running.begun.wait()
    bodiless = Body(status)
    bodiless.may_end.set()
    await send(bodiless, transfers, method)
    running.may_end.set()
    await task


async def test_a_failure_gives_its_transfer_back() -> None:
    class Broken(Body):
        async def __call__(self, *_: object) -> None:
            raise ConnectionError

    transfers = Transfers(1)
    for _ in range(3):
        with pytest.raises(ConnectionError):
            await send(Broken(), transfers)
