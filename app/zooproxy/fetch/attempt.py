"""One try at one candidate: over one connection, or over several where the first answer shows that parts can be had.

::

    ask for the first part ── 200, or all there is ──> one stream to its end
        │
       206: a part of a declared length, with a strong validator (or there is a promised digest)
        ├─ each connection: the next part in order ── 206, just that part of that version ──> written where it belongs
        └─ one connection at first; all the others join it as soon as a moment has brought less than a part; as long as
           it is fast, it takes larger parts

What is there grows from its start without a gap, whatever the order in which parts come; only that counts as progress,
is shown to followers, hashed, and gone on with. A part that fails is asked for once more, from where it stopped; if it
fails again, so does the try, and what lies beyond the gap is dropped.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, aclosing, suppress
from dataclasses import dataclass, field, replace
from typing import BinaryIO, NoReturn, Protocol

from zooproxy.digest import Sha256
from zooproxy.errors import FetchError, RangeNotBelieved, UpstreamTooLarge
from zooproxy.fetch.pace import BUFFER, Bandwidth, MinimumRate, Pace, read_ahead
from zooproxy.fetch.retries import Retries
from zooproxy.fetch.slots import Interest, Slots, Turn
from zooproxy.fetch.upstream import Allows, Body, Continuation, Upstream, Version


class Destination(Protocol):
    """Where a fill's bytes go: it hashes them while it is written, and outlives any one attempt."""

    @property
    def size(self) -> int:
        """Bytes that are there, from position 0 on without a gap."""
        ...

    @property
    def version(self) -> Version | None:
        """Whose bytes they are; None where there are none."""
        ...

    def trying(self, url: str, attempt: int) -> None:
        """Told before each request, for those who watch; ``attempt`` counts from 1 for each candidate."""
        ...

    async def begin(self, version: Version) -> None:
        """Drops what is there; what is written next are the bytes of ``version``, from position 0."""
        ...

    def go_on(self) -> None:
        """The upstream has confirmed what is there; what is written next are the bytes after it."""
        ...

    async def scatter(self) -> None:
        """From now on, bytes may be written beyond a gap; ``version`` has a length."""
        ...

    async def write(self, data: bytes, at: int) -> None: ...

    async def trim(self) -> None:
        """Drops what lies beyond a gap; returns when all that was written before has its place."""
        ...

    async def reset(self) -> None:
        """Drops what is there: it was not believed."""
        ...

    async def digest(self) -> Sha256: ...

    def file(self) -> BinaryIO: ...


@dataclass(frozen=True, slots=True)
class Segments:
    """How many ``connections`` take one file at once, in parts of ``size`` bytes; a file no larger is one part.

    They join where one alone brings less than ``size`` bytes in ``moment`` seconds (0: at once): what is faster than
    that is not held up by its connection, and more of them would only take turns at the same disk and the same cores.

    No part begins further than ``ahead`` bytes beyond what is there without a gap: a kill loses no more than that, and
    what is read back to be hashed is still in memory.
    """

    connections: int = 1
    size: int = 16 << 20
    moment: float = 0.1

    @property
    def large(self) -> int:
        """The size of the parts of a connection that is alone since it is fast: each costs it a request."""
        return 16 * self.size

    @property
    def ahead(self) -> int:
        return 2 * self.connections * self.size


@dataclass(frozen=True, slots=True)
class Limits:
    """What a transfer must keep to; ``largest`` is the size of a file in bytes, 0 for any.

    ``connections`` are those of all transfers to each host. A request that is redirected counts for the host it was
    sent to first.
    """

    retries: Retries = field(default_factory=Retries)
    minimum_rate: MinimumRate = field(default_factory=MinimumRate)
    bandwidth: Bandwidth = field(default_factory=Bandwidth)
    largest: int = 0
    segments: Segments = field(default_factory=Segments)
    connections: Slots = field(default_factory=lambda: Slots(None, 8))


@dataclass(frozen=True, slots=True)
class Asked:
    """What is asked of whom, and for whom."""

    upstream: Upstream
    url: str
    host: str
    allows: Allows
    interest: Interest


class Attempt:
    """``promised``: a digest is known that will prove the whole, so that parts need no validator."""

    def __init__(self, asked: Asked, limits: Limits, into: Destination, *, promised: bool) -> None:
        self._asked = asked
        self._limits = limits
        self._into = into
        self._promised = promised
        self.is_parted = False
        """Whether its bytes come from several answers."""

    async def in_one(self, rest: Continuation | None) -> None:
        """Over one connection, from the start or from where ``rest`` begins.

        Raises:
            FetchError: what came before it is there.
        """
        async with self._connection(), self._get(rest) as body:
            await self._enter(body)
            await self._copy(body, BUFFER)

    async def in_parts(self, rest: Continuation | None) -> None:
        """As ``in_one``, over several connections where that can be done.

        Raises:
            FetchError: what came before it is there, up to the first gap.
        """
        if rest is not None and rest.length is not None and rest.length - rest.start <= self._segments.size:
            await self.in_one(rest)
            return
        try:
            async with asyncio.TaskGroup() as group:
                can_be_joined = await self._lead(group, rest or Continuation(0, None, None))
        except ExceptionGroup as failures:
            await self._trimmed(failures)
        if not can_be_joined:
            await self.in_one(rest)

    async def _trimmed(self, failures: ExceptionGroup[Exception]) -> NoReturn:
        ours = [error for error in failures.exceptions if not isinstance(error, FetchError)]
        if not ours:
            await self._into.trim()
        raise (ours or failures.exceptions)[0] from failures

    async def _lead(self, group: asyncio.TaskGroup, rest: Continuation) -> bool:
        """Takes the first part and then the next ones, alone for as long as that is fast enough."""
        parts, part = None, None
        try:
            async with self._connection(), self._get(replace(rest, stop=rest.start + self._segments.size)) as body:
                if _is_a_part(body):
                    if not (body.version.validator or self._promised):
                        return False
                    parts, part = await self._divided(body, rest), _Part(body.start, body.stop or 0)
                    if not body.is_filling:
                        group.create_task(self._join(group, parts))
                else:
                    await self._enter(body)
                await self._copy(body, BUFFER if part is None else self._buffer, part)
        except FetchError as error:
            if parts is None or part is None:
                raise
            await self._again(error, parts, part)
        if parts is not None:
            await self._work(parts)
        return True

    async def _join(self, group: asyncio.TaskGroup, parts: _Parts) -> None:
        """Starts the other connections when the first one is found to be slow."""
        there = -self._segments.size
        while self._segments.moment and there + self._segments.size <= self._into.size:
            there = self._into.size
            if await parts.all_taken(self._segments.moment):
                return
            parts.size = self._segments.large
        parts.size = self._segments.size
        await self._into.scatter()
        for _ in range(self._segments.connections - 1):
            group.create_task(self._work(parts))

    async def _divided(self, body: Body, rest: Continuation) -> _Parts:
        """The parts after the one that ``body`` carries."""
        version = body.version
        self._check_size(version.length or 0)
        self.is_parted = True
        await self._enter(body)
        after = Continuation(body.stop or 0, version.length, rest.validator or version.validator)
        return _Parts(after, self._segments, lambda: self._into.size)

    async def _work(self, parts: _Parts) -> None:
        while (part := await parts.next()) is not None:
            try:
                await self._take(parts, part)
            except FetchError as error:
                await self._again(error, parts, part)
            parts.tell()

    async def _again(self, error: FetchError, parts: _Parts, part: _Part) -> None:
        """The rest of a part that failed, once more."""
        delay = None if isinstance(error, RangeNotBelieved) else self._limits.retries.delay(error, 1, 1)
        if delay is None:
            raise error
        await asyncio.sleep(delay)
        await self._take(parts, part)

    async def _take(self, parts: _Parts, part: _Part) -> None:
        wanted = replace(parts.of, start=part.start, stop=part.stop)
        async with self._connection(), self._get(wanted) as body:
            if (body.start, body.stop) != (part.start, part.stop):
                message = "upstream answered a part of the file with something else; the file may have changed"
                raise RangeNotBelieved(message, url=self._asked.url)
            await self._copy(body, self._buffer, part, parts.tell)

    async def _enter(self, body: Body) -> None:
        self._check_size(body.version.length or 0)
        if body.start == 0:
            await self._into.begin(body.version)
        else:
            self._into.go_on()

    async def _copy(
        self, body: Body, buffer: int, part: _Part | None = None, tell: Callable[[], None] = lambda: None
    ) -> None:
        """Writes the blocks of ``body`` where they belong; ``part`` tells how far it has come."""
        at, limits = body.start, self._limits
        pace = Pace(limits.minimum_rate, limits.bandwidth, buffer)
        async with aclosing(read_ahead(body.blocks, self._asked.url, pace)) as blocks:
            async for block in blocks:
                if body.stop is not None and at + len(block) > body.stop:
                    raise RangeNotBelieved("upstream sent more than the range it announced", url=self._asked.url)
                await self._into.write(block, at)
                at += len(block)
                self._check_size(at)
                if part is not None:
                    part.start = at
                tell()

    def _check_size(self, size: int) -> None:
        largest = self._limits.largest
        if largest and size > largest:
            message = f"the file has {size} bytes or more; MAX_FILE_BYTES allows {largest}"
            raise UpstreamTooLarge(message, url=self._asked.url)

    @property
    def _segments(self) -> Segments:
        return self._limits.segments

    @property
    def _buffer(self) -> int:
        return BUFFER // self._segments.connections

    def _connection(self) -> AbstractAsyncContextManager[None]:
        return self._limits.connections.hold(Turn(self._asked.host, self._asked.interest))

    def _get(self, rest: Continuation | None) -> AbstractAsyncContextManager[Body]:
        return self._asked.upstream.get(self._asked.url, self._asked.allows, rest)


@dataclass(slots=True)
class _Part:
    """One part; ``start`` moves on with what has come of it."""

    start: int
    stop: int


class _Parts:
    """The parts of what ``of`` describes, of ``size`` bytes, in order; none far ahead of what ``there`` says."""

    def __init__(self, of: Continuation, segments: Segments, there: Callable[[], int]) -> None:
        self.of = of
        self.size = segments.size
        self._ahead = segments.ahead
        self._there = there
        self._start = of.start
        self._moved = asyncio.Event()
        self._taken = asyncio.Event()

    def tell(self) -> None:
        """There may be more there."""
        self._moved.set()

    async def next(self) -> _Part | None:
        """None where all have been handed out."""
        end = self.of.length or 0
        while self._start < end and self._start > self._there() + self._ahead:
            self._moved.clear()
            await self._moved.wait()
        if self._start >= end:
            return None
        part = _Part(self._start, min(self._start + self.size, end))
        self._start = part.stop
        if part.stop == end:
            self._taken.set()
        return part

    async def all_taken(self, patience: float) -> bool:
        """Whether the last part has been handed out, as soon as it has, or after ``patience`` seconds."""
        with suppress(TimeoutError):
            await asyncio.wait_for(self._taken.wait(), patience)
        return self._taken.is_set()


def _is_a_part(body: Body) -> bool:
    return body.stop is not None and body.stop != body.version.length
