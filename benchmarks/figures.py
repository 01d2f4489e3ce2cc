"""One figure: two numbers taken side by side in one run, and what their ratio should reach."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Figure:
    """``ours`` against ``theirs``, both in ``unit``; ``reach`` says in words what is aimed at."""

    name: str
    ours: float
    theirs: float
    unit: str
    reach: str

    @property
    def ratio(self) -> float:
        return self.ours / self.theirs if self.theirs else float("nan")
