"""What an operator's commands show of the proxy's cache, and do to it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from end_to_end.proxy_process import ProxyProcess, running_proxy
from fakes.upstream import Upstream, running_upstream
from zooproxy.cli import main

ZOO = "https://download.pytorch.org/"


@pytest.fixture(scope="module")
def upstream(small_checkpoint: bytes) -> Iterator[Upstream]:
    with running_upstream() as upstream:
        yield upstream


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory, upstream: Upstream) -> Iterator[ProxyProcess]:
    mirrors = {"download.pytorch.org": [upstream.url, "off"]}
    with running_proxy(tmp_path_factory.mktemp("data"), mirrors=mirrors, admin_tokens=["secret"]) as proxy:
        yield proxy


class Operator:
    """Runs commands; every test begins with an empty cache."""

    def __init__(self, proxy: ProxyProcess, upstream: Upstream, capsys: pytest.CaptureFixture[str]) -> None:
        self._proxy = proxy
        self._upstream = upstream
        self._capsys = capsys

    def fill(self, name: str, content: bytes) -> str:
        """Its sha256, when its row is written."""
        self._upstream.put(f"/{name}", content)
        assert self._proxy.get("/v1/checkpoint", ZOO + name, variant="raw").status_code == 200
        while self._proxy.get("/v1/resolve", ZOO + name).json()["state"] != "held":
            pass
        return hashlib.sha256(content).hexdigest()

    def run(self, *arguments: str, status: int = 0) -> list[str]:
        assert main(["cache", *arguments]) == status
        told = self._capsys.readouterr()
        return (told.err if status else told.out).splitlines()


@pytest.fixture
def operator(
    proxy: ProxyProcess, upstream: Upstream, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> Iterator[Operator]:
    monkeypatch.setenv("ZOOPROXY", proxy.url)
    monkeypatch.setenv("ZOOPROXY_TOKEN", "secret")
    operator = Operator(proxy, upstream, capsys)
    operator.run("gc", "--to", "0")
    yield operator
    for pin in proxy.get("/v1/cache/pins").json():
        operator.run("unpin", pin["ref"])


def padded(content: bytes, size: int) -> bytes:
    """Another checkpoint of ``size`` bytes: a zip's comment may be anything."""
    return content[:-2] + (size - len(content)).to_bytes(2, "little") + bytes(size - len(content))


def test_ls_lists_what_is_held_aligned_and_the_first_to_leave_first(
    operator: Operator, small_checkpoint: bytes
) -> None:
    assert operator.run("ls") == []
    first = operator.fill("first.pth", small_checkpoint)
    second = operator.fill("second.pth", padded(small_checkpoint, 12_345))
    operator.run("pin", ZOO + "second.pth")
    head, *rows = operator.run("ls")
    assert head.split() == ["BYTES", "LAST", "USED", "USES", "SHA256", "WHAT"]
    assert [row.split()[-1] for row in rows] == [ZOO + "first.pth", ZOO + "second.pth"]
    assert first[:16] in rows[0]
    assert "pinned" not in rows[0]
    assert "12,345" in rows[1]
    assert "pinned" in rows[1]
    assert {row.index("https://") for row in rows} == {head.index("WHAT")}
    assert [row.split()[-1] for row in operator.run("ls", "SECOND")] == ["WHAT", ZOO + "second.pth"]
    (blob,) = json.loads("\n".join(operator.run("ls", second[:8], "--json")))
    assert (blob["sha256"], blob["size"], blob["sources"], blob["pinned"]) == (
        second,
        12_345,
        [ZOO + "second.pth"],
        True,
    )


def test_du_tells_how_much_is_held_and_how_much_may_be(operator: Operator, small_checkpoint: bytes) -> None:
    operator.fill("first.pth", small_checkpoint)
    told = operator.run("du")
    assert [line.split()[0] for line in told] == ["held", "pinned", "derived", "leaving", "free", "cap"]
    assert told[0].split()[1:] == [f"{len(small_checkpoint):,}", "bytes", "1", "blobs"]
    assert told[-1].split() == ["cap", "none"]
    answer = json.loads("\n".join(operator.run("du", "--json")))
    assert (answer["bytes"], answer["blobs"], answer["cap_bytes"]) == (len(small_checkpoint), 1, 0)


def test_pin_keeps_and_unpin_lets_go(operator: Operator, small_checkpoint: bytes) -> None:
    operator.fill("first.pth", small_checkpoint)
    told = operator.run("pin", ZOO + "first.pth", "torchvision://resnet50")
    assert told == [f"pinned    {ZOO}first.pth", "pinned    torchvision://resnet50 (not held yet)"]
    size = f"{len(small_checkpoint):,}"
    assert operator.run("gc", "--to", "0") == [
        f"evicted 0 blobs, 0 bytes; {size} bytes are held, {size} of them pinned"
    ]
    assert operator.run("unpin", ZOO + "first.pth") == [f"unpinned  {ZOO}first.pth"]
    assert operator.run("gc", "--to", "0") == [f"evicted 1 blob, {size} bytes; 0 bytes are held, 0 of them pinned"]
    assert operator.run("ls") == []


def test_rm_removes_by_reference_and_by_digest_and_what_is_pinned_by_force_alone(
    operator: Operator, small_checkpoint: bytes
) -> None:
    operator.fill("first.pth", small_checkpoint)
    second = operator.fill("second.pth", padded(small_checkpoint, 12_345))
    operator.run("pin", ZOO + "first.pth")
    refused = operator.run("rm", ZOO + "first.pth", status=1)
    assert "pinned in the cache; unpin it, or force it" in refused[0]
    size = f"{len(small_checkpoint):,}"
    assert operator.run("rm", "--force", ZOO + "first.pth") == [f"removed   {ZOO}first.pth: 1 blob, {size} bytes"]
    assert operator.run("rm", second.upper()) == [f"removed   {second.upper()}: 1 blob, 12,345 bytes"]
    assert operator.run("ls") == []
    assert "is held" in operator.run("rm", second, status=1)[0]
    assert "'zooproxy cache ls' shows what is" in operator.run("rm", ZOO + "first.pth", status=1)[0]


def test_gc_evicts_down_to_a_size_and_without_a_cap_nothing(operator: Operator, small_checkpoint: bytes) -> None:
    for number in range(3):
        operator.fill(f"{number}.pth", padded(small_checkpoint, 10_000 + number))
    assert operator.run("gc")[0].startswith("evicted 0 blobs")
    assert operator.run("gc", "--to", "20k")[0].startswith("evicted 2 blobs, 20,001 bytes; 10,002 bytes are held")
    assert [row.split()[-1] for row in operator.run("ls")[1:]] == [ZOO + "2.pth"]
    assert "--to is no number" in operator.run("gc", "--to", "much", status=1)[0]


@pytest.mark.parametrize("command", [["pin", ZOO], ["unpin", ZOO], ["rm", "0" * 64], ["gc"]])
def test_commands_that_change_state_need_the_token(
    operator: Operator, command: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ZOOPROXY_TOKEN", "another")
    assert "token" in operator.run(*command, status=1)[0]


def test_commands_without_a_proxy_are_refused(
    operator: Operator, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("ZOOPROXY", "http://127.0.0.1:1")
    for command in (["ls"], ["du"], ["pin", ZOO], ["gc"]):
        assert "does not answer" in operator.run(*command, status=1)[0]
    assert "'cache ls' shows the proxy's" in operator.run(status=1)[0]
