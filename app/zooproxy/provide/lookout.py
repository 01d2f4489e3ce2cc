"""Asking upstreams about what is held, without fetching it: does it still stand there, and is it the same?

::

    ask ── the candidates, once each ── the same ──────────────────────────────> ok
                       │
                       ├── another length, tag or date ── a digest is published ──> changed, and nothing is fetched
                       │                              └── none is ── fetch ── the same bytes ──> ok
                       │                                             └── others: quarantined ──> changed
                       └── nobody has it ──> gone · nobody answers ──> unreachable

Whatever comes of it, what is held stays as it is and goes on being served.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import astuple, replace
from datetime import UTC, datetime

from zooproxy.cache.index import HeldSource, Index
from zooproxy.cache.sightings import CHANGED, GONE, OK, UNREACHABLE, Known, Seen
from zooproxy.errors import SourceChanged, UpstreamStatus, ZooproxyError
from zooproxy.fetch.proof import Wanted
from zooproxy.fetch.sighting import Glance, Sighting
from zooproxy.provide.fills import Fills
from zooproxy.provide.single_flight import SingleFlight

_log = logging.getLogger(__name__)


class Lookout:
    def __init__(self, fills: Fills, index: Index) -> None:
        self._fills = fills
        self._index = index
        self._asking: SingleFlight[str, Seen] = SingleFlight()

    async def ask(self, wanted: Wanted, *, everyone: bool = False) -> Seen:
        """The source's row as it stands after asking; one question per source at a time, however many want to know.

        ``everyone``: every candidate is asked, and not only the first that has it.

        Raises:
            Offline, SourceError: nobody may be asked.
            CacheError: the answer cannot be written down.
        """
        return await self._asking.join(wanted.url, lambda: self._asked(wanted, everyone))

    async def close(self) -> None:
        await self._asking.close()

    async def _asked(self, wanted: Wanted, everyone: bool) -> Seen:
        url = wanted.url
        before, held = await self._index.sightings.of(url), await self._index.held(url)
        known = _known(url, before, held)
        glances = await self._fills.look(url, known, everyone=everyone)
        found = _answer(known, glances)
        seen = _judged(url, known, found, glances)
        if seen.state == CHANGED and found is not None and held is not None and not (wanted.pin or wanted.hint):
            seen = await self._fetched(wanted, seen, found)
        elif seen.state == OK and not wanted.pin and await self._is_quarantined(url):
            seen = replace(seen, state=CHANGED, detail="it delivers other bytes than it did; they are quarantined")
        if before is not None and before.state == seen.state:
            seen = replace(seen, since=before.since)
        await self._index.sightings.put(seen)
        self._tell(before, seen)
        return seen

    async def _fetched(self, wanted: Wanted, seen: Seen, found: Sighting) -> Seen:
        """No published digest tells whether the bytes have changed: they have to be looked at."""
        known = Known(*astuple(found))
        try:
            await self._fills.fill_anew(wanted)
        except SourceChanged as error:
            return replace(seen, known=known, detail=str(error))  # not fetched again while it stays like this
        except ZooproxyError as error:
            _log.warning("whether %s has changed could not be told: %s", wanted.url, error)
            return seen
        return replace(seen, state=OK, known=known, detail="")

    async def _is_quarantined(self, url: str) -> bool:
        trusted = await self._index.trust.of(url)
        return trusted is not None and trusted.refused is not None

    def _tell(self, before: Seen | None, seen: Seen) -> None:
        was = OK if before is None else before.state
        if was != seen.state:
            _log.warning("%s is %s (was %s): %s", seen.url, seen.state, was, seen.detail)
            told = {"url": seen.url, "state": seen.state, "was": was, "detail": seen.detail}
            self._fills.events.tell("watch", told)


def _known(url: str, before: Seen | None, held: HeldSource | None) -> Sighting | None:
    """What to compare with: what was seen before, or at least the length of what is held."""
    if before is not None and before.known is not None:
        return Sighting(*astuple(before.known))
    return None if held is None else Sighting(url, held.size)


def _answer(known: Sighting | None, glances: Sequence[Glance]) -> Sighting | None:
    """The one to go by: that of whoever answered before, else the first."""
    answers = [glance.found for glance in glances if glance.found is not None]
    own = [answer for answer in answers if known is not None and answer.candidate == known.candidate]
    return next(iter([*own, *answers]), None)


def _judged(url: str, known: Sighting | None, found: Sighting | None, glances: Sequence[Glance]) -> Seen:
    now = datetime.now(UTC)
    candidates = {glance.candidate: _problem(glance, known) for glance in glances}
    kept = None if known is None else Known(*astuple(known))
    if found is None:
        state = GONE if glances and all(map(_is_gone, glances)) else UNREACHABLE
        detail = str(glances[-1].error) if glances else "MIRRORS leaves nobody to ask"
        return Seen(url, state, now, now, kept, detail, candidates)
    difference = None if known is None else found.difference(known)
    if difference is not None:
        return Seen(url, CHANGED, now, now, kept, difference, candidates)
    return Seen(url, OK, now, now, Known(*astuple(found)), "", candidates)


def _problem(glance: Glance, known: Sighting | None) -> str | None:
    if glance.found is None:
        return str(glance.error)
    return None if known is None else glance.found.difference(known)


def _is_gone(glance: Glance) -> bool:
    return isinstance(glance.error, UpstreamStatus) and glance.error.status in (404, 410)
