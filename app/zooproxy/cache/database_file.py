"""The index's file as processes share it: who has it open, and how one that is damaged is put aside.

Everybody who has the database open holds a shared lock on a file beside it. Who finds the database damaged takes the
lock for itself, which it gets when nobody else has the damaged file open, looks again, and moves it out of the way.
"""

from __future__ import annotations

import asyncio
import fcntl
import logging
import os
import time
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from zooproxy.cache.disk import Disk
from zooproxy.errors import CacheError, SettingsError

_PARTS: Final = ("", "-wal", "-shm")
_POLL_SECONDS: Final = 0.02

_log = logging.getLogger(__name__)


class DatabaseFile:
    """``path`` is the database's; the directory it lies in is made if need be. Locks end with the context."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.is_alone = False
        self._descriptor = -1

    def __enter__(self) -> Self:
        """
        Raises:
            SettingsError: the directory cannot be made.
            CacheError: it cannot be written.
        """
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SettingsError("the directory of DATABASE_URL cannot be made; check its permissions") from error
        try:
            self._descriptor = os.open(f"{self.path}.lock", os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise CacheError(
                f"the directory of the database cannot be written ({os.strerror(error.errno or 0)}); zooproxy has to be"
                " able to write its data directory"
            ) from error
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        os.close(self._descriptor)

    async def share(self, patience: float) -> None:
        """From now on the file is not moved by anybody else.

        Raises:
            CacheError: another process has been at it for ``patience`` seconds.
        """
        deadline = time.monotonic() + patience
        while not self._lock(fcntl.LOCK_SH):
            if time.monotonic() > deadline:
                raise CacheError("another process is repairing the database; try again")
            await asyncio.sleep(_POLL_SECONDS)
        self.is_alone = False

    def be_alone(self) -> bool:
        """Whether nobody else has the file open; if so, nobody opens it until ``share``. If not, no lock is held."""
        self.is_alone = self._lock(fcntl.LOCK_EX)
        return self.is_alone

    def put_aside(self, how: str) -> None:
        """Moves the file, and what belongs to it, to a name that says what it is; only for one who is alone.

        Raises:
            CacheError: it cannot be moved.
        """
        aside = self._free_name()
        try:
            for part in _PARTS:
                if (there := Path(f"{self.path}{part}")).exists():
                    there.rename(f"{aside}{part}")
            Disk().fsync_directory(self.path.parent)
        except OSError as error:
            raise CacheError(f"the damaged database {self.path.name} cannot be moved out of the way") from error
        _log.error(
            "the database is damaged (%s): it is kept as %s, and the index is written anew from the blobs and their"
            " sidecars; names put over the API, pins of the cache and tokens are in that file alone",
            how,
            aside,
        )

    def _lock(self, kind: int) -> bool:
        try:
            fcntl.flock(self._descriptor, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _free_name(self) -> Path:
        stem = f"{self.path}.damaged-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
        number = 0
        while (name := Path(f"{stem}-{number}" if number else stem)).exists():
            number += 1
        return name
