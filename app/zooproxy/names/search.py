"""Finding names by words: a small index in memory over one zoo.

A word finds what holds it whole, at the beginning, or (from three characters on) anywhere in a piece of a name, a
synonym, an architecture, a task, a data set or a paper's title; every word of a query must be found.

Measured over the shipped catalog (3,380 names): 1 to 3 ms for words of three characters or more, 5 ms at worst.
SQLite's FTS5 takes 0.3 to 3 ms, does not find the inside of a word, and would be a second copy to keep in step.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Final

MAX_WORDS: Final = 8
_ANYWHERE: Final = 3  # characters from which on a word is looked for inside of others
_PIECE = re.compile(r"[^\W_]+")

# What a word is worth by where it stands, and by how much of what stands there it is.
NAME: Final = 5.0
SYNONYM: Final = 4.0
FAMILY: Final = 3.0
SUBJECT: Final = 2.0  # task, data set
PAPER: Final = 1.0
_WHOLE, _BEGINNING, _INSIDE = 1.0, 0.6, 0.3

#: What is indexed of one name: texts by what a word in them is worth.
Texts = Iterable[tuple[float, Iterable[str]]]


class WordIndex:
    """An index over names; built once, never changed."""

    def __init__(self, texts: Mapping[str, Texts]) -> None:
        self._lengths = {name: len(name) for name in texts}
        self._worths: dict[str, dict[str, float]] = {}
        for name, weighted in texts.items():
            for worth, several in weighted:
                for piece in {piece for text in several for piece in pieces(text)}:
                    known = self._worths.setdefault(piece, {})
                    known[name] = max(worth, known.get(name, 0.0))

    def search(self, words: Sequence[str]) -> dict[str, float]:
        """How well each name matches in which all ``words`` (as ``words_of`` gives them) are found; higher is better.

        Among names that match alike the one that says least besides is best. All names, with 0, if there are no words.
        """
        if not words:
            return dict.fromkeys(self._lengths, 0.0)
        scores: dict[str, float] = {}
        for word in sorted(words, key=len, reverse=True):  # what is said at length leaves little to look through
            best = self._matches(word)
            scores = {name: scores[name] + worth for name, worth in best.items() if name in scores} if scores else best
            if not scores:
                break
        asked = sum(map(len, words))
        lengths = self._lengths
        return {name: score + asked / (asked + lengths[name]) for name, score in scores.items()}

    def _matches(self, word: str) -> dict[str, float]:
        best: dict[str, float] = {}
        for piece, worths in self._worths.items():
            if word not in piece:
                continue
            if piece.startswith(word):
                share = _WHOLE if len(piece) == len(word) else _BEGINNING
            elif len(word) >= _ANYWHERE:
                share = _INSIDE
            else:
                continue
            for name, worth in worths.items():
                if best.get(name, 0.0) < worth * share:
                    best[name] = worth * share
        return best


def words_of(query: str) -> tuple[str, ...]:
    """The words of a query, folded; at most ``MAX_WORDS``, each once."""
    return tuple(dict.fromkeys(piece.lower() for piece in _PIECE.findall(query)))[:MAX_WORDS]


def pieces(text: str) -> list[str]:
    """The words of a text, and each of its parts between spaces without its punctuation (``R-CNN`` is ``rcnn`` too)."""
    found = []
    for part in text.lower().split():
        inner = _PIECE.findall(part)
        found += inner
        if len(inner) > 1:
            found.append("".join(inner))
    return found
