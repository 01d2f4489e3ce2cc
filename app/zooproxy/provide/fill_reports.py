"""Fills as they are told to clients: this process's own, those that ended lately, those that other processes lead."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from typing import Final

from zooproxy.cache.leases import Lease
from zooproxy.errors import ZooproxyError
from zooproxy.provide.running import Running
from zooproxy.wire.fills import RUNNING, FillAnswer, fill_id
from zooproxy.wire.problems import problem_type

REMEMBERED: Final = 256


def report(running: Running) -> FillAnswer:
    growing = running.growing
    return FillAnswer(
        id=fill_id(growing.url),
        url=growing.url,
        refs=sorted(running.refs),
        state=running.state,
        here=True,
        bytes_done=growing.size,
        bytes_total=growing.length,
        bytes_per_second=growing.speed() if running.state == RUNNING else 0,
        candidate=growing.candidate or None,
        attempt=growing.attempt,
        begun_at=running.begun_at.isoformat(timespec="seconds"),
        sha256=running.sha256,
        error=None if running.error is None else problem(running.error),
    )


def report_of_another(lease: Lease) -> FillAnswer:
    staged = lease.staged
    return FillAnswer(
        id=fill_id(lease.url),
        url=lease.url,
        refs=[],
        state=RUNNING,
        here=False,
        bytes_done=lease.done,
        bytes_total=staged.length if staged else None,
        bytes_per_second=0,
        candidate=staged.candidate if staged else None,
        attempt=0,
        begun_at=None,
    )


def problem(error: Exception) -> dict[str, object]:
    """An error as a client reads it (RFC 9457), without a status: nobody was answered with it."""
    known = error if isinstance(error, ZooproxyError) else ZooproxyError("the fill failed unforeseen; see the log")
    return {"type": problem_type(known.slug), "title": known.title, "detail": str(known), **known.extras}


class Ended:
    """The last ``REMEMBERED`` fills that ended in this process, one per source."""

    def __init__(self) -> None:
        self._by_id: OrderedDict[str, Running] = OrderedDict()

    def remember(self, running: Running) -> None:
        key = fill_id(running.wanted.url)
        self._by_id.pop(key, None)
        self._by_id[key] = running
        if len(self._by_id) > REMEMBERED:
            self._by_id.popitem(last=False)

    def outcome(self, url: str) -> Exception | None:
        """What the last fill of ``url`` failed with; None if it did not, or is not remembered."""
        ended = self._by_id.get(fill_id(url))
        return None if ended is None else ended.error

    def except_for(self, running: Iterable[Running]) -> list[Running]:
        again = {fill_id(one.wanted.url) for one in running}
        return [one for key, one in self._by_id.items() if key not in again]
