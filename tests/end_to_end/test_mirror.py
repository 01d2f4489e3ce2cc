"""A host's files under their own paths, with the programs that people fetch them with."""

from __future__ import annotations

import hashlib
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from end_to_end.conftest import played_by
from end_to_end.proxy_process import ProxyProcess, running_proxy
from fakes.upstream import Upstream, running_upstream

HOST = "download.pytorch.org"


@pytest.fixture(scope="module")
def upstream() -> Iterator[Upstream]:
    with running_upstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def proxy(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProxyProcess]:
    with running_proxy(tmp_path_factory.mktemp("data"), mirrors=played_by(upstream)) as proxy:
        yield proxy


def hashed_name(data: bytes) -> str:
    return f"net-{hashlib.sha256(data).hexdigest()[:8]}.pth"


def test_a_file_keeps_its_bytes_and_its_name(proxy: ProxyProcess, upstream: Upstream, small_checkpoint: bytes) -> None:
    upstream.put(f"/{HOST}/a/net.pth", small_checkpoint)
    answer = proxy.get(f"/mirror/{HOST}/a/net.pth")
    assert answer.content == small_checkpoint
    assert answer.headers["content-disposition"] == 'attachment; filename="net.pth"'
    part = proxy.get(f"/mirror/{HOST}/a/net.pth", headers={"Range": "bytes=2-5"})
    assert (part.status_code, part.content) == (206, small_checkpoint[2:6])


def test_path_and_query_reach_the_host_as_they_were_written(
    proxy: ProxyProcess, upstream: Upstream, small_checkpoint: bytes
) -> None:
    path = f"/{HOST}/b/r50%2Bfpn.pth?versionId=a%2Fb"
    upstream.put(path, small_checkpoint)
    done = subprocess.run(["curl", "-fsS", f"{proxy.url}/mirror{path}"], capture_output=True, check=True)
    assert done.stdout == small_checkpoint
    assert path in upstream.seen


def test_it_is_the_same_source_as_the_url_itself(
    proxy: ProxyProcess, upstream: Upstream, small_checkpoint: bytes
) -> None:
    upstream.put(f"/{HOST}/c/net.pth", small_checkpoint)
    proxy.get("/v1/checkpoint", f"https://{HOST}/c/net.pth", variant="raw")
    assert proxy.get(f"/mirror/{HOST}/c/net.pth").content == small_checkpoint
    assert upstream.seen.count(f"/{HOST}/c/net.pth") == 1


def test_a_host_that_is_not_allowed_is_403(proxy: ProxyProcess) -> None:
    answer = proxy.get("/mirror/evil.example/net.pth")
    assert (answer.status_code, answer.json()["host"]) == (403, "evil.example")


@pytest.mark.parametrize("rest", ["a", "../etc/passwd", "user:secret@host/x.pth", "host/a/../b.pth"])
def test_what_is_no_url_of_a_host_is_refused(proxy: ProxyProcess, rest: str) -> None:
    done = subprocess.run(
        ["curl", "-s", "--path-as-is", "-o", "/dev/null", "-w", "%{http_code}", f"{proxy.url}/mirror/{rest}"],
        capture_output=True,
        text=True,
    )
    assert done.stdout in {"400", "404"}


def test_torch_hub_loads_from_it_with_its_hash_check(
    proxy: ProxyProcess, upstream: Upstream, large_checkpoint: bytes, tmp_path: Path
) -> None:
    import torch

    name = hashed_name(large_checkpoint)
    upstream.put(f"/{HOST}/d/{name}", large_checkpoint)
    loaded = torch.hub.load_state_dict_from_url(
        f"{proxy.url}/mirror/{HOST}/d/{name}", str(tmp_path), check_hash=True, progress=False, weights_only=True
    )
    assert torch.equal(loaded["weight"], torch.arange(1_000_000.0))
    assert (tmp_path / name).read_bytes() == large_checkpoint


def test_curl_resumes_a_download_from_it(
    proxy: ProxyProcess, upstream: Upstream, large_checkpoint: bytes, tmp_path: Path
) -> None:
    upstream.put(f"/{HOST}/e/net.pth", large_checkpoint)
    assert proxy.get(f"/mirror/{HOST}/e/net.pth").status_code == 200
    (tmp_path / "net.pth").write_bytes(large_checkpoint[:1_000_000])
    subprocess.run(["curl", "-fsSO", "-C", "-", f"{proxy.url}/mirror/{HOST}/e/net.pth"], cwd=tmp_path, check=True)
    assert (tmp_path / "net.pth").read_bytes() == large_checkpoint
