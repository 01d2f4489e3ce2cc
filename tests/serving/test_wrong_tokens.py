from __future__ import annotations

import pytest

from zooproxy.errors import TooManyWrongTokens
from zooproxy.serving.wrong_tokens import ADDRESSES, MOST, WINDOW_SECONDS, WrongTokens


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def test_an_address_is_refused_after_too_many_and_heard_again_when_its_window_ends() -> None:
    clock = Clock()
    wrong = WrongTokens(clock)
    for _ in range(MOST):
        wrong.refuse_if_too_many("10.0.0.1")
        wrong.count("10.0.0.1")
    clock.now += 20
    with pytest.raises(TooManyWrongTokens) as refusal:
        wrong.refuse_if_too_many("10.0.0.1")
    assert refusal.value.retry_after == WINDOW_SECONDS - 20
    wrong.refuse_if_too_many("10.0.0.2")
    clock.now += WINDOW_SECONDS - 20
    wrong.refuse_if_too_many("10.0.0.1")


def test_a_wrong_token_now_and_then_is_forgiven() -> None:
    clock = Clock()
    wrong = WrongTokens(clock)
    for _ in range(3 * MOST):
        wrong.refuse_if_too_many("10.0.0.1")
        wrong.count("10.0.0.1")
        clock.now += WINDOW_SECONDS / 5


def test_a_flood_of_addresses_takes_a_bounded_memory() -> None:
    wrong = WrongTokens(Clock())
    for number in range(3 * ADDRESSES):
        wrong.count(str(number))
    assert len(wrong._windows) == ADDRESSES
