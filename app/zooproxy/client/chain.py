"""The proxies of ``ZOOPROXY``, asked one after the other until one has done the work."""

from __future__ import annotations

from typing import Callable, Optional, TypeVar

from zooproxy.client.settings import DIRECT, OFF, ClientSettings
from zooproxy.client.transport import PASSING, Connection
from zooproxy.errors import ClientError, ProxyNotConfigured, ProxyRefused, ProxyUnreachable, TransferCorrupt

Answer = TypeVar("Answer")


def first_to_answer(settings: ClientSettings, work: Callable[[Connection], Answer]) -> Answer:
    """``work`` done with the first proxy that can.

    The next proxy is asked when one is unreachable, answers 502, 503 or 504, or sends wrong bytes twice. Any other
    verdict is final: each proxy would say the same.

    Raises:
        ProxyRefused: the verdict; where no proxy could serve, what the last one that answered said.
        TransferCorrupt: wrong bytes from every proxy that sent any.
        ProxyUnreachable: no proxy answered; the message lists what was tried.
        ProxyNotConfigured: the list begins with ``direct`` or ``off``.
    """
    failures: list[ClientError] = []
    for base in settings.proxies:
        if base in (DIRECT, OFF):
            raise _ended(base, failures)
        with Connection(base, settings.token, settings.timeouts) as connection:
            try:
                return _persistently(work, connection)
            except ProxyRefused as error:
                if error.status not in PASSING:
                    raise
                failures.append(error)
            except (ProxyUnreachable, TransferCorrupt) as error:
                failures.append(error)
    raise _outcome(failures)


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


def _ended(word: str, failures: list[ClientError]) -> ClientError:
    if word == OFF:
        ending = "'off' in ZOOPROXY ends the list there: nothing is downloaded without a proxy"
    else:
        ending = "'direct' in ZOOPROXY is not supported by this version: name a proxy's URL"
    if not failures:
        return ProxyNotConfigured(ending)
    return _outcome(failures, f"; {ending}")
