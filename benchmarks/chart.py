"""Figures as a small chart (SVG): for each, how far it lies on the right side of what it should reach, or on the wrong.

The scale is the ratio to the aim, in powers of two; the line in the middle is the aim itself.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from xml.sax.saxutils import escape

from benchmarks.figures import Figure

_AIM = re.compile(r"(<=|>=) ([\d.]+)")
_ROW, _LABELS, _HALF = 18, 430, 130  # pixels: a row's height, the width of the names, of half the scale
_OCTAVES = 3  # what half the scale shows; beyond it a bar is cut


def chart(figures: Sequence[Figure]) -> str:
    """Those figures that aim at a number, one row each, in their order."""
    rows = [(figure, margin) for figure in figures if (margin := margin_of(figure)) is not None]
    height, middle = _ROW * len(rows) + 24, _LABELS + _HALF
    size = f'width="{middle + _HALF + 60}" height="{height}"'
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" {size} font-family="sans-serif" font-size="11">',
        '<rect width="100%" height="100%" fill="#fff"/>',
        *(_bar(at * _ROW + 4, figure, margin) for at, (figure, margin) in enumerate(rows)),
        f'<line x1="{middle}" x2="{middle}" y1="0" y2="{height - 20}" stroke="#333"/>',
        f'<text x="{middle}" y="{height - 6}" text-anchor="middle">the aim; to the right is better</text>',
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def margin_of(figure: Figure) -> float | None:
    """1 where the aim is just met, 2 where it is met twice over; None where none is stated."""
    found = _AIM.match(figure.reach)
    if found is None or not figure.ratio > 0:
        return None
    aim = float(found.group(2))
    return figure.ratio / aim if found.group(1) == ">=" else aim / figure.ratio


def _bar(top: int, figure: Figure, margin: float) -> str:
    octaves = max(-_OCTAVES, min(_OCTAVES, math.log2(margin)))
    length, middle = abs(octaves) * _HALF / _OCTAVES, _LABELS + _HALF
    left = middle if octaves > 0 else middle - length
    colour = "#2a7" if margin >= 1 else "#c52"
    return (
        f'<text x="{_LABELS - 6}" y="{top + 10}" text-anchor="end">{escape(figure.name)}</text>'
        f'<rect x="{left:.1f}" y="{top}" width="{length:.1f}" height="12" fill="{colour}"/>'
        f'<text x="{middle + _HALF + 6}" y="{top + 10}">{figure.ratio:.2f}</text>'
    )
