"""The proxies of ``ZOOPROXY``, asked one after the other until one has done the work."""

from __future__ import annotations

import dataclasses
import logging
from types import TracebackType
from typing import Callable, Optional, TypeVar

from zooproxy.client.settings import DIRECT, OFF, ClientSettings
from zooproxy.client.transport import PASSING, Connection
from zooproxy.errors import ClientError, ProxyNotConfigured, ProxyRefused, ProxyUnreachable, TransferCorrupt

Answer = TypeVar("Answer")


class DirectReached(Exception):
    """No proxy of the list could serve, and ``direct`` stands next in it."""


class Route:
    """One connection to the first proxy of the list that serves, and the way on to the next ones.

    The next proxy is asked when one is unreachable, answers 502, 503 or 504, or sends wrong bytes twice; the log tells
    why. Any other verdict is final: each proxy would say the same.
    """

    def __init__(self, settings: ClientSettings) -> None:
        self._settings = settings
        self._position = 0
        self._connection: Optional[Connection] = None
        self._failures: list[ClientError] = []

    def __enter__(self) -> Route:
        return self

    def __exit__(
        self, kind: Optional[type[BaseException]], error: Optional[BaseException], trace: Optional[TracebackType]
    ) -> None:
        self._close()

    @property
    def settings(self) -> ClientSettings:
        """Those of this route, beginning with the proxy that serves."""
        return dataclasses.replace(self._settings, proxies=self._settings.proxies[self._position :])

    def pass_over(self, error: ClientError) -> None:
        """Goes on to the next proxy, because of ``error``."""
        self._failures.append(error)
        self._close()
        self._position += 1
        if self._position < len(self._settings.proxies):
            told = self._settings.proxies[self._position]
            logging.getLogger("zooproxy").warning("%s; trying %s", error, told)

    def do(self, work: Callable[[Connection], Answer]) -> Answer:
        """``work`` done with the first proxy that can; later calls begin with that one.

        Raises:
            ProxyRefused: the verdict; where no proxy could serve, what the last one that answered said.
            TransferCorrupt: wrong bytes from every proxy that sent any.
            ProxyUnreachable: no proxy answered; the message lists what was tried.
            ProxyNotConfigured: the list begins with ``off``.
            DirectReached: ``direct`` is next.
        """
        while True:
            connection = self._connected()
            try:
                return _persistently(work, connection)
            except ProxyRefused as error:
                if error.status not in PASSING:
                    raise
                self.pass_over(error)
            except (ProxyUnreachable, TransferCorrupt) as error:
                self.pass_over(error)

    def _connected(self) -> Connection:
        if self._position == len(self._settings.proxies):
            raise _outcome(self._failures)
        base = self._settings.proxies[self._position]
        if base == DIRECT:
            raise DirectReached
        if base == OFF:
            raise _ended(self._failures)
        if self._connection is None:
            self._connection = Connection(base, self._settings)
        return self._connection

    def _close(self) -> None:
        if self._connection is not None:
            self._connection.close()
            self._connection = None


def _persistently(work: Callable[[Connection], Answer], connection: Connection) -> Answer:
    try:
        return work(connection)
    except TransferCorrupt:  # on the way, as a rule: once more is worth it, for ever is not
        return work(connection)


def _outcome(failures: list[ClientError], ending: str = "") -> ClientError:
    """The failure that says most: an answer outweighs wrong bytes, and those outweigh silence."""
    for kind in (ProxyRefused, TransferCorrupt):
        said: Optional[ClientError] = next((error for error in reversed(failures) if isinstance(error, kind)), None)
        if said is not None:
            return said
    tried = "; ".join(str(error) for error in failures)
    return ProxyUnreachable(f"no proxy of ZOOPROXY could be reached. Tried: {tried}{ending}")


def _ended(failures: list[ClientError]) -> ClientError:
    ending = "'off' in ZOOPROXY ends the list there: nothing is downloaded without a proxy"
    return _outcome(failures, f"; {ending}") if failures else ProxyNotConfigured(ending)
