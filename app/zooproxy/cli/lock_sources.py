"""What references are, full digests included: as a proxy has proven them, or fetched here where there is none."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Protocol, Union
from urllib.parse import urlencode

from zooproxy.cli.warm import Service, follow
from zooproxy.client.settings import DIRECT, ClientSettings
from zooproxy.digest import Sha256
from zooproxy.errors import (
    BadReference,
    FetchError,
    FormatError,
    NotInCatalog,
    ProofError,
    ProxyRefused,
    SourceError,
    ZooproxyError,
)
from zooproxy.names.catalog import Catalog
from zooproxy.names.lock import Locked
from zooproxy.names.reference import parse
from zooproxy.wire import routes
from zooproxy.wire.answers import HELD
from zooproxy.wire.fills import REFUSED

_AT_ONCE: Final = 500  # references in one call; a proxy takes 1000


@dataclasses.dataclass(frozen=True)
class Known:
    """What is known of a reference without fetching it: its source, and the digest if somebody has vouched for it."""

    url: str
    sha256: Union[Sha256, None] = None


class LockSource(Protocol):
    """A refusal of one reference is answered; what makes all of it impossible is raised."""

    def look(self, ref: str) -> Union[Known, ZooproxyError]: ...

    def obtain(self, refs: Sequence[str]) -> Mapping[str, Union[Locked, ZooproxyError]]: ...


def lock_source() -> LockSource:
    """The first proxy of ``ZOOPROXY``; where that says ``direct``, this machine. ``ZOOPROXY_LOCK`` does not matter.

    Raises:
        ProxyNotConfigured, SettingsError: it is missing, malformed, or ``off``.
    """
    settings = dataclasses.replace(ClientSettings.from_environ(os.environ), lock=None)
    return Fetched(settings) if settings.proxies[0] == DIRECT else Proxied(Service(settings))


class Proxied:
    """By a proxy's word: it proves what it holds, and brings in what it does not hold."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def look(self, ref: str) -> Union[Known, ZooproxyError]:
        try:
            answer = self._resolved(ref)
        except ProxyRefused as error:
            return _own(error)
        return Known(answer["url"], Sha256(answer["sha256"]) if answer["sha256"] else None)

    def obtain(self, refs: Sequence[str]) -> Mapping[str, Union[Locked, ZooproxyError]]:
        found: dict[str, Union[Locked, ZooproxyError]] = {ref: self._held(ref) for ref in refs}
        absent = [ref for ref in refs if isinstance(found[ref], _NotHeld)]  # only this needs a token for fills
        return {**found, **{ref: filled for some in _in_turn(absent) for ref, filled in self._filled(some)}}

    def _filled(self, refs: Sequence[str]) -> Iterator[tuple[str, Union[Locked, ZooproxyError]]]:
        started = self._service.call("POST", routes.FILLS, {"refs": list(refs)})
        running = {entry["fill"]["id"]: entry["ref"] for entry in started if entry["fill"] is not None}
        failed = follow(self._service, running) if running else {}
        for entry in started:
            if entry["state"] == REFUSED:
                yield entry["ref"], ZooproxyError(entry["error"]["detail"])
            elif entry["fill"] is not None and entry["fill"]["id"] in failed:
                yield entry["ref"], ZooproxyError(failed[entry["fill"]["id"]]["error"]["detail"])
            else:
                yield entry["ref"], self._held(entry["ref"])

    def _held(self, ref: str) -> Union[Locked, ZooproxyError]:
        try:
            answer = self._resolved(ref)
        except ProxyRefused as error:
            return _own(error)
        if answer["state"] != HELD:
            return _NotHeld("the proxy brought it in and does not hold it any more; try again")
        return Locked(ref, answer["url"], Sha256(answer["sha256"]), answer["size"])

    def _resolved(self, ref: str) -> Mapping[str, Any]:
        answer: Mapping[str, Any] = self._service.call("GET", f"{routes.RESOLVE}?{urlencode({'ref': ref})}")
        return answer


class _NotHeld(ZooproxyError):
    """What a proxy says of a reference that it knows."""


class Fetched:
    """By what publishers deliver to this machine, with the checks of ``direct``."""

    def __init__(self, settings: ClientSettings) -> None:
        self._settings = settings

    def look(self, ref: str) -> Union[Known, ZooproxyError]:
        try:
            return Known(Catalog.shipped().resolve(parse(ref)).source.url)
        except (BadReference, NotInCatalog) as error:
            return error

    def obtain(self, refs: Sequence[str]) -> Mapping[str, Union[Locked, ZooproxyError]]:
        return {ref: self._proven(ref) for ref in refs}

    def _proven(self, ref: str) -> Union[Locked, ZooproxyError]:
        from zooproxy.client.direct import proven

        try:
            found = proven(ref, self._settings)
        except (BadReference, NotInCatalog, SourceError, FetchError, ProofError, FormatError) as error:
            return error
        return Locked(ref, found.url, found.sha256, found.size)


def _own(error: ProxyRefused) -> ProxyRefused:
    """
    Raises:
        ProxyRefused: it is not about this reference.
    """
    if error.status not in (400, 404):
        raise error
    return error


def _in_turn(refs: Sequence[str]) -> Iterator[Sequence[str]]:
    yield from (refs[start : start + _AT_ONCE] for start in range(0, len(refs), _AT_ONCE))
