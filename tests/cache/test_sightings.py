"""What upstreams said of sources, kept in one row each."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from zooproxy.cache.database import Database, open_database
from zooproxy.cache.hosts import HostSeen, HostsSeen
from zooproxy.cache.sightings import CHANGED, OK, UNREACHABLE, Known, Seen, Sightings

URL = "https://zoo.example/net.pth"
KNOWN = Known("http://mirror.lan/net.pth", 5, 'W/"a"', "Mon, 01 Jan 2024 00:00:00 GMT")
THEN = datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=UTC)


@pytest.mark.parametrize("known", [KNOWN, None])
async def test_a_row_says_what_was_put_and_the_last_one_counts(database: Database, known: Known | None) -> None:
    sightings = Sightings(database)
    await sightings.put(Seen(URL, OK, THEN, THEN))
    seen = Seen(URL, UNREACHABLE, THEN, THEN + timedelta(hours=1), known, "no answer", {URL: "no answer"})
    await sightings.put(seen)
    assert (await sightings.of(URL), await sightings.all()) == (seen, (seen,))
    await sightings.forget(URL)
    assert await sightings.of(URL) is None


async def test_a_state_began_when_it_was_first_seen(database: Database) -> None:
    sightings = Sightings(database)
    await sightings.put(Seen(URL, OK, THEN, THEN))
    await sightings.fetched(URL, KNOWN, OK)
    same = await sightings.of(URL)
    await sightings.fetched(URL, KNOWN, CHANGED)
    other = await sightings.of(URL)
    assert same is not None
    assert other is not None
    assert same.since == THEN < same.checked_at <= other.since
    assert (same.known, same.candidates) == (KNOWN, {KNOWN.candidate: None})


@pytest.mark.parametrize("is_known", [False, True])
async def test_of_two_processes_one_asks(database: Database, url: str, is_known: bool) -> None:
    here = Sightings(database)
    if is_known:
        await here.put(Seen(URL, OK, THEN, THEN, KNOWN))
    async with open_database(url) as same:
        there = Sightings(same)
        before = await here.of(URL)
        assert await there.of(URL) == before
        assert [await here.claim(URL, before), await there.claim(URL, before)] == [True, False]


async def test_a_host_is_kept_as_it_was_seen(database: Database) -> None:
    hosts = HostsSeen(database)
    for ends in (None, THEN):
        seen = HostSeen("zoo.example:444", ("1.1.1.1", "2606:4700::1111"), THEN, ends, "late", THEN, THEN)
        await hosts.put(seen)
        assert (await hosts.of(seen.host), await hosts.all()) == (seen, (seen,))
    assert await hosts.of("other.example") is None
