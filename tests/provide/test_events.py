"""Events: told to those who listen, and only as long as they keep up."""

from __future__ import annotations

from zooproxy.provide.events import BEHIND, Event, Events


async def test_a_listener_hears_what_happens_from_then_on_and_of_silence() -> None:
    events = Events()
    events.tell("fill", {"id": "before"})
    heard = events.listen(0.01)
    assert await anext(heard) is None
    events.tell("fill", {"id": "after"})
    assert await anext(heard) == Event("fill", {"id": "after"})
    await heard.aclose()
    events.tell("fill", {"id": "nobody"})


async def test_a_listener_that_does_not_keep_up_hears_what_it_had_and_then_the_end() -> None:
    events = Events()
    heard = events.listen(0.01)
    assert await anext(heard) is None
    for number in range(BEHIND + 1):
        events.tell("fill", {"number": number})
    assert len([event async for event in heard]) == BEHIND
