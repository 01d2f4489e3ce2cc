"""The queue of fills."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest

from zooproxy.fetch.slots import Interest, Slots, Turn


class Queue:
    """Turns that hold their slot until they are told to leave; ``order`` is the order in which they got one."""

    def __init__(self, slots: Slots) -> None:
        self.slots = slots
        self.order: list[str] = []
        self.turns: dict[str, Turn] = {}
        self.tasks: dict[str, asyncio.Task[None]] = {}
        self._leave: dict[str, asyncio.Event] = {}

    async def join(self, name: str, host: str = "a", *, urgent: bool = True) -> None:
        self.turns[name], self._leave[name] = Turn(host, Interest(urgent)), asyncio.Event()
        self.tasks[name] = asyncio.create_task(self._hold(name))
        await asyncio.sleep(0)

    async def leave(self, name: str) -> None:
        self._leave[name].set()
        await self.tasks[name]
        for _ in range(3):
            await asyncio.sleep(0)

    async def _hold(self, name: str) -> None:
        async with self.slots.hold(self.turns[name]):
            self.order.append(name)
            await self._leave[name].wait()


async def test_turns_come_in_order_of_arrival_within_the_total() -> None:
    queue = Queue(Slots(2, 2))
    for name in "abcd":
        await queue.join(name, host=name)
    assert queue.order == ["a", "b"]
    await queue.leave("b")
    await queue.leave("a")
    assert queue.order == ["a", "b", "c", "d"]
    await queue.leave("c")
    await queue.leave("d")


async def test_one_host_does_not_keep_the_others_waiting() -> None:
    queue = Queue(Slots(3, 1))
    for name, host in [("a1", "a"), ("a2", "a"), ("b1", "b")]:
        await queue.join(name, host)
    assert queue.order == ["a1", "b1"]
    await queue.leave("a1")
    assert queue.order == ["a1", "b1", "a2"]
    for name in ("b1", "a2"):
        await queue.leave(name)


async def test_whom_somebody_waits_for_goes_before_those_that_are_only_warmed() -> None:
    queue = Queue(Slots(1, 1))
    for name, urgent in [("first", True), ("warm", False), ("hurried", False), ("asked", True)]:
        await queue.join(name, urgent=urgent)
    queue.turns["hurried"].interest.urgent = True
    for name in ("first", "hurried", "asked", "warm"):
        await queue.leave(name)
    assert queue.order == ["first", "hurried", "asked", "warm"]


async def test_one_who_leaves_the_queue_or_its_slot_by_cancellation_leaves_no_gap() -> None:
    queue = Queue(Slots(1, 1))
    for name in ("running", "queued", "last"):
        await queue.join(name)
    queue.tasks["queued"].cancel()
    queue.tasks["running"].cancel()
    await asyncio.wait([queue.tasks["queued"], queue.tasks["running"]])
    await queue.leave("last")
    assert queue.order == ["running", "last"]


async def test_a_slot_is_free_again_after_an_error() -> None:
    slots = Slots(1, 1)
    with pytest.raises(RuntimeError):
        async with slots.hold(Turn("a")):
            raise RuntimeError
    async with AsyncExitStack() as stack, asyncio.timeout(5):
        await stack.enter_async_context(slots.hold(Turn("a")))
