"""``zooproxy watch``: whether what the proxy holds is still there upstream, and its hosts are well."""

from __future__ import annotations

import argparse
import os
import sys
import time
from collections.abc import Iterator
from typing import Any, Final

from zooproxy.cli.warm import Service
from zooproxy.client.settings import ClientSettings
from zooproxy.wire import routes
from zooproxy.wire.watch import WatchAnswer, WatchedHost, WatchedSource

LOOK_SECONDS: Final = 0.5


def add_to(commands: Any) -> None:
    watch = commands.add_parser(
        "watch", help="show whether upstreams still have what the proxy holds; exit status 1 if something is wrong"
    )
    watch.add_argument("--now", action="store_true", help="ask them all first, and wait for their answers")
    watch.add_argument("--all", action="store_true", help="show what is well, too")
    watch.set_defaults(run=_watch)


def _watch(options: argparse.Namespace) -> int:
    service = Service(ClientSettings.from_environ(os.environ))
    answer = _read(service.call("POST" if options.now else "GET", routes.WATCH))
    while options.now and answer.left:
        time.sleep(LOOK_SECONDS)
        answer = _read(service.call("GET", routes.WATCH))
    for line in _table(answer, everything=options.all):
        print(line)
    wrong = sum(not source.is_well for source in answer.sources) + sum(not host.is_well for host in answer.hosts)
    unasked = sum(source.checked_at is None for source in answer.sources)
    print(f"{len(answer.sources)} sources, {len(answer.hosts)} hosts: {wrong} to see to", end="")
    print(f", {unasked} not asked about yet" if unasked else "")
    if unasked and not answer.hours:
        print("nothing is asked about unless the proxy has WATCH_HOURS, or you say --now", file=sys.stderr)
    return 1 if wrong else 0


def _read(document: Any) -> WatchAnswer:
    """The proxy may be a later one: members that are not known here are passed over."""
    sources = [WatchedSource(**_members(WatchedSource, one)) for one in document["sources"]]
    hosts = [WatchedHost(**_members(WatchedHost, one)) for one in document["hosts"]]
    return WatchAnswer(document["hours"], document["left"], sources, hosts)


def _members(kind: Any, document: Any) -> dict[str, Any]:
    return {name: document[name] for name in kind.__dataclass_fields__}


def _table(answer: WatchAnswer, *, everything: bool) -> Iterator[str]:
    for source in answer.sources:
        if everything or not source.is_well:
            yield f"{source.state:12} {source.since or '-':25} {source.url}"
            if source.detail:
                yield f"{'':38} {source.detail}"
            for candidate, problem in source.candidates.items():
                if problem and problem != source.detail:
                    yield f"{'':38} {candidate}: {problem}"
    for host in answer.hosts:
        if everything or not host.is_well:
            yield f"{'ok' if host.is_well else 'host':12} {host.since:25} {host.host}: {_words(host)}"


def _words(host: WatchedHost) -> str:
    days = None if host.certificate_days is None else f"certificate ends in {host.certificate_days} days"
    return "; ".join(words for words in (host.problem, days, ", ".join(host.addresses)) if words)
