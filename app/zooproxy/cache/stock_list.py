"""What is held, blob by blob and in all: for people, and for whoever has to choose what leaves."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice
from typing import Any, Final

from sqlalchemy import ColumnElement, Row, Select, case, exists, false, func, literal, not_, or_, select, tuple_

from zooproxy.cache.cache_pins import is_pinned
from zooproxy.cache.database import Database
from zooproxy.cache.shelf import DERIVED
from zooproxy.cache.tables import blobs, moment, sources, uses
from zooproxy.digest import Sha256


@dataclass(frozen=True, slots=True)
class Stocked:
    """One blob. ``urls`` are its sources; ``last_used_at`` is None if it was not used since it came. Times in UTC.

    ``derived``: it can be made again from another blob, or nothing leads to it.
    """

    sha256: Sha256
    size: int
    urls: tuple[str, ...]
    created_at: datetime
    last_used_at: datetime | None
    uses: int
    pinned: bool
    derived: bool


@dataclass(frozen=True, slots=True)
class Totals:
    """Numbers of blobs, and bytes; a blob may be counted as pinned or as derived besides."""

    blobs: int
    bytes: int
    pinned_blobs: int
    pinned_bytes: int
    derived_blobs: int
    derived_bytes: int

    @property
    def evictable(self) -> int:
        """Bytes."""
        return self.bytes - self.pinned_bytes


#: Where a page begins: what the last row of the one before had to be ordered by.
Mark = tuple[int, float, str]


@dataclass(frozen=True, slots=True)
class Page:
    """``next`` is where the following one begins, None on the last."""

    blobs: tuple[Stocked, ...]
    next: Mark | None


_PARAMETERS: Final = 500  # of one statement
_NOT_DERIVED: Final = not_(sources.c.url.startswith(DERIVED))


def _is_original() -> ColumnElement[bool]:
    """Of a row of ``blobs``: it came from outside."""
    return exists(select(sources.c.url).where(sources.c.sha256 == blobs.c.sha256, _NOT_DERIVED).correlate(blobs))


class StockList:
    """In the order in which blobs leave: derived ones first, then by priority (``cache.eviction_order``)."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def totals(self) -> Totals:
        counted = select(
            blobs.c.size,
            case((is_pinned(), 1), else_=0).label("pinned"),
            case((_is_original(), 0), else_=1).label("derived"),
        ).subquery()
        columns: list[ColumnElement[Any]] = []
        for which in (literal(1), counted.c.pinned, counted.c.derived):
            columns += [func.coalesce(func.sum(which), 0), func.coalesce(func.sum(which * counted.c.size), 0)]
        async with self._database.read() as connection:
            return Totals(*(await connection.execute(select(*columns).select_from(counted))).one())

    async def bytes(self) -> int:
        """Of all blobs together: of ``totals``, what is asked for most."""
        async with self._database.read() as connection:
            return int((await connection.execute(select(func.coalesce(func.sum(blobs.c.size), 0)))).scalar_one())

    async def evictable(self, besides: Collection[Sha256] = ()) -> int:
        """Bytes of all blobs that are neither pinned nor among ``besides``."""
        left = (await self.totals()).evictable
        query = select(blobs.c.size).where(not_(is_pinned()))
        remaining = iter(besides)
        async with self._database.read() as connection:
            while some := list(islice(remaining, _PARAMETERS)):
                left -= sum((await connection.execute(query.where(blobs.c.sha256.in_(some)))).scalars())
        return left

    async def first_out(self, besides: Collection[Sha256], limit: int) -> Sequence[tuple[Sha256, int]]:
        """Digests and sizes of the next to leave, none of them pinned or among ``besides``."""
        query = _ordered(select(blobs.c.sha256, blobs.c.size)).where(not_(is_pinned())).limit(limit + len(besides))
        async with self._database.read() as connection:
            rows = (await connection.execute(query)).all()
        return [(Sha256(sha256), size) for sha256, size in rows if sha256 not in besides][:limit]

    async def derived_from(self, digests: Collection[Sha256]) -> tuple[Sha256, ...]:
        """Blobs that were made from one of ``digests`` and for nothing else."""
        made = or_(false(), *(sources.c.url.startswith(f"{DERIVED}{digest}/") for digest in digests))
        query = select(sources.c.sha256).join(blobs, blobs.c.sha256 == sources.c.sha256)
        async with self._database.read() as connection:
            found = await connection.execute(query.where(made, not_(_is_original())).distinct())
            return tuple(Sha256(digest) for digest in found.scalars())

    async def page(self, find: str, limit: int, after: Mark | None = None) -> Page:
        """The blobs with ``find`` in a source's URL or at the beginning of their digest; all if it is empty."""
        query = _ordered(
            select(
                blobs,
                uses.c.last_at,
                func.coalesce(uses.c.count, 0).label("times"),
                is_pinned().label("pinned"),
                *_order(),
            )
        )
        if find:
            named = select(sources.c.url).where(sources.c.sha256 == blobs.c.sha256)
            named = named.where(sources.c.url.contains(find, autoescape=True)).correlate(blobs)
            query = query.where(or_(exists(named), blobs.c.sha256.startswith(find.lower(), autoescape=True)))
        if after is not None:
            query = query.where(tuple_(*_order()) > tuple_(*map(literal, after)))
        async with self._database.read() as connection:
            rows = (await connection.execute(query.limit(limit + 1))).all()
            shown = rows[:limit]
            found = select(sources.c.sha256, sources.c.url).where(sources.c.sha256.in_([row.sha256 for row in shown]))
            urls = defaultdict(list)
            for sha256, url in await connection.execute(found.order_by(sources.c.url)):
                urls[sha256].append(url)
        stocked = tuple(_stocked(row, urls[row.sha256]) for row in shown)
        more = len(rows) > limit and shown
        return Page(stocked, (shown[-1].original, shown[-1].rank, shown[-1].sha256) if more else None)


def _order() -> tuple[ColumnElement[Any], ...]:
    original = case((_is_original(), 1), else_=0).label("original")
    return original, func.coalesce(uses.c.priority, 0.0).label("rank"), blobs.c.sha256


def _ordered(query: Select[Any]) -> Select[Any]:
    return query.select_from(blobs.outerjoin(uses, uses.c.sha256 == blobs.c.sha256)).order_by(*_order())


def _stocked(row: Row[Any], urls: Sequence[str]) -> Stocked:
    return Stocked(
        Sha256(row.sha256),
        row.size,
        tuple(urls),
        moment(row.created_at),
        None if row.last_at is None else moment(row.last_at),
        row.times,
        bool(row.pinned),
        not row.original,
    )
