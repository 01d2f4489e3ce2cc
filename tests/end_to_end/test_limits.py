"""What a proxy does not take on: files too large for it or for its disk, more bytes in a second than it may have."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from itertools import count
from pathlib import Path

import pytest

from components.small_disk import on_small_disk
from end_to_end.conftest import played_by
from end_to_end.following import read_until_broken, streaming
from end_to_end.proxy_process import ProxyProcess, running_proxy
from fakes.upstream import Behaviour, Ranged, Upstream, chunked, running_upstream
from held_files import partials

ZOO, PLAYED = "https://download.pytorch.org", "/download.pytorch.org"
LARGEST = RATE = 1_000_000
_numbers = count()


def checkpoint_of(floats: int) -> bytes:
    import torch

    file = io.BytesIO()
    torch.save({"weight": torch.arange(float(floats))}, file)
    return file.getvalue()


class Stage:
    def __init__(self, proxy: ProxyProcess, upstream: Upstream) -> None:
        self.proxy = proxy
        self.upstream = upstream

    def play(self, behaviour: bytes | Behaviour) -> str:
        name = f"/{next(_numbers)}.pth"
        self.upstream.put(PLAYED + name, behaviour)
        return ZOO + name

    def problem(self, ref: str) -> tuple[int, str]:
        answer = self.proxy.get("/v1/checkpoint", ref)
        return answer.status_code, answer.json()["type"].removeprefix("urn:zooproxy:problem:")


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    settings = {"max_file_bytes": str(LARGEST), "bandwidth": str(RATE)}
    with (
        running_upstream() as upstream,
        running_proxy(tmp_path_factory.mktemp("data"), mirrors=played_by(upstream), **settings) as proxy,
    ):
        yield Stage(proxy, upstream)


@pytest.mark.parametrize("sent", [Ranged, chunked], ids=["declared", "undeclared"])
def test_a_file_larger_than_it_may_be_is_refused_and_nothing_of_it_stays(
    limited: Stage, large_checkpoint: bytes, sent: type[Ranged]
) -> None:
    ref = limited.play(sent(large_checkpoint))
    assert limited.problem(ref) == (502, "upstream-too-large")
    assert limited.proxy.get("/v1/resolve", ref).json()["state"] == "absent"


def test_all_fills_together_keep_to_the_bandwidth(limited: Stage) -> None:
    bodies = [checkpoint_of(150_000), checkpoint_of(150_001)]
    refs = [limited.play(Ranged(body)) for body in bodies]
    began = time.monotonic()
    with ThreadPoolExecutor() as clients:
        asking = [clients.submit(limited.proxy.get, "/v1/checkpoint", ref, variant="raw") for ref in refs]
        assert [asked.result(60).content for asked in asking] == bodies
    assert time.monotonic() - began > 0.9 * sum(map(len, bodies)) / RATE


def test_a_disk_that_is_full_fails_the_fill_keeps_the_service_and_loses_nothing(
    data_dir: Path, upstream: Upstream, small_checkpoint: bytes
) -> None:
    data_dir.mkdir()
    too_large = checkpoint_of(3_000_000)
    disk = on_small_disk(data_dir, "8m")
    with running_proxy(data_dir, within=disk, spare_bytes="0", mirrors=played_by(upstream)) as proxy:
        stage = Stage(proxy, upstream)
        held = stage.play(small_checkpoint)
        assert proxy.get("/v1/checkpoint", held, variant="raw").content == small_checkpoint

        undeclared = stage.play(chunked(too_large, 100_000))
        with streaming(proxy, undeclared) as answer:
            received, broken = read_until_broken(answer)
        # The disk may be full before this client has been shown a byte.
        assert (answer.status_code, broken) in ((200, True), (507, False))
        assert len(received) < len(too_large)
        assert stage.problem(undeclared) == (507, "out-of-space")

        declared = proxy.get("/v1/checkpoint", stage.play(Ranged(too_large)))
        assert declared.status_code == 507
        assert declared.json()["needed_bytes"] == len(too_large) > declared.json()["free_bytes"]

        assert partials(Path(f"/proc/{proxy.process.pid}/root{data_dir}")) == {}  # as the proxy sees them
        assert proxy.get("/readyz").status_code == 200
        assert proxy.get("/v1/checkpoint", held, variant="raw").content == small_checkpoint
        after = stage.play(small_checkpoint)
        assert proxy.get("/v1/checkpoint", after, variant="raw").content == small_checkpoint
