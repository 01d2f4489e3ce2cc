"""One connection to one proxy: JSON answers, and byte ranges of a blob straight into memory.

The standard library's ``http.client`` and nothing above it: its ``readinto`` receives without a copy.

A failure is one of three kinds, and the caller's next step follows from the kind: ``ProxyUnreachable`` (this proxy is
not serving: ask the next), ``ProxyRefused`` (a verdict) and ``TransferCorrupt`` (wrong bytes: ask again).
"""

from __future__ import annotations

import http.client
import json
import re
import socket
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, Optional, Protocol, cast
from urllib.parse import urlencode

from zooproxy.client.connecting import connection_to
from zooproxy.client.garbage import collected_later
from zooproxy.client.settings import ClientSettings
from zooproxy.client.splicing import FileFailed, can_splice, splice
from zooproxy.digest import Sha256
from zooproxy.errors import (
    NameRefused,
    NameWithoutWeights,
    NotInCatalog,
    ProxyRefused,
    ProxyUnreachable,
    TransferCorrupt,
)
from zooproxy.wire import routes
from zooproxy.wire.problems import slug_of

#: Statuses with which a proxy says that it cannot serve now, while another one might.
PASSING: Final = frozenset({502, 503, 504})

#: Problems of names that lead nowhere.
_NAMELESS = frozenset({NotInCatalog.slug, NameWithoutWeights.slug})

_PIECE: Final = 1 << 20
_MAX_JSON: Final = 256 << 20
_MAX_PROBLEM: Final = 1 << 16
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+|\*)\Z")
_LOST = (OSError, http.client.HTTPException)


@dataclass(frozen=True)
class JsonAnswer:
    """A decoded JSON body and the warnings of its header."""

    body: Any
    warnings: tuple[str, ...]


@dataclass(frozen=True)
class ByteRange:
    """Bytes ``start`` to ``stop`` (exclusive) of the blob ``sha256``, which is ``size`` bytes long."""

    sha256: Sha256
    size: int
    start: int
    stop: int


class Sink(Protocol):
    """Where the bytes of one range go."""

    def room(self, position: int, most: int) -> memoryview:
        """Memory for the next bytes, at most ``most`` of them; ``position`` counts from the range's first byte."""
        ...

    def took(self, position: int, data: memoryview) -> None:
        """These bytes have arrived, in the room that was given for ``position``."""
        ...

    def file(self) -> Optional[tuple[int, int]]:
        """The descriptor of a file and where the range goes in it, if the bytes may go there unseen."""
        ...

    def passed(self, count: int) -> None:
        """So many bytes have gone to the file."""
        ...


class NotYet(Exception):
    """The proxy would have to fetch what it was asked about."""


class Connection:
    """A connection to the proxy at ``base``, opened at the first request and kept for the next ones."""

    def __init__(self, base: str, settings: ClientSettings) -> None:
        self.base = base
        self._login = settings.login_of(base)
        self._timeouts = settings.timeouts
        self._http, self._prefix = connection_to(base, settings)

    def close(self) -> None:
        self._http.close()

    def get_json(self, path: str, query: Mapping[str, str], *, at_once: bool = False) -> JsonAnswer:
        """The JSON that ``path`` answers with.

        Raises:
            NotYet: it would take a download, and the answer was wanted ``at_once``.
            ProxyUnreachable, ProxyRefused, TransferCorrupt: see the module.
        """
        preference = {routes.PREFER: routes.AT_ONCE} if at_once else {}
        accepted = {"Accept": f"application/json, {routes.PROBLEM}"}
        response = self._get(f"{path}?{urlencode(query)}", {**accepted, **preference})
        if response.status == 202:
            self._end(response)
            raise NotYet
        body = self._body(response, _MAX_JSON)
        warnings = response.getheader(routes.WARNING_HEADER, "")
        return JsonAnswer(self._decoded(body), tuple(routes.parse_warnings(warnings)))

    def open(self, path: str, query: Mapping[str, str], headers: Mapping[str, str]) -> Body:
        """A body that is read piece by piece; ``headers`` may ask for a range that goes to the end.

        Raises:
            ProxyUnreachable, ProxyRefused, TransferCorrupt: see the module.
        """
        response = self._get(f"{path}?{urlencode(query)}", {"Accept": "*/*", **headers})
        match = _CONTENT_RANGE.match(response.getheader("Content-Range", ""))
        declared = response.getheader("Content-Length", "")
        start = int(match[1]) if response.status == 206 and match else 0
        size = start + int(declared) if declared.isdecimal() else None
        return Body(self, response, start, size)

    def put(self, path: str, query: Mapping[str, str], blocks: Iterable[bytes], size: int) -> Any:
        """The JSON that ``path`` answers with when it was sent ``size`` bytes; never sent twice.

        Raises:
            ProxyUnreachable, ProxyRefused, TransferCorrupt: see the module.
        """
        headers = {"Accept": "application/json", "Content-Type": routes.OCTETS, "Content-Length": str(size)}
        try:
            response = self._exchange(f"{path}?{urlencode(query)}", self._with_login(headers), "PUT", blocks)
        except _LOST as error:
            self._http.close()
            raise ProxyUnreachable(f"{self.base} broke off: {reason(error)}") from error
        if response.status != 200:
            raise self._refusal(response)
        return self._decoded(self._body(response, _MAX_JSON))

    def delete(self, path: str, query: Mapping[str, str]) -> None:
        """
        Raises:
            ProxyUnreachable, ProxyRefused: see the module.
        """
        try:
            response = self._exchange(f"{path}?{urlencode(query)}", self._with_login({}), "DELETE")
        except _LOST as error:
            self._http.close()
            raise ProxyUnreachable(f"{self.base}: {reason(error)}") from error
        if response.status != 204:
            raise self._refusal(response)
        self._end(response)

    def get_range(self, wanted: ByteRange, sink: Sink) -> None:
        """Fills ``sink`` with the bytes of ``wanted``, in order.

        A proxy that ignores the range and sends the whole blob (200) is understood.

        Raises:
            ProxyUnreachable, ProxyRefused, TransferCorrupt: see the module.
        """
        path = routes.BLOB.format(sha256=wanted.sha256)
        field = f"bytes={wanted.start}-{wanted.stop - 1}"
        response = self._get(path, {"Accept": routes.OCTETS, "Range": field})
        skip = self._checked_start(response, wanted)
        try:
            _discard(response, skip)
            self._take(response, wanted.stop - wanted.start, sink)
        except TransferCorrupt as error:
            self._http.close()
            raise TransferCorrupt(f"{self.base}: {error}") from error
        except BaseException:
            self._http.close()  # the rest of this body would be read as the next answer
            raise
        self._end(response)

    def _take(self, response: http.client.HTTPResponse, size: int, sink: Sink) -> None:
        place = sink.file()
        sock = self._http.sock
        if place is None or sock is None or not response.length or not can_splice(sock):
            _receive(response, size, sink)
            return
        ahead = min(_buffered(response), size)
        _receive(response, ahead, sink)
        try:
            came = splice(sock, size - ahead, (place[0], place[1] + ahead), sink.passed)
        except FileFailed as error:
            raise cast("OSError", error.__cause__) from None
        except OSError as error:
            raise TransferCorrupt(f"broke off in the middle of a blob: {reason(error)}") from error
        if ahead + came < size:
            raise TransferCorrupt(f"cut the body short: {ahead + came:,} of {size:,} bytes arrived")
        response.length -= came

    def _get(self, path: str, headers: dict[str, str]) -> http.client.HTTPResponse:
        headers = self._with_login({"Accept-Encoding": "identity", **headers})
        reused = self._http.sock is not None
        try:
            response = self._exchange(path, headers)
        except _LOST as error:
            self._http.close()
            if not (reused and isinstance(error, ConnectionError)):
                raise ProxyUnreachable(f"{self.base}: {reason(error)}") from error
            # The proxy may have closed an idle connection: that says nothing about whether it serves.
            return self._get(path, headers)
        self._refuse_errors(response)
        return response

    def _with_login(self, headers: Mapping[str, str]) -> dict[str, str]:
        return {**headers} if self._login is None else {**headers, "Authorization": self._login}

    def _exchange(
        self, path: str, headers: Mapping[str, str], method: str = "GET", blocks: Optional[Iterable[bytes]] = None
    ) -> http.client.HTTPResponse:
        if self._http.sock is None:
            self._http.connect()
            cast("socket.socket", self._http.sock).settimeout(self._timeouts.read)
        self._http.request(method, self._prefix + path, blocks, dict(headers))
        return self._http.getresponse()

    def _refuse_errors(self, response: http.client.HTTPResponse) -> None:
        if response.status in (200, 202, 206):
            if response.getheader("Content-Encoding", "identity").lower() != "identity":
                self._http.close()
                raise TransferCorrupt(f"{self.base} answered in a content encoding, although none was asked for")
            return
        raise self._refusal(response)

    def _refusal(self, response: http.client.HTTPResponse) -> ProxyRefused:
        try:
            problem = json.loads(response.read(_MAX_PROBLEM))
        except (ValueError, RecursionError, *_LOST):
            problem = None
        self._http.close()
        members = problem if isinstance(problem, dict) else {}
        slug = slug_of(members)
        detail = members.get("detail")
        message = detail if slug and isinstance(detail, str) else f"{self.base} answered with status {response.status}"
        standard = ("type", "title", "status", "detail", "instance")
        details = {name: value for name, value in members.items() if slug and name not in standard}
        kind = NameRefused if slug in _NAMELESS else ProxyRefused
        return kind(message, problem=slug, status=response.status, details=details)

    def _body(self, response: http.client.HTTPResponse, limit: int) -> bytes:
        body = bytearray()
        try:
            while len(body) <= limit:
                piece = response.read(_PIECE)
                if not piece:
                    break
                body += piece
        except _LOST as error:
            self._http.close()
            raise TransferCorrupt(f"{self.base} broke off in the middle of an answer: {reason(error)}") from error
        if len(body) > limit:
            self._http.close()
            raise TransferCorrupt(f"{self.base} sent an answer of more than {limit:,} bytes")
        # http.client says nothing about a short body that is read in pieces: what is left of the length tells.
        if response.length:
            self._http.close()
            raise TransferCorrupt(f"{self.base} cut an answer short: {response.length:,} bytes are missing")
        return bytes(body)

    @collected_later()
    def _decoded(self, body: bytes) -> Any:
        try:
            return json.loads(body)
        except (ValueError, RecursionError) as error:
            raise TransferCorrupt(f"{self.base} answered with something that is no JSON; is it a zooproxy?") from error

    def _checked_start(self, response: http.client.HTTPResponse, wanted: ByteRange) -> int:
        """How many bytes stand before the wanted ones in this body."""
        if response.status == 206:
            match = _CONTENT_RANGE.match(response.getheader("Content-Range", ""))
            sent = match and (int(match[1]), int(match[2]) + 1, match[3])
            if sent not in ((wanted.start, wanted.stop, str(wanted.size)), (wanted.start, wanted.stop, "*")):
                self._http.close()
                raise TransferCorrupt(f"{self.base} sent another range of the blob than it was asked for")
            return 0
        declared = response.getheader("Content-Length")
        if declared is not None and declared != str(wanted.size):
            self._http.close()
            raise TransferCorrupt(f"{self.base} sent a blob of another length than the tensor index says")
        return wanted.start

    def _end(self, response: http.client.HTTPResponse) -> None:
        # A body read to its declared end leaves the connection usable; anything else would be read as the next answer.
        if response.length != 0:
            self._http.close()
        else:
            response.close()


class Body:
    """A body that is arriving: its bytes are ``start`` to ``size`` of the whole; ``size`` is None until it is known."""

    def __init__(
        self, connection: Connection, response: http.client.HTTPResponse, start: int, size: Optional[int]
    ) -> None:
        self._connection = connection
        self._response = response
        self.start = start
        self.size = size

    def header(self, name: str) -> str:
        return self._response.getheader(name, "")

    @property
    def warnings(self) -> tuple[str, ...]:
        return tuple(routes.parse_warnings(self.header(routes.WARNING_HEADER)))

    def blocks(self, length: int) -> Iterator[bytes]:
        """
        Raises:
            TransferCorrupt: it broke off, or ended before its declared length.
        """
        base = self._connection.base
        try:
            block = self._response.read(length)
            while block:
                yield block
                block = self._response.read(length)
        except _LOST as error:
            self._connection.close()
            raise TransferCorrupt(f"{base} broke off in the middle of a body: {reason(error)}") from error
        if self._response.length:
            self._connection.close()
            raise TransferCorrupt(f"{base} cut a body short: {self._response.length:,} bytes are missing")


def _discard(response: http.client.HTTPResponse, count: int) -> None:
    scratch = memoryview(bytearray(min(count, _PIECE)))
    while count:
        received = _read_into(response, scratch[: min(count, _PIECE)])
        if not received:
            raise TransferCorrupt("sent a blob that ends before the range asked for")
        count -= received


def _receive(response: http.client.HTTPResponse, size: int, sink: Sink) -> None:
    position = 0
    while position < size:
        room = sink.room(position, size - position)
        received = _read_into(response, room)
        if not received:
            raise TransferCorrupt(f"cut the body short: {position:,} of {size:,} bytes arrived")
        sink.took(position, room[:received])
        position += received


def _buffered(response: http.client.HTTPResponse) -> int:
    """How many bytes of the body came with its head; the rest is still in the socket."""
    try:
        return len(response.fp.peek())
    except _LOST as error:
        raise TransferCorrupt(f"broke off in the middle of a blob: {reason(error)}") from error


def _read_into(response: http.client.HTTPResponse, room: memoryview) -> int:
    """Only what the connection does is translated here: where the bytes go may fail, too, and is no proxy's fault."""
    try:
        return response.readinto(room)
    except _LOST as error:
        raise TransferCorrupt(f"broke off in the middle of a blob: {reason(error)}") from error


def reason(error: BaseException) -> str:
    """Why a connection failed, in words fit for a message."""
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    return str(error) or type(error).__name__
