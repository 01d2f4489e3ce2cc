"""What is kept lately: within its room, the least recently used leaving first."""

from __future__ import annotations

from zooproxy.provide.recent import Recent


def kept(recent: Recent[str, int], keys: str) -> str:
    return "".join(key for key in keys if recent.get(key) is not None)


def test_the_least_recently_used_leaves_first() -> None:
    recent: Recent[str, int] = Recent(30)
    for number, key in enumerate("abc"):
        recent.put(key, number, 10)
    assert recent.get("a") == 0
    recent.put("d", 3, 10)
    assert kept(recent, "abcd") == "acd"


def test_what_is_larger_than_the_room_is_not_kept_and_drives_nothing_out() -> None:
    recent: Recent[str, int] = Recent(30)
    recent.put("a", 0, 30)
    recent.put("b", 1, 31)
    assert kept(recent, "ab") == "a"


def test_a_value_that_is_replaced_frees_its_room() -> None:
    recent: Recent[str, int] = Recent(30)
    for number in range(9):
        recent.put("a", number, 20)
    recent.put("b", 1, 10)
    assert (recent.get("a"), recent.get("b")) == (8, 1)
    recent.put("a", 9, 31)  # no longer fits, and what it was is not what it is
    assert kept(recent, "ab") == "b"
