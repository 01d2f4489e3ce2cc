"""What of a host becomes an event, and what is kept of it."""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterator, Sequence
from contextlib import aclosing
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from zooproxy.cache.database import open_database
from zooproxy.cache.hosts import HostsSeen
from zooproxy.fetch.hosts import Hosts, HostSighting
from zooproxy.fetch.upstream import Patience
from zooproxy.provide.events import Events
from zooproxy.provide.host_watch import HostWatch

URL = "https://zoo.example/net.pth"
EVER = datetime.max.replace(tzinfo=UTC)
WELL = HostSighting("zoo.example", ("1.1.1.1",), datetime.now(UTC) + timedelta(days=90))


class PlayedHosts(Hosts):
    """Answers with one sighting after the other."""

    def __init__(self, *sightings: HostSighting) -> None:
        super().__init__(lambda host, port: False, ssl.create_default_context(), Patience())
        self._left = list(sightings)

    async def look(self, url: str) -> HostSighting | None:
        return self._left.pop(0)


class Play:
    def __init__(self, rows: HostsSeen) -> None:
        self.rows = rows
        self._events = Events()

    async def told(self, *sightings: HostSighting, unless_since: datetime = EVER) -> Sequence[dict[str, Any]]:
        """The events while the host was seen like that, in order."""
        watch = HostWatch(PlayedHosts(*sightings), self.rows, self._events)
        told: list[dict[str, Any]] = []
        async with aclosing(self._events.listen(0.01)) as heard:
            assert await anext(heard) is None
            for _ in sightings:
                await watch.look(URL, unless_since=unless_since)
            while (event := await anext(heard)) is not None:
                assert event.kind == "watch"
                told.append({name: value for name, value in event.data.items() if name != "host"})
        return told


@pytest.fixture
async def play(tmp_path: Path) -> AsyncIterator[Play]:
    async with open_database(f"sqlite:///{tmp_path}/zooproxy.sqlite3") as database:
        yield Play(HostsSeen(database))


async def test_a_host_that_is_well_and_stays_so_is_no_news(play: Play) -> None:
    assert await play.told(WELL, WELL) == []


async def test_other_addresses_are_told_and_the_time_is_kept(play: Play) -> None:
    moved = replace(WELL, addresses=("9.9.9.9",))
    assert await play.told(WELL, moved, moved) == [{"addresses": ["9.9.9.9"], "were": ["1.1.1.1"]}]
    (row,) = await play.rows.all()
    assert row.addresses == ("9.9.9.9",)
    assert row.addresses_since < row.checked_at


async def test_a_problem_is_told_when_it_begins_and_when_it_ends_and_what_was_known_stays(play: Play) -> None:
    silent = HostSighting("zoo.example", problem="no answer")
    assert await play.told(WELL, silent, silent) == [{"problem": "no answer"}]
    (row,) = await play.rows.all()
    assert (row.addresses, row.certificate_ends, row.problem) == (WELL.addresses, WELL.certificate_ends, "no answer")
    assert await play.told(WELL) == [{"problem": ""}]


async def test_a_certificate_that_ends_in_a_few_days_is_told_once(play: Play) -> None:
    soon = replace(WELL, certificate_ends=datetime.now(UTC).replace(microsecond=0) + timedelta(days=3))
    assert soon.certificate_ends is not None
    assert await play.told(WELL, soon, soon) == [{"certificate_ends": soon.certificate_ends.isoformat()}]


async def test_a_host_that_was_seen_lately_is_left_alone(play: Play) -> None:
    ailing = replace(WELL, problem="no answer")
    assert await play.told(WELL, ailing, unless_since=datetime.min.replace(tzinfo=UTC)) == []
    assert await play.told(ailing) == [{"problem": "no answer"}]
