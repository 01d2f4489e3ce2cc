"""Rounds of the watch: one source that goes wrong in an unforeseen way ends neither its round nor those after it."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from datetime import UTC, datetime
from typing import Any, cast

import pytest

from zooproxy.cache.sightings import OK, Seen
from zooproxy.fetch.proof import Wanted
from zooproxy.provide.rounds import Rounds, Schedule, open_rounds

ODD, SOUND = Wanted("https://odd.example/net.pth"), Wanted("https://sound.example/net.pth")


class Play:
    """Lookout, host watch and rows at once, as far as rounds ask them; ``ODD`` meets a bug, as do the first rows."""

    def __init__(self, *, rows_fail: int = 0) -> None:
        self.asked: list[str] = []
        self.sound = asyncio.Event()
        self.all_asked = asyncio.Event()
        self._rows_fail = rows_fail

    def rounds(self, schedule: Schedule) -> Rounds:
        part = cast("Any", self)
        return Rounds(part, part, part, self.watched, schedule)

    async def watched(self) -> Sequence[Wanted]:
        return [ODD, SOUND]

    async def ask(self, wanted: Wanted, *, everyone: bool) -> Seen:
        self.asked.append(wanted.url)
        if len(self.asked) == len(await self.watched()):
            self.all_asked.set()
        if wanted == ODD:
            raise LookupError("a bug")
        self.sound.set()
        return Seen(wanted.url, OK, datetime.now(UTC), datetime.now(UTC))

    async def all(self) -> Sequence[Seen]:
        self._rows_fail -= 1
        if self._rows_fail >= 0:
            raise LookupError("a bug")
        return []

    async def claim(self, url: str, before: Seen | None) -> bool:
        return True


async def test_a_round_that_was_asked_for_reaches_all_the_others(caplog: pytest.LogCaptureFixture) -> None:
    play = Play()
    async with open_rounds(play.rounds(Schedule())) as rounds:
        await rounds.begin()
        async with asyncio.timeout(30):
            await play.all_asked.wait()
    assert sorted(play.asked) == [ODD.url, SOUND.url]
    assert f"{ODD.url} could not be asked about" in caplog.text


async def test_the_watch_outlives_what_nobody_has_foreseen(caplog: pytest.LogCaptureFixture) -> None:
    play = Play(rows_fail=2)
    async with open_rounds(play.rounds(Schedule(hours=1e-6))), asyncio.timeout(30):
        await play.sound.wait()
    assert caplog.text.count("the watch was interrupted and goes on") == 2
