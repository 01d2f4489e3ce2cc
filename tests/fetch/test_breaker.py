"""Circuits: closed, open, half open."""

from __future__ import annotations

import pytest

from zooproxy.errors import UpstreamResting
from zooproxy.fetch.breaker import CLOSED, HALF_OPEN, OPEN, Breakers

HOST, URL = "zoo.example", "https://zoo.example/x"


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def breakers(clock: Clock) -> Breakers:
    return Breakers(failures=3, rest_seconds=30, clock=clock)


def fail(breakers: Breakers, times: int) -> None:
    for _ in range(times):
        breakers.enter(HOST, URL)
        breakers.failed(HOST)


def test_a_host_that_fails_now_and_then_is_asked(breakers: Breakers) -> None:
    fail(breakers, 2)
    assert breakers.states() == {HOST: CLOSED}
    breakers.delivered(HOST)
    fail(breakers, 2)
    breakers.enter(HOST, URL)


def test_a_host_that_fails_in_a_row_is_left_alone_and_others_are_not(breakers: Breakers) -> None:
    fail(breakers, 3)
    assert breakers.states() == {HOST: OPEN}
    with pytest.raises(UpstreamResting) as resting:
        breakers.enter(HOST, URL)
    assert resting.value.extras == {"url": URL, "retry_after_seconds": 30.0}
    breakers.enter("other.example", URL)


def test_after_its_rest_one_probe_goes_and_decides(breakers: Breakers, clock: Clock) -> None:
    fail(breakers, 3)
    clock.now = 31
    assert breakers.states() == {HOST: HALF_OPEN}
    breakers.enter(HOST, URL)
    with pytest.raises(UpstreamResting):
        breakers.enter(HOST, URL)
    breakers.failed(HOST)
    assert breakers.states() == {HOST: OPEN}
    clock.now = 62
    breakers.enter(HOST, URL)
    breakers.delivered(HOST)
    assert breakers.states() == {}


def test_a_probe_that_ends_without_a_verdict_leaves_room_for_the_next(breakers: Breakers, clock: Clock) -> None:
    fail(breakers, 3)
    clock.now = 31
    breakers.enter(HOST, URL)
    breakers.left(HOST)
    breakers.enter(HOST, URL)
