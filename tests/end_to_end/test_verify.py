"""A cache that has been harmed, put right by the real command and by the service itself, beside a running service."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from itertools import count
from pathlib import Path

import httpx2
import pytest

from components.small_disk import with_own_mounts
from end_to_end.conftest import StartProxy, played_by
from end_to_end.proxy_process import ProxyProcess, clean_environment, running_proxy
from fakes.upstream import Upstream, running_upstream
from zooproxy.cli import main
from zygote import zygote

_numbers = count()

ON_A_READ_ONLY_DISK = """
mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" || exit 77
"$2" -m zooproxy cache verify
echo "status $?" >&2
exec "$2" -m zooproxy serve
"""


Verify = Callable[..., tuple[int, str, str]]


@pytest.fixture
def verify(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Verify:
    """``zooproxy cache verify`` over a data directory: its exit status, what it printed and what it complained of."""

    def run(data_dir: Path, *arguments: str) -> tuple[int, str, str]:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setenv("ZOOPROXY_DATA_DIR", str(data_dir))
        capsys.readouterr()
        status = main(["cache", "verify", *arguments])
        return status, *capsys.readouterr()

    return run


class Stage:
    """A running proxy whose upstream has one checkpoint under a new URL for each test."""

    def __init__(self, proxy: ProxyProcess, upstream: Upstream, data_dir: Path, body: bytes) -> None:
        self.proxy = proxy
        self.upstream = upstream
        self.data_dir = data_dir
        self.body = body
        self.digest = hashlib.sha256(body).hexdigest()
        self.url = f"https://download.pytorch.org/{next(_numbers)}.pth"
        upstream.put(self.url.removeprefix("https:/"), body)

    @property
    def blob(self) -> Path:
        return self.data_dir / "blobs" / self.digest[:2] / self.digest[2:]

    @property
    def fetched(self) -> int:
        return self.upstream.seen.count(self.url.removeprefix("https:/"))

    def raw(self) -> bytes:
        return self.proxy.get("/v1/checkpoint", self.url, variant="raw").content

    def flip(self) -> None:
        content = bytearray(self.blob.read_bytes())
        content[len(content) // 2] ^= 1
        self.blob.chmod(0o644)
        self.blob.write_bytes(content)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[ProxyProcess, Upstream, Path]]:
    data_dir = tmp_path_factory.mktemp("data")
    with running_upstream() as upstream, running_proxy(data_dir, mirrors=played_by(upstream)) as proxy:
        yield proxy, upstream, data_dir


@pytest.fixture
def stage(running: tuple[ProxyProcess, Upstream, Path], small_checkpoint: bytes) -> Stage:
    stage = Stage(*running, small_checkpoint)
    assert stage.raw() == small_checkpoint
    return stage


def test_one_flipped_bit_is_found_quarantined_and_the_next_request_fetches_again(stage: Stage, verify: Verify) -> None:
    stage.flip()
    assert verify(stage.data_dir)[0] == 0
    status, told, _ = verify(stage.data_dir, "--full")
    assert status == 1
    assert stage.digest in told
    assert told.splitlines()[-1].startswith("1 fault, 0 repaired; ")
    arguments = ["cache", "verify", "--full", "--repair", "--json"]
    repaired = zygote().run(arguments, clean_environment(data_dir=str(stage.data_dir)), stage.data_dir)
    members = json.loads(repaired.stdout)
    assert repaired.returncode == 1
    assert [(one["kind"], one["name"], one["outcome"]) for one in members["findings"]] == [
        ("rot", stage.digest, "quarantined")
    ]
    assert members["read"] >= len(stage.body)
    assert members["bytes_per_second"] > 0
    assert (stage.data_dir / "quarantine" / stage.digest).exists()
    entry = json.loads((stage.data_dir / "audit.log").read_text().splitlines()[-1])
    assert (entry["action"], entry["target"]) == ("cache repair", {"repaired": [f"{stage.digest}: quarantined"]})
    assert stage.proxy.get(f"/v1/blobs/{stage.digest}").status_code == 404
    assert stage.raw() == stage.body
    assert stage.fetched == 2
    status, told, _ = verify(stage.data_dir, "--full")
    assert (status, told.startswith("no faults; ")) == (0, True)
    assert "MB/s" in told


def test_what_is_missing_beside_and_inside_the_index_is_repaired_beside_a_running_server(
    stage: Stage, verify: Verify
) -> None:
    sidecar = stage.blob.with_name(f"{stage.blob.name}.json")
    sidecar.unlink()
    sidecar.write_text('{"format": 1, "sha256": "../../etc/passwd"}')
    surplus = stage.data_dir / "blobs" / "00" / ("0" * 62)
    surplus.parent.mkdir(exist_ok=True)
    surplus.write_bytes(b"nobody's")
    status, told, _ = verify(stage.data_dir, "--quick", "--repair")
    assert status == 1
    assert told.splitlines()[-1].startswith("2 faults, 1 repaired; ")
    assert "written anew" in told
    surplus.unlink()
    stage.blob.unlink()
    assert "dropped" in verify(stage.data_dir, "--repair")[1]
    assert stage.raw() == stage.body
    assert verify(stage.data_dir)[0] == 0


def test_verify_of_no_directory_is_refused_and_makes_none(tmp_path: Path, verify: Verify) -> None:
    status, _, complaint = verify(tmp_path / "absent")
    assert status == 1
    assert "there is no data directory" in complaint
    assert not (tmp_path / "absent").exists()


def test_read_only_directory_is_refused_in_words_by_verify_and_serve(stage: Stage) -> None:
    refused = subprocess.run(
        [*with_own_mounts(), "bash", "-c", ON_A_READ_ONLY_DISK, "read-only", str(stage.data_dir), sys.executable],
        env=clean_environment(data_dir=str(stage.data_dir), port="0", host="127.0.0.1"),
        cwd=stage.data_dir,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert refused.returncode == 1, refused.stderr
    assert "status 1" in refused.stderr
    assert refused.stderr.count("Read-only file system") == 2
    assert "Traceback" not in refused.stderr


def soon(condition: Callable[[], object]) -> bool:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return True


def test_scrubber_finds_one_flipped_bit_tells_of_it_and_fetches_again_unless_offline(
    start_proxy: StartProxy, upstream: Upstream, data_dir: Path, small_checkpoint: bytes
) -> None:
    scrubbing = {"scrub_days": "0.000002", "scrub_bytes_per_second": str(8 << 20)}
    stage = Stage(start_proxy(**scrubbing), upstream, data_dir, small_checkpoint)
    assert stage.raw() == small_checkpoint
    with (
        httpx2.Client(trust_env=False, timeout=30) as client,
        client.stream("GET", f"{stage.proxy.url}/v1/events") as answer,
    ):
        lines = answer.iter_lines()
        next(lines)
        stage.flip()
        assert next(line for line in lines if line == "event: corrupt")
        told = json.loads(next(lines).removeprefix("data: "))
    assert (told["sha256"], told["urls"]) == (stage.digest, [stage.url])
    assert soon(lambda: stage.fetched == 2)
    assert stage.raw() == small_checkpoint
    assert stage.fetched == 2
    ending = time.monotonic()
    assert stage.proxy.stop() == 0
    assert time.monotonic() - ending < 5
    stage.flip()
    offline = start_proxy(offline="true", **scrubbing)
    assert soon(lambda: not stage.blob.exists())
    assert soon(lambda: f"the blob {stage.digest} is bad" in offline.log)
    assert offline.get("/v1/checkpoint", stage.url, variant="raw").status_code == 503
    assert stage.fetched == 2
