"""``zooproxy warm``: brings references into the cache, and shows how far they are."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Protocol
from urllib.error import HTTPError, URLError

from zooproxy.cli.config_references import references_in
from zooproxy.client.settings import DIRECT, OFF, ClientSettings
from zooproxy.errors import ProxyNotConfigured, ProxyRefused, ProxyUnreachable, SettingsError
from zooproxy.wire import routes
from zooproxy.wire.fills import DONE, FAILED, HELD, REFUSED
from zooproxy.wire.problems import slug_of

LOOK_SECONDS: Final = 0.5
_PATIENCE = 60.0


def add_to(commands: Any) -> None:
    warm = commands.add_parser("warm", help="bring references into the cache of ZOOPROXY's first proxy")
    warm.add_argument("refs", metavar="REF", nargs="*", help="a reference: torchvision://resnet50, https://…/x.pth")
    warm.add_argument(
        "--from-config",
        metavar="PATH",
        type=Path,
        nargs="+",
        default=[],
        help="every checkpoint that these configs, or their _base_, name; they are read, not run",
    )
    warm.add_argument("--wait", action="store_true", help="until all are there; exit status 1 if one is not")
    warm.set_defaults(run=_warm)


def _warm(options: argparse.Namespace) -> int:
    named = [ref for path in options.from_config for ref in references_in(path)]
    refs = list(dict.fromkeys([*options.refs, *named]))
    if not refs:
        raise SettingsError("nothing to warm: name a reference, or a config that names one")
    service = Service(ClientSettings.from_environ(os.environ))
    started = service.call("POST", routes.FILLS, {"refs": refs})
    lines = [_started(entry) for entry in started]
    for line in lines:
        print(line, flush=True)
    refused = sum(entry["state"] == REFUSED for entry in started)
    running = {entry["fill"]["id"]: entry["ref"] for entry in started if entry["fill"] is not None}
    failed = follow(service, running) if options.wait and running else {}
    return 1 if refused or failed else 0


def _started(entry: Mapping[str, Any]) -> str:
    if entry["state"] == REFUSED:
        return f"refused  {entry['ref']}: {entry['error']['detail']}"
    return f"{entry['state']:8} {entry['ref']}"


def follow(service: Service, running: dict[str, str]) -> Mapping[str, Mapping[str, Any]]:
    """Until none of ``running`` (reference by fill's id) runs; those that failed, by id."""
    failed = {}
    with _display() as display:
        while running:
            time.sleep(LOOK_SECONDS)
            fills = {fill["id"]: fill for fill in service.call("GET", routes.FILLS)["fills"]}
            for id, ref in list(running.items()):  # noqa: A001  # the wire's word
                fill = fills.get(id) or service.settled(ref, id)
                display.show(ref, fill)
                if fill["state"] in (DONE, FAILED):
                    del running[id]
                    if fill["state"] == FAILED:
                        failed[id] = fill
    return failed


class Service:
    """The first proxy of ``ZOOPROXY``: a cache is warmed by name, not whichever happens to answer."""

    def __init__(self, settings: ClientSettings) -> None:
        self._base = settings.proxies[0] if settings.proxies else OFF
        if self._base in (DIRECT, OFF):
            raise ProxyNotConfigured("ZOOPROXY names no proxy first; there is no cache to warm")
        self._login = settings.login_of(self._base)
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirects)

    def call(self, method: str, path: str, document: Any = None) -> Any:
        """The answer's JSON.

        Raises:
            ProxyUnreachable, ProxyRefused: the call was not answered, or with a problem.
        """
        try:
            return json.loads(self.order(method, path, document))
        except ValueError as error:
            raise self._no_zooproxy() from error

    def order(self, method: str, path: str, document: Any = None) -> bytes:
        """As ``call``, whatever the answer is: a deletion has none."""
        headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if self._login is not None:
            headers["Authorization"] = self._login
        sent = None if document is None else json.dumps(document).encode()
        request = urllib.request.Request(self._base.rstrip("/") + path, sent, headers, method=method)  # noqa: S310
        try:
            with self._opener.open(request, timeout=_PATIENCE) as answer:
                body: bytes = answer.read()
                return body
        except HTTPError as error:
            with error:
                raise _refusal(self._base, error) from error
        except (URLError, OSError, ValueError) as error:
            raise self._no_zooproxy() from error

    def _no_zooproxy(self) -> ProxyUnreachable:
        return ProxyUnreachable(f"{self._base} does not answer as a zooproxy does")

    def settled(self, ref: str, id: str) -> Mapping[str, Any]:  # noqa: A002  # the wire's word
        """What became of a fill that nobody remembers: another process led it."""
        entry = self.call("POST", routes.FILLS, {"refs": [ref]})[0]
        if entry["state"] == HELD:
            return {"id": id, "state": DONE, "bytes_done": 0, "bytes_total": None, "sha256": entry["sha256"]}
        if entry["state"] == REFUSED:
            return {"id": id, "state": FAILED, "bytes_done": 0, "bytes_total": None, "error": entry["error"]}
        fill: Mapping[str, Any] = entry["fill"]
        return fill


class _NoRedirects(urllib.request.HTTPRedirectHandler):
    """The token is for the proxy alone, and a proxy that redirects is none."""

    def redirect_request(self, *_: Any) -> None:  # the base class's signature
        return None


def _refusal(base: str, error: HTTPError) -> ProxyRefused:
    try:
        problem = json.load(error)
    except ValueError:
        problem = {}
    problem = problem if isinstance(problem, dict) else {}
    detail = problem.get("detail") or f"{base} answered with status {error.code}"
    return ProxyRefused(str(detail), problem=slug_of(problem), status=error.code)


class Display(Protocol):
    def show(self, ref: str, fill: Mapping[str, Any]) -> None: ...


class Lines:
    """One line when a fill ends, for logs and pipes."""

    def show(self, ref: str, fill: Mapping[str, Any]) -> None:
        if fill["state"] == DONE:
            print(f"done     {ref}: {fill['sha256']}", flush=True)
        elif fill["state"] == FAILED:
            print(f"failed   {ref}: {fill['error']['detail']}", flush=True)


class Bars:
    """A table of progress bars on a terminal."""

    def __init__(self, progress: Any) -> None:
        self._progress = progress
        self._tasks: dict[str, Any] = {}

    def show(self, ref: str, fill: Mapping[str, Any]) -> None:
        if ref not in self._tasks:
            self._tasks[ref] = self._progress.add_task(ref, total=None, state=fill["state"])
        done = fill["bytes_done"]
        total = fill["bytes_total"] or (done if fill["state"] == DONE else None)
        words = fill["error"]["detail"] if fill["state"] == FAILED else fill["state"]
        self._progress.update(self._tasks[ref], completed=done, total=total, state=words)


@contextmanager
def _display(terminal: bool | None = None) -> Iterator[Display]:
    on_terminal = sys.stdout.isatty() if terminal is None else terminal
    try:
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TransferSpeedColumn
    except ModuleNotFoundError:
        on_terminal = False
    if not on_terminal:
        yield Lines()
        return
    columns: Sequence[Any] = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TextColumn("{task.fields[state]}", markup=False),
    )
    with Progress(*columns) as progress:
        yield Bars(progress)
