"""The catalog as a list: names in the order of how well they match, a page at a time."""

from __future__ import annotations

import base64
import binascii
import hashlib
import heapq
import json
from collections.abc import Iterable, Iterator
from dataclasses import astuple, dataclass
from typing import Callable, Final, Optional

from zooproxy.errors import BadRequest
from zooproxy.names.layered import ZooNames
from zooproxy.names.records import Record
from zooproxy.names.search import FAMILY, NAME, PAPER, SUBJECT, SYNONYM, Texts, WordIndex, words_of

MAX_QUERY: Final = 200  # characters


@dataclass(frozen=True)
class Listed:
    """One name. ``url`` is None where it leads to no weights; ``synonyms`` are other spellings of the name."""

    zoo: str
    name: str
    url: Optional[str]
    layer: str
    record: Optional[Record]
    synonyms: tuple[str, ...] = ()

    @property
    def ref(self) -> str:
        return f"{self.zoo}://{self.name}"


@dataclass(frozen=True)
class Query:
    """What is looked for: ``words`` anywhere, ``task`` and ``dataset`` as part of one's name, in any case."""

    words: str = ""
    zoo: Optional[str] = None
    task: Optional[str] = None
    dataset: Optional[str] = None


@dataclass(frozen=True)
class Page:
    """``next`` is the cursor of the page after this one, None on the last; ``total`` counts all that was found."""

    models: tuple[Listed, ...]
    next: Optional[str]
    total: int


#: Score (negative), zoo, name: an order that no other name's coming or going changes. Keys differ, so nothing behind
#: them is ever compared.
Key = tuple[float, int, str]
Ranked = tuple[Key, Listed]
Keep = Callable[[Optional[str]], bool]


class ZooListing:
    """One zoo's names and the index over them; built once for as long as the zoo's names stay what they are."""

    def __init__(self, zoo: str, names: ZooNames, describe: Callable[[str], Optional[Record]]) -> None:
        """``describe`` gives the record of a URL whose own zoo has none."""
        spellings: dict[str, list[str]] = {}
        for spelling, synonym in names.synonyms.items():
            spellings.setdefault(synonym.target, []).append(spelling)
        for alias, target in names.aliases.items():
            spellings.setdefault(target, []).append(alias)
        self._listed: dict[str, Listed] = {}
        for name in names.names():
            url = names.url(name)
            record = names.records.get(name) or (None if url is None else describe(url))
            self._listed[name] = Listed(zoo, name, url, names.layer(name), record, tuple(spellings.get(name, ())))
        self._index = WordIndex({name: _texts(listed) for name, listed in self._listed.items()})

    def listed(self, name: str) -> Listed:
        return self._listed[name]

    def find(self, query: Query, rank: int) -> Iterator[Ranked]:
        """What matches; ``rank`` orders the zoos among equals."""
        filtered = query.task is not None or query.dataset is not None
        for name, score in self._index.search(words_of(query.words)).items():
            listed = self._listed[name]
            if not filtered or (_within(query.task, _tasks(listed)) and _within(query.dataset, _datasets(listed))):
                yield (-round(score, 3), rank, name), listed


def page_of(
    found: Iterable[Ranked], query: Query, limit: int, cursor: Optional[str], keep: Optional[Keep] = None
) -> Page:
    """One page of what was found; ``keep`` tells by its URL whether a name counts.

    Raises:
        BadRequest: the cursor is none, or belongs to another query.
    """
    after = None if cursor is None else _opened(cursor, query)
    ranked = [one for one in found if keep is None or keep(one[1].url)]
    rest = ranked if after is None else [one for one in ranked if one[0] > after]
    page = heapq.nsmallest(limit, rest)
    following = _sealed(page[-1][0], query) if len(rest) > limit else None
    return Page(tuple(listed for _, listed in page), following, len(ranked))


def _texts(listed: Listed) -> Texts:
    record = listed.record or Record(None)
    family = (record.collection or "", *record.architecture)
    return (
        (NAME, (listed.name,)),
        (SYNONYM, listed.synonyms),
        (FAMILY, family),
        (SUBJECT, (*record.tasks, *record.datasets)),
        (PAPER, (record.paper_title or "",)),
    )


def _tasks(listed: Listed) -> tuple[str, ...]:
    return listed.record.tasks if listed.record else ()


def _datasets(listed: Listed) -> tuple[str, ...]:
    return listed.record.datasets if listed.record else ()


def _within(wanted: Optional[str], names: Iterable[str]) -> bool:
    return wanted is None or any(wanted.lower() in name.lower() for name in names)


def _sealed(key: Key, query: Query) -> str:
    return base64.urlsafe_b64encode(json.dumps([*key, _fingerprint(query)]).encode()).decode().rstrip("=")


def _opened(cursor: str, query: Query) -> Key:
    try:
        text = base64.urlsafe_b64decode(cursor.encode("ascii") + b"=" * (-len(cursor) % 4))
        score, rank, name, fingerprint = json.loads(text)
        key = (float(score), int(rank), str(name))
    except (ValueError, TypeError, RecursionError, binascii.Error) as error:
        raise BadRequest("the cursor is none that a page gave; begin without one") from error
    if fingerprint != _fingerprint(query):
        raise BadRequest("the cursor belongs to another query; begin without one")
    return key


def _fingerprint(query: Query) -> str:
    return hashlib.sha256(json.dumps(astuple(query)).encode()).hexdigest()[:12]
