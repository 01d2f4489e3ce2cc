"""The programs and libraries that people fetch with, against a real proxy: whole files, resumed ones, ranges."""

from __future__ import annotations

import hashlib
import subprocess
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest
import requests
import torch
from safetensors.torch import load_file

from components.programs import program
from end_to_end.conftest import played_by
from end_to_end.proxy_process import ProxyProcess, running_proxy
from fakes.upstream import running_upstream

HOST = "download.pytorch.org"


@pytest.fixture(scope="module")
def file_name(large_checkpoint: bytes) -> str:
    return f"net-{hashlib.sha256(large_checkpoint).hexdigest()[:8]}.pth"


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory, large_checkpoint: bytes, file_name: str) -> Iterator[ProxyProcess]:
    """Holds the large checkpoint."""
    with running_upstream() as upstream:
        upstream.put(f"/{HOST}/{file_name}", large_checkpoint)
        with running_proxy(tmp_path_factory.mktemp("data"), mirrors=played_by(upstream)) as proxy:
            assert proxy.get(f"/mirror/{HOST}/{file_name}").content == large_checkpoint
            yield proxy


@pytest.fixture
def url(proxy: ProxyProcess, file_name: str) -> str:
    return f"{proxy.url}/mirror/{HOST}/{file_name}"


RESUMING = {
    "curl": ["curl", "-fsSO", "-C", "-"],
    "wget": ["wget", "-q", "-c", "--no-proxy"],
    "aria2c": ["aria2c", "-q", "-c", "-x8", "-s8", "-k1M", "--no-conf", "--all-proxy="],
}


@pytest.mark.parametrize("name", RESUMING)
def test_a_program_fetches_the_whole_under_its_own_name(
    name: str, url: str, large_checkpoint: bytes, file_name: str, tmp_path: Path
) -> None:
    subprocess.run([program(name), *RESUMING[name][1:], url], cwd=tmp_path, check=True, timeout=60)
    assert (tmp_path / file_name).read_bytes() == large_checkpoint


@pytest.mark.parametrize("name", RESUMING)
def test_a_program_resumes_what_it_has_a_part_of(
    name: str, url: str, large_checkpoint: bytes, file_name: str, tmp_path: Path
) -> None:
    # A wrong first half shows that it is kept: only the rest was fetched.
    half = 2 << 20  # a multiple of aria2's blocks: it fetches a block it has a part of anew
    (tmp_path / file_name).write_bytes(b"x" * half)
    subprocess.run([program(name), *RESUMING[name][1:], url], cwd=tmp_path, check=True, timeout=60)
    assert (tmp_path / file_name).read_bytes() == b"x" * half + large_checkpoint[half:]


def test_the_name_in_the_disposition_is_the_file_s_for_curl_and_wget(
    proxy: ProxyProcess, large_checkpoint: bytes, file_name: str, tmp_path: Path
) -> None:
    url = f"{proxy.url}/v1/checkpoint?ref=https://{HOST}/{file_name}&variant=raw"
    for command in (["curl", "-fsSOJ"], ["wget", "-q", "--no-proxy", "--content-disposition"]):
        directory = tmp_path / command[0]
        directory.mkdir()
        subprocess.run([program(command[0]), *command[1:], url], cwd=directory, check=True, timeout=60)
        assert (directory / file_name).read_bytes() == large_checkpoint


def test_urllib_and_requests_read_the_whole_and_a_part(url: str, large_checkpoint: bytes) -> None:
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(url, timeout=30) as answer:
        assert answer.read() == large_checkpoint
    with requests.Session() as session:
        session.trust_env = False
        assert session.get(url, timeout=30).content == large_checkpoint
        part = session.get(url, headers={"Range": "bytes=5-14"}, timeout=30)
        assert (part.status_code, part.content) == (206, large_checkpoint[5:15])


def test_torch_hub_downloads_it_with_its_hash_check(
    url: str, large_checkpoint: bytes, file_name: str, tmp_path: Path
) -> None:
    prefix = file_name.removeprefix("net-").removesuffix(".pth")
    torch.hub.download_url_to_file(url, str(tmp_path / file_name), hash_prefix=prefix, progress=False)
    assert (tmp_path / file_name).read_bytes() == large_checkpoint


def test_safetensors_own_library_reads_the_saved_file(proxy: ProxyProcess, file_name: str, tmp_path: Path) -> None:
    url = f"{proxy.url}/v1/checkpoint?ref=https://{HOST}/{file_name}"
    subprocess.run([program("curl"), "-fsS", "-o", "net.safetensors", url], cwd=tmp_path, check=True, timeout=60)
    assert torch.equal(load_file(tmp_path / "net.safetensors")["weight"], torch.arange(1_000_000.0))
