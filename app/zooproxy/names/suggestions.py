"""The nearest names to one that no zoo has: typing errors, other case, other punctuation, another zoo."""

from __future__ import annotations

import difflib
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Final

LIMIT: Final = 5
_WORST = 0.45  # shared pairs of characters, below which a name is another name
_CUT = 80  # characters looked at; the longest shipped name has half of that
_SHORTLIST = 20
_TELLING = 4  # characters from which on the start of a name is a guess at the rest
_IGNORED = re.compile(r"_weights|[\W_]+")


def fold(name: str) -> str:
    """What is left of a name when case, punctuation and torchvision's ``_Weights`` do not matter."""
    return _IGNORED.sub("", name[:_CUT].lower())


class Suggester:
    """Ranks references by how near their names are to an unknown one. Built once, on the first unknown name.

    Args:
        names: for each zoo, the names that may be suggested.
    """

    def __init__(self, names: Mapping[str, Iterable[str]]) -> None:
        self._folded = {zoo: {name: fold(name) for name in known} for zoo, known in names.items()}
        self._pairs = {
            zoo: {name: _pairs(folded) for name, folded in known.items()} for zoo, known in self._folded.items()
        }

    def nearest(self, zoo: str, name: str) -> tuple[str, ...]:
        """Up to five references, nearest first.

        The same name in other punctuation or another zoo, then names that go on where this one ends, then similar ones.
        """
        wanted = fold(name)
        same = [f"{zoo}://{known}" for known, folded in self._folded.get(zoo, {}).items() if folded == wanted]
        for other, known_there in self._folded.items():
            if other != zoo:
                same += [f"{other}://{known}" for known, folded in known_there.items() if folded == wanted]
        longer = self.continuing(zoo, name) if len(wanted) >= _TELLING else ()
        similar = [f"{zoo}://{known}" for known in self._similar(zoo, wanted)]
        return tuple(dict.fromkeys([*same, *longer, *similar]))[:LIMIT]

    def continuing(self, zoo: str, name: str) -> tuple[str, ...]:
        """References in ``zoo`` whose names say more than ``name`` does, such as ``x.default`` for ``x``."""
        wanted = fold(name)
        known = self._folded.get(zoo, {}).items()
        return tuple(f"{zoo}://{name}" for name, folded in known if wanted and folded.startswith(wanted))[:LIMIT]

    def _similar(self, zoo: str, wanted: str) -> list[str]:
        pairs = _pairs(wanted)
        shares = {name: _share(pairs, known) for name, known in self._pairs.get(zoo, {}).items()}
        likely = sorted((name for name in shares if shares[name] >= _WORST), key=lambda name: -shares[name])
        folded = self._folded.get(zoo, {})
        matcher = difflib.SequenceMatcher(b=wanted, autojunk=False)
        ratios = {}
        for name in likely[:_SHORTLIST]:
            matcher.set_seq1(folded[name])
            ratios[name] = matcher.ratio()
        return sorted(ratios, key=lambda name: -ratios[name])


def _pairs(folded: str) -> Counter[str]:
    padded = f"^{folded}$"
    return Counter(padded[start : start + 2] for start in range(len(padded) - 1))


def _share(one: Counter[str], other: Counter[str]) -> float:
    """Dice's coefficient of two bags of character pairs, 0 to 1."""
    total = sum(one.values()) + sum(other.values())
    if len(other) < len(one):
        one, other = other, one
    return 2 * sum(min(count, other[pair]) for pair, count in one.items() if pair in other) / total
