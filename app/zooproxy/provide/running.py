"""One fill of this process, as its supervisor keeps it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from datetime import UTC, datetime

from zooproxy.cache.index import HeldSource
from zooproxy.digest import Sha256
from zooproxy.fetch.proof import Wanted
from zooproxy.fetch.slots import Turn
from zooproxy.provide.growing import Growing
from zooproxy.wire.fills import QUEUED


@dataclass(eq=False, slots=True)
class Running:
    """What is wanted, how far it is, who asked for it; ``stop`` is set to cancel it, ``task`` is its supervisor.

    ``anew``: what is held is no answer; the source may have changed.
    """

    wanted: Wanted
    growing: Growing
    turn: Turn
    anew: bool = False
    refs: set[str] = field(default_factory=set)
    begun_at: datetime = field(default_factory=lambda: datetime.now(UTC))
    state: str = QUEUED
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    error: Exception | None = None
    sha256: Sha256 | None = None
    task: asyncio.Task[HeldSource] = field(init=False)
