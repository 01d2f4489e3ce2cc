"""Looking after what is held, as the settings describe it: questions to upstreams that no client waits for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager

from zooproxy.cache.index import Index
from zooproxy.provide.fills import Fills
from zooproxy.provide.lookout import Lookout
from zooproxy.provide.revalidation import Revalidation, open_revalidation
from zooproxy.provide.rounds import Rounds, Schedule, Watched, open_rounds
from zooproxy.serving.fetching import Fetching
from zooproxy.serving.settings import Settings


@asynccontextmanager
async def open_upkeep(
    settings: Settings, fetching: Fetching, fills: Fills, index: Index, watched: Watched
) -> AsyncIterator[tuple[Revalidation, Rounds]]:
    """Both ask through the same lookout: a source that one of them asks about is no new question to the other."""
    async with AsyncExitStack() as stack:
        lookout = Lookout(fills, index)
        stack.push_async_callback(lookout.close)
        seconds = 0 if settings.offline else settings.revalidate_seconds
        revalidation = await stack.enter_async_context(open_revalidation(lookout, index, seconds))
        schedule = Schedule(settings.watch_hours, settings.offline)
        rounds = Rounds(lookout, fetching.host_watch(index.hosts, fills.events), index.sightings, watched, schedule)
        yield revalidation, await stack.enter_async_context(open_rounds(rounds))
