"""What upstreams do wrong, a row per behaviour: what a client sees, what is on disk, what index and /v1/fills say.

Each row has a host, and so a circuit, of its own: an address of loopback. The first client follows the raw file while
it is filled; a second one asks for the reason where the first got no more than a broken connection; then the upstream
behaves, and everything has to be well again.
"""

from __future__ import annotations

import gzip
import io
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from end_to_end.following import read_until_broken, streaming
from end_to_end.proxy_process import ProxyProcess, running_proxy
from fakes.authority import Authority
from fakes.upstream import (
    Behaviour,
    Ranged,
    Upstream,
    answer,
    chunked,
    close_delimited,
    declaring,
    dripping,
    dripping_head,
    encoded,
    honest,
    in_turn,
    redirect,
    reset,
    running_upstream,
    silent,
    stalling,
    status,
    truncated,
)
from held_files import partials
from zooproxy.provide.growing import HOLD_BACK
from zooproxy.wire.fills import fill_id

HTML = b"<!DOCTYPE html><html><head><title>Sign in to this network</title></head><body></body></html>"
ATTEMPTS, HASTY_ATTEMPTS = 4, 2
CUT = 200_000  # beyond what is held back from followers: some of it has been shown
WHOLE, BROKEN, REFUSED = "the whole", "a broken connection", "a refusal"
PLAIN, TLS, EXPIRED, NOBODY, NO_NAME = "http", "https", "expired", "refused", "invalid"


@dataclass(frozen=True)
class Fault:
    """``sees``: what the first client gets; ``slug`` and ``code``: the problem, none where it ends well.

    ``attempts`` of the fill, or more if it is ``lossy``: one attempt may bring more than those before it. ``kept``: a
    partial stays, and the next fill goes on with it; ``blamed``: the host's circuit counts the failure; ``hasty``: time
    itself is the fault, and the proxy that waits little is asked.
    """

    plays: Callable[[bytes], Behaviour]
    slug: str = ""
    sees: str = REFUSED
    code: int = 502
    attempts: int = 1
    kept: bool = False
    blamed: bool = False
    hasty: bool = False
    lossy: bool = False
    scheme: str = PLAIN
    file: str = "net.pth"
    upstream_status: int | None = None


def refused_status(code: int, attempts: int = 1, behaviour: Behaviour | None = None) -> Fault:
    plays = behaviour or status(code)
    blamed = attempts > 1 or behaviour is not None
    return Fault(lambda _: plays, "upstream-status", attempts=attempts, blamed=blamed, upstream_status=code)


def not_reached(scheme: str) -> Fault:
    return Fault(honest, "upstream-unreachable", attempts=ATTEMPTS, blamed=True, scheme=scheme)


def lying(body: bytes, first: int) -> Behaviour:
    """Cut short, and then a 206 that says it begins at ``first``."""
    end = f"{len(body) - 1}/{len(body)}"
    lie = answer(206, body[CUT:], Content_Range=f"bytes {first}-{end}", ETag='"v1"')
    return in_turn(Ranged(body, cuts=[CUT]), lie, Ranged(body))


FAULTS: dict[str, Fault] = {
    # What is repaired on the way: the client gets the whole and need not know.
    "reset twice, with a tag": Fault(lambda body: Ranged(body, cuts=[CUT, 50_000]), sees=WHOLE, attempts=3),
    "503 three times, then well": Fault(lambda body: in_turn(*[status(503)] * 3, honest(body)), sees=WHOLE, attempts=4),
    "429 with Retry-After, then well": Fault(
        lambda body: in_turn(answer(429, b"", Retry_After="0"), honest(body)), sees=WHOLE, attempts=2
    ),
    "chunked": Fault(chunked, sees=WHOLE),
    "HTTP/1.0, close-delimited": Fault(lambda body: close_delimited(body, "HTTP/1.0"), sees=WHOLE),
    "close-delimited and cut short once": Fault(
        lambda body: in_turn(close_delimited(body[:50_000]), close_delimited(body)), sees=WHOLE, attempts=2
    ),
    # What begins anew in the middle: followers are cut off, the fill ends well.
    "tag that changes between ranges": Fault(
        lambda body: in_turn(Ranged(bytes(len(body)), '"v1"', cuts=[CUT]), Ranged(body, '"v2"')),
        sees=BROKEN,
        attempts=2,
    ),
    "200 to a range": Fault(lambda body: in_turn(Ranged(body, cuts=[CUT]), honest(body)), sees=BROKEN, attempts=2),
    "206 of another range": Fault(lambda body: lying(body, CUT - 1), sees=BROKEN, attempts=3),
    "206 of the whole": Fault(lambda body: lying(body, 0), sees=BROKEN, attempts=3),
    # What ends early.
    "reset": Fault(lambda body: reset(body, CUT), "upstream-truncated", BROKEN, attempts=ATTEMPTS, lossy=True),
    "truncated": Fault(lambda body: truncated(body, CUT), "upstream-truncated", BROKEN, attempts=ATTEMPTS),
    "length declared too long": Fault(
        lambda body: declaring(body, len(body) + 9), "upstream-truncated", BROKEN, attempts=ATTEMPTS
    ),
    "truncated, with a tag": Fault(
        lambda body: Ranged(body, cuts=[CUT] + [0] * 99),
        "upstream-truncated",
        BROKEN,
        attempts=ATTEMPTS,
        kept=True,
    ),
    "close-delimited and cut short": Fault(
        lambda body: close_delimited(body[:CUT]), "not-a-checkpoint", BROKEN, attempts=ATTEMPTS
    ),
    "HTTP/1.0 and cut short": Fault(
        lambda body: close_delimited(body[:CUT], "HTTP/1.0"), "not-a-checkpoint", BROKEN, attempts=ATTEMPTS
    ),
    "chunked and short": Fault(lambda body: chunked(body[:CUT]), "not-a-checkpoint", BROKEN),
    # What is not what was asked for.
    "extra bytes": Fault(lambda body: honest(body + bytes(9)), "not-a-checkpoint", BROKEN),
    "length declared too short": Fault(lambda body: declaring(body, len(body) - 9), "not-a-checkpoint", BROKEN),
    "wrong hash": Fault(honest, "digest-mismatch", BROKEN, file="net-0badc0de.pth"),
    "other bytes, with a tag": Fault(
        lambda body: Ranged(bytes(len(body)), cuts=[CUT]), "not-a-checkpoint", BROKEN, attempts=3
    ),
    "captive portal": Fault(lambda _: answer(200, HTML, Content_Type="text/html"), "not-a-checkpoint"),
    "JSON error with 200": Fault(lambda _: honest(b'{"error": "no such model"}'), "not-a-checkpoint"),
    "empty body": Fault(lambda _: honest(b""), "not-a-checkpoint"),
    "empty chunked body": Fault(lambda _: chunked(b""), "not-a-checkpoint"),
    "gzip": Fault(lambda body: encoded(gzip.compress(body)), "upstream-encoded"),
    "206 to no range": Fault(
        lambda body: answer(206, body, Content_Range="bytes 0-9/9"), "upstream-status", attempts=2
    ),
    # What is an answer, and not the file.
    "404": refused_status(404),
    "410": refused_status(410),
    "403": refused_status(403),
    "500": refused_status(500, ATTEMPTS),
    "429": refused_status(429, ATTEMPTS),
    "503": refused_status(503, ATTEMPTS),
    "503 with a long Retry-After": refused_status(503, 1, answer(503, b"", Retry_After="86400")),
    "301 to a host that is not allowed": Fault(lambda _: redirect("http://elsewhere.org/x", 301), "redirect-refused"),
    "redirect to a file": Fault(lambda _: redirect("file:///etc/passwd"), "redirect-refused"),
    "redirect into the network": Fault(lambda _: redirect("http://localhost:1/x"), "address-refused", code=403),
    "redirect loop": Fault(lambda _: redirect(""), "redirect-refused"),
    "https down to http": Fault(lambda _: redirect("http://127.0.0.1/x"), "redirect-refused", scheme=TLS),
    # What takes time.
    "stall": Fault(
        lambda body: stalling(body, CUT),
        "upstream-stalled",
        BROKEN,
        code=504,
        attempts=HASTY_ATTEMPTS,
        kept=True,
        blamed=True,
        hasty=True,
        lossy=True,
    ),
    "slow head": Fault(
        lambda _: silent, "upstream-stalled", code=504, attempts=HASTY_ATTEMPTS, blamed=True, hasty=True
    ),
    "head that drips": Fault(
        lambda _: dripping_head(0.02), "upstream-stalled", code=504, attempts=HASTY_ATTEMPTS, blamed=True, hasty=True
    ),
    "body that drips": Fault(
        lambda body: dripping(body, 0.02),
        "upstream-stalled",
        BROKEN,
        code=504,
        attempts=HASTY_ATTEMPTS,
        blamed=True,
        hasty=True,
        lossy=True,
    ),
    # What is not even a connection.
    "DNS failure": not_reached(NO_NAME),
    "connection refused": not_reached(NOBODY),
    "TLS: expired": not_reached(EXPIRED),
}


class Stage:
    """Two proxies that differ in patience, and the upstreams that play every row's host."""

    def __init__(self, upstreams: dict[str, Upstream]) -> None:
        self._upstreams = upstreams
        self.proxies: dict[bool, tuple[ProxyProcess, Path]] = {}

    def mirrors(self) -> dict[str, list[str]]:
        rows = {f"{number}.zoo.example": [base, "off"] for number, base in enumerate(map(self.base, FAULTS))}
        return {**rows, "resting.zoo.example": ["http://127.0.0.9:1", "off"]}

    def base(self, name: str) -> str:
        number, scheme = self._number(name), FAULTS[name].scheme
        if scheme == NO_NAME:
            return f"http://{number}.invalid/{number}"
        if scheme == NOBODY:
            return f"http://127.0.{number}.1:1/{number}"
        address = "127.0.0.1" if scheme in (TLS, EXPIRED) else f"127.0.{number}.1"
        upstream = self._upstreams[scheme]
        return f"{upstream.url.partition(':')[0]}://{address}:{upstream.port}/{number}"

    def host(self, name: str) -> str:
        return self.base(name).split("/")[2]

    def ref(self, name: str) -> str:
        if FAULTS[name].scheme == NO_NAME:
            return f"{self.base(name)}/{FAULTS[name].file}"
        return f"https://{self._number(name)}.zoo.example/{FAULTS[name].file}"

    def play(self, name: str, behaviour: Behaviour) -> None:
        upstream = self._upstreams.get(FAULTS[name].scheme)
        if upstream is not None:
            upstream.put(f"/{self._number(name)}/{FAULTS[name].file}", behaviour)

    def start_of_the_last_range(self, name: str) -> int:
        """From where on the last request asked for the file."""
        upstream, path = self._upstreams[PLAIN], f"/{self._number(name)}/{FAULTS[name].file}"
        seen = zip(upstream.seen, upstream.headers, strict=True)
        *_, last = (headers for asked, headers in seen if asked == path)
        return int(last.get("range", "bytes=0-").removeprefix("bytes=").partition("-")[0])

    def _number(self, name: str) -> int:
        return list(FAULTS).index(name)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    authority = Authority(tmp_path_factory.mktemp("ca"))
    settings = {
        "allow_hosts": ["*.zoo.example", "*.invalid", "localhost"],
        "ca_file": str(authority.file),
        "tries": str(ATTEMPTS),
    }
    hasty = {
        **settings,
        "tries": str(HASTY_ATTEMPTS),
        "stall_seconds": "0.3",
        "connect_seconds": "0.5",
        "minimum_rate_seconds": "0.5",
    }
    with (
        running_upstream() as plain,
        running_upstream(authority.server("127.0.0.1")) as tls,
        running_upstream(authority.server("127.0.0.1", days=-1)) as expired,
    ):
        stage = Stage({PLAIN: plain, TLS: tls, EXPIRED: expired})
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("RES_OPTIONS", "timeout:1 attempts:1")  # a resolver that is not there is known soon
            data = [tmp_path_factory.mktemp("patient"), tmp_path_factory.mktemp("hasty")]
            with (
                running_proxy(data[0], mirrors=stage.mirrors(), **settings) as one,
                running_proxy(data[1], mirrors=stage.mirrors(), **hasty) as other,
            ):
                stage.proxies = {False: (one, data[0]), True: (other, data[1])}
                yield stage


@pytest.fixture
def checkpoint(name: str) -> bytes:
    """Some 300 kB, each row's its own: more than is held back, so that followers have seen some when it goes wrong."""
    import torch

    file = io.BytesIO()
    torch.save({name: torch.arange(75_000.0)}, file)
    return file.getvalue()


def ended(proxy: ProxyProcess, ref: str) -> dict[str, Any]:
    """The fill of ``ref``, when it has ended."""
    while True:
        fill: dict[str, Any] = proxy.get(f"/v1/fills/{fill_id(ref)}").json()
        if fill["state"] in ("done", "failed"):
            return fill
        time.sleep(0.01)


def on_disk(data_dir: Path) -> tuple[set[Path], set[Path]]:
    """Blobs without their sidecars, and partials."""
    return {file for file in (data_dir / "blobs").glob("*/*") if not file.suffix}, set(partials(data_dir))


def slug_of(problem: dict[str, Any]) -> str:
    return str(problem["type"]).removeprefix("urn:zooproxy:problem:")


def seen_by_follower(proxy: ProxyProcess, ref: str, body: bytes) -> tuple[str, dict[str, Any], int]:
    """What a client that reads while it fills gets, the problem if it is one, the status."""
    with streaming(proxy, ref) as answer:
        if answer.headers["content-type"] == "application/problem+json":
            return REFUSED, httpx2.Response(200, content=answer.read()).json(), answer.status_code
        received, broken = read_until_broken(answer)
    declared = int(answer.headers.get("content-length", len(body)))
    assert len(received) <= declared - HOLD_BACK if broken else received == body
    return BROKEN if broken else WHOLE, {}, answer.status_code


@pytest.mark.parametrize("name", FAULTS)
def test_a_fault_is_answered_as_the_table_says_and_leaves_what_it_says(
    stage: Stage, checkpoint: bytes, name: str
) -> None:
    fault, ref = FAULTS[name], stage.ref(name)
    proxy, data_dir = stage.proxies[fault.hasty]
    blobs, before = on_disk(data_dir)
    stage.play(name, fault.plays(checkpoint))

    sees, problem, code = seen_by_follower(proxy, ref, checkpoint)
    fill = ended(proxy, ref)
    now_blobs, now_partials = on_disk(data_dir)
    resolved = proxy.get("/v1/resolve", ref).json()

    assert sees == fault.sees
    assert fill["state"] == ("failed" if fault.slug else "done")
    assert fill["attempt"] == fault.attempts or (fault.lossy and fill["attempt"] > fault.attempts)
    assert fill["candidate"] == f"{stage.base(name)}/{fault.file}"
    assert resolved["state"] == ("absent" if fault.slug else "held")
    assert len(now_blobs - blobs) == (0 if fault.slug else 1)
    assert len(now_partials - before) == (1 if fault.kept else 0)
    circuits = proxy.get("/v1/fills").json()["hosts"]
    assert circuits.get(stage.host(name)) == ("closed" if fault.blamed else None)
    if fault.slug:
        assert slug_of(fill["error"]) == fault.slug
        if sees == BROKEN:
            refusal = proxy.get("/v1/checkpoint", ref)
            problem, code = refusal.json(), refusal.status_code
        assert (slug_of(problem), code) == (fault.slug, fault.code)
        assert fault.upstream_status in (None, problem.get("upstream_status"))

    if fault.slug and fault.scheme == PLAIN and "wrong hash" not in name:
        stage.play(name, Ranged(checkpoint))
        assert proxy.get("/v1/checkpoint", ref, variant="raw").content == checkpoint
        assert stage.start_of_the_last_range(name) == (CUT if fault.kept else 0)
        assert ended(proxy, ref)["state"] == "done"
        assert on_disk(data_dir)[1] == before
        assert stage.host(name) not in proxy.get("/v1/fills").json()["hosts"]


def test_a_host_that_fails_fill_after_fill_is_left_alone_and_clients_are_told_for_how_long(stage: Stage) -> None:
    proxy, _ = stage.proxies[True]
    refs = [f"https://resting.zoo.example/{number}.pth" for number in range(6)]
    slugs = [slug_of(proxy.get("/v1/checkpoint", ref).json()) for ref in refs[:5]]
    assert slugs == ["upstream-unreachable"] * 5
    assert proxy.get("/v1/fills").json()["hosts"]["127.0.0.9:1"] == "open"
    refusal = proxy.get("/v1/checkpoint", refs[5])
    assert (refusal.status_code, slug_of(refusal.json())) == (503, "upstream-resting")
    assert 0 < int(refusal.headers["retry-after"]) <= 30
