"""Sources without a published digest, asked in the background whether they have changed; what is held is served."""

from __future__ import annotations

import io
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count

import pytest

from end_to_end.conftest import StartProxy, played_by
from end_to_end.proxy_process import ProxyProcess, running_proxy
from fakes.upstream import Behaviour, Gate, Ranged, Upstream, honest, in_turn, running_upstream, status
from zooproxy.digest import Sha256

ZOO, PLAYED = "https://download.pytorch.org", "/download.pytorch.org"
_numbers = count()


class Stage:
    def __init__(self, proxy: ProxyProcess, upstream: Upstream) -> None:
        self.proxy = proxy
        self.upstream = upstream

    def hold(self, body: bytes, behaviour: Behaviour, name: str = "{}.pth") -> str:
        """A reference whose file is held since now."""
        ref = f"{ZOO}/{name.format(next(_numbers))}"
        self.play(ref, behaviour)
        assert self.raw(ref) == body
        return ref

    def play(self, ref: str, behaviour: Behaviour) -> None:
        self.upstream.put(ref.replace(ZOO, PLAYED), behaviour)

    def raw(self, ref: str) -> bytes:
        answer = self.proxy.get("/v1/checkpoint", ref, variant="raw")
        assert answer.status_code == 200, answer.text
        return answer.content

    def state(self, ref: str) -> str:
        return str(self.proxy.get("/v1/resolve", ref).json()["state"])

    def asked(self, ref: str) -> list[str]:
        """The methods with which upstream was asked for it, in order."""
        requests = zip(self.upstream.seen, self.upstream.methods, strict=True)
        return [method for path, method in requests if path == ref.replace(ZOO, PLAYED)]

    def condition(self, ref: str) -> str | None:
        requests = list(zip(self.upstream.seen, self.upstream.headers, strict=True))
        return next(h for path, h in reversed(requests) if path == ref.replace(ZOO, PLAYED)).get("if-none-match")

    def use_until(self, ref: str, body: bytes, done: Callable[[], bool]) -> None:
        """Asks for it again and again; ``body`` has to come whatever happens in the background."""
        deadline = time.monotonic() + 20
        while not done():
            assert time.monotonic() < deadline
            assert self.raw(ref) == body
            time.sleep(0.02)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    settings = {"revalidate_seconds": "1"}
    with (
        running_upstream() as upstream,
        running_proxy(tmp_path_factory.mktemp("data"), mirrors=played_by(upstream), **settings) as proxy,
    ):
        yield Stage(proxy, upstream)


@pytest.fixture(scope="module")
def changed() -> bytes:
    import torch

    file = io.BytesIO()
    torch.save({"weight": torch.zeros(5)}, file)
    return file.getvalue()


def test_what_has_not_changed_is_asked_about_by_its_tag_and_not_fetched(stage: Stage, small_checkpoint: bytes) -> None:
    ref = stage.hold(small_checkpoint, Ranged(small_checkpoint))
    stage.use_until(ref, small_checkpoint, lambda: len(stage.asked(ref)) > 2)
    assert set(stage.asked(ref)[1:]) == {"HEAD"}
    assert stage.condition(ref) == '"v1"'
    assert stage.state(ref) == "held"


def test_without_a_validator_the_length_alone_is_compared(stage: Stage, small_checkpoint: bytes) -> None:
    ref = stage.hold(small_checkpoint, honest(small_checkpoint))
    stage.use_until(ref, small_checkpoint, lambda: len(stage.asked(ref)) > 1)
    assert stage.asked(ref)[1] == "HEAD"
    assert stage.state(ref) == "held"


def test_an_upstream_that_is_down_changes_nothing_and_is_not_asked_at_each_use(
    stage: Stage, small_checkpoint: bytes
) -> None:
    ref = stage.hold(small_checkpoint, Ranged(small_checkpoint))
    stage.play(ref, status(503))
    stage.use_until(ref, small_checkpoint, lambda: len(stage.asked(ref)) > 1)
    before = len(stage.asked(ref))
    for _ in range(10):
        assert stage.raw(ref) == small_checkpoint
    assert len(stage.asked(ref)) <= before + 1
    assert stage.state(ref) == "held"


def test_a_new_tag_on_the_same_bytes_costs_one_transfer(stage: Stage, small_checkpoint: bytes) -> None:
    ref = stage.hold(small_checkpoint, Ranged(small_checkpoint))
    stage.play(ref, Ranged(small_checkpoint, '"v2"'))
    stage.use_until(ref, small_checkpoint, lambda: stage.condition(ref) == '"v2"')
    assert stage.asked(ref).count("GET") == 2
    assert stage.state(ref) == "held"


def test_other_bytes_are_quarantined_once_and_the_old_ones_go_on_being_served(
    stage: Stage, small_checkpoint: bytes, changed: bytes
) -> None:
    ref = stage.hold(small_checkpoint, Ranged(small_checkpoint))
    stage.play(ref, Ranged(changed, '"v2"'))
    stage.use_until(ref, small_checkpoint, lambda: stage.state(ref) == "quarantined")
    stage.use_until(ref, small_checkpoint, lambda: stage.condition(ref) == '"v2"')
    assert stage.asked(ref).count("GET") == 2
    assert stage.proxy.get(f"/v1/blobs/{Sha256.of(changed)}").status_code == 404
    assert stage.proxy.get("/v1/resolve", ref).json()["sha256"] == Sha256.of(small_checkpoint)
    stage.play(ref, Ranged(small_checkpoint, '"v3"'))
    stage.use_until(ref, small_checkpoint, lambda: stage.state(ref) == "held")


def test_many_uses_at_once_are_one_question(stage: Stage, small_checkpoint: bytes) -> None:
    gate = Gate(small_checkpoint, 0)
    ref = stage.hold(small_checkpoint, in_turn(Ranged(small_checkpoint), gate))
    stage.use_until(ref, small_checkpoint, gate.reached.is_set)
    with ThreadPoolExecutor(8) as clients:
        assert set(clients.map(stage.raw, [ref] * 24)) == {small_checkpoint}
    assert len(stage.asked(ref)) == 2
    gate.open()


def test_a_published_digest_is_proof_enough(stage: Stage, small_checkpoint: bytes) -> None:
    hint = Sha256.of(small_checkpoint)[:8]
    hinted = stage.hold(small_checkpoint, Ranged(small_checkpoint), f"{{}}-{hint}.pth")
    other = stage.hold(small_checkpoint, Ranged(small_checkpoint))
    stage.use_until(hinted, small_checkpoint, lambda: stage.raw(other) != b"" and len(stage.asked(other)) > 1)
    assert stage.asked(hinted) == ["GET"]


def test_an_offline_proxy_asks_nobody_and_serves_what_it_holds(
    start_proxy: StartProxy, upstream: Upstream, small_checkpoint: bytes
) -> None:
    upstream.put(f"{PLAYED}/net.pth", Ranged(small_checkpoint))
    first = start_proxy()
    assert first.get("/v1/checkpoint", f"{ZOO}/net.pth", variant="raw").content == small_checkpoint
    first.stop()
    second = start_proxy(revalidate_seconds="1", offline="true")
    deadline = time.monotonic() + 1.5
    while time.monotonic() < deadline:
        assert second.get("/v1/checkpoint", f"{ZOO}/net.pth", variant="raw").content == small_checkpoint
    assert upstream.methods == ["GET"]
