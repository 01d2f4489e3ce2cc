"""SIGHUP: what a running proxy takes over from its settings, and what is left of a file that is wrong."""

from __future__ import annotations

import json
import signal
import socket
import ssl
import time
from collections.abc import Iterator
from itertools import count
from pathlib import Path
from typing import Any

import pytest

from end_to_end.conftest import HOSTS
from end_to_end.proxy_process import ProxyProcess, running_proxy
from end_to_end.test_tls import Identity
from end_to_end.test_tokens import bearing, sha256
from fakes.upstream import Upstream, running_upstream
from zooproxy.serving.configuration import example
from zooproxy.serving.settings import RELOADED, Settings

_numbers = count()


class Stage:
    """A proxy whose settings all stand in a file."""

    def __init__(self, proxy: ProxyProcess, upstream: Upstream, folder: Path) -> None:
        self.proxy = proxy
        self.upstream = upstream
        self.folder = folder
        self._file = folder / "zooproxy.toml"
        self.usual: dict[str, Any] = {"mirrors": {host: [f"{upstream.url}/{host}", "off"] for host in HOSTS}}

    def reload(self, words: str = "the settings were reloaded", **settings: Any) -> str:
        """What is logged about it; it is done when ``words`` are there."""
        merged = {**self.usual, **settings}
        self.write("".join(f"{key} = {toml(value)}\n" for key, value in merged.items()))
        return self.hup(words)

    def write(self, text: str) -> None:
        self._file.write_text(text)

    def hup(self, words: str) -> str:
        before = len(self.proxy.log)
        self.proxy.process.send_signal(signal.SIGHUP)
        deadline = time.monotonic() + 60
        while words not in (told := self.proxy.log[before:]):
            assert time.monotonic() < deadline, f"never said: {told}"
        return told

    def publish(self, body: bytes, host: str = "download.pytorch.org") -> str:
        path = f"/{host}/{next(_numbers)}.pth"
        self.upstream.put(path, body)
        return f"https:/{path}"

    def raw(self, ref: str) -> tuple[int, str]:
        answer = self.proxy.get("/v1/checkpoint", ref, variant="raw")
        is_problem = answer.headers["content-type"] == "application/problem+json"
        return answer.status_code, answer.json()["type"].rpartition(":")[2] if is_problem else "bytes"


def toml(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{json.dumps(key)} = {toml(one)}" for key, one in value.items()) + " }"
    return json.dumps(value)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("data")
    with running_upstream() as upstream, running_proxy(folder) as proxy:
        yield Stage(proxy, upstream, folder)


def test_lists_pins_and_mirrors_are_taken_over(stage: Stage, small_checkpoint: bytes) -> None:
    told = stage.reload(deny_names=["https://download.pytorch.org/*"])
    assert "deny_names" in told
    ref = stage.publish(small_checkpoint)
    assert stage.raw(ref) == (403, "name-denied")
    stage.reload(pins={ref: "0" * 64})
    assert stage.raw(ref) == (502, "digest-mismatch")
    stage.reload(deny_hosts=["download.pytorch.org"])
    assert stage.raw(ref) == (403, "host-denied")
    stage.reload(mirrors={})
    assert stage.proxy.get("/v1/resolve", ref).json()["candidates"] == [ref]
    stage.reload(max_file_bytes=100)
    assert stage.raw(ref) == (502, "upstream-too-large")
    stage.reload(offline=True)
    assert stage.raw(ref) == (503, "offline")
    stage.reload(pins={ref: sha256(small_checkpoint)})
    assert stage.raw(ref) == (200, "bytes")


def test_hosts_and_private_addresses_are_taken_over(stage: Stage, small_checkpoint: bytes) -> None:
    with running_upstream() as own:  # to which no connection stands open yet
        url = own.put("/x.pth", small_checkpoint)
        stage.reload()
        assert stage.raw(url) == (403, "host-not-allowed")
        stage.reload(allow_hosts=["127.0.0.1"])
        assert stage.raw(url) == (403, "address-refused")
        stage.reload(allow_hosts=["127.0.0.1"], private_hosts=["127.0.0.1"])
        assert stage.raw(url) == (200, "bytes")


def test_tokens_are_taken_over_and_the_log_and_the_audit_have_none_of_them(stage: Stage) -> None:
    stage.reload(read_tokens=["canary-one"], admin_tokens=["canary-two"])
    for token, status in (("canary-one", 200), ("canary-three", 401)):
        assert stage.proxy.get("/v1/zoos", headers=bearing(token)).status_code == status
    told = stage.reload(read_tokens=["canary-three"], admin_tokens=["canary-two"])
    assert "read_tokens" in told
    for token, status in (("canary-one", 401), ("canary-three", 200)):
        assert stage.proxy.get("/v1/zoos", headers=bearing(token)).status_code == status
    (entry,) = stage.proxy.get("/v1/audit", headers=bearing("canary-two"), limit="1").json()
    assert (entry["who"], entry["action"], entry["target"]) == (
        "signal",
        "reload settings",
        {"settings": ["read_tokens"]},
    )
    assert "canary" not in stage.proxy.log
    stage.reload()
    assert stage.proxy.get("/v1/zoos").status_code == 200


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('deny_names = ["mmdet"]\n', "DENY_NAMES: 'mmdet' fits no reference; a pattern is written"),
        ("ofline = true\n", "unknown setting ofline in zooproxy.toml (did you mean offline?)"),
        ('bandwidth = "fast"\n', "bandwidth in zooproxy.toml: Input should be a valid integer"),
        ('[pins]\n"torchvision://resnet5O" = "0"\n', "PINS: the entry 'torchvision://resnet5O' is refused"),
        ('lock_file = "none.lock"\n', "LOCK_FILE: "),
        ('tls_cert = "cert.pem"\n', "TLS needs both TLS_CERT and TLS_KEY"),
        ("port =\n", "zooproxy.toml is no TOML"),
    ],
)
def test_a_file_that_is_wrong_changes_nothing_and_is_named_with_what_would_be_right(
    stage: Stage, text: str, words: str
) -> None:
    stage.reload(deny_hosts=["evil.example"])
    stage.write(f"deny_hosts = []\n{text}")
    told = stage.hup("old ones stay in force")
    assert " ERROR " in told
    assert words in told
    assert stage.raw("https://evil.example/x.pth") == (403, "host-denied")


def test_what_cannot_be_taken_over_is_said_and_the_rest_is(stage: Stage) -> None:
    told = stage.reload("need a restart", transfers=7, shutdown_seconds=9, deny_hosts=["other.example"])
    assert "changed settings that need a restart: transfers, shutdown_seconds" in told
    assert stage.raw("https://other.example/x.pth") == (403, "host-denied")
    assert stage.proxy.get("/healthz").status_code == 200
    again = stage.reload("need a restart", transfers=7, shutdown_seconds=9, deny_hosts=["other.example"])
    assert "no change" in again


def test_a_new_certificate_in_the_same_files_greets_new_connections(tmp_path: Path) -> None:
    old, new = Identity.issued(tmp_path, "old"), Identity.issued(tmp_path, "new")
    with running_proxy(tmp_path / "data", **old.settings()) as proxy:
        stage = Stage(proxy, Upstream(0), tmp_path / "data")
        old.trust()  # it reads the file, which is about to be another
        for source, target in ((new.cert, old.cert), (new.key, old.key)):
            target.write_bytes(source.read_bytes())
        stage.hup("the settings were reloaded")
        address = ("127.0.0.1", int(proxy.url.rpartition(":")[2]))
        with (
            socket.create_connection(address, timeout=30) as plain,
            new.trust().wrap_socket(plain, server_hostname="127.0.0.1") as connection,
        ):
            assert connection.getpeercert(binary_form=True) == ssl.PEM_cert_to_DER_cert(new.cert.read_text())


def test_the_example_file_says_what_is_taken_over() -> None:
    assert set(Settings.model_fields) >= RELOADED
    described = example().split("\n\n")
    for key in Settings.model_fields:
        (words,) = [part for part in described if f"\n#{key} = " in part or f"\n# {key} has no default" in part]
        assert ("SIGHUP" in words) is (key in RELOADED), key


def test_names_that_were_synced_or_written_to_the_sites_file_are_read_again(stage: Stage) -> None:
    folder = stage.folder
    synced = {
        "zoo": "mmdet",
        "origin": {"package": "mmdet", "version": "9"},
        "aliases": {},
        "synonyms": {},
        "records": {},
    }
    (folder / "catalog").mkdir()
    (folder / "catalog" / "mmdet.json").write_text(
        json.dumps({**synced, "models": {"new": "https://download.openmmlab.com/new.pth"}})
    )
    (folder / "open_mmlab.json").write_text(json.dumps({"ours": "ours.pth"}))
    assert stage.proxy.get("/v1/resolve", "mmdet://new").status_code == 404
    stage.reload()
    assert stage.proxy.get("/v1/resolve", "mmdet://new").json()["layer"] == "synced"
    assert stage.proxy.get("/v1/resolve", "openmmlab://ours").json()["url"] == "local://-/ours.pth"
    (folder / "open_mmlab.json").write_text("[]")
    assert "has to map names to URLs or paths" in stage.reload("old ones stay in force")
    assert stage.proxy.get("/v1/resolve", "openmmlab://ours").status_code == 200
    (folder / "open_mmlab.json").unlink()
    (folder / "catalog" / "mmdet.json").unlink()
    stage.reload()
    for ref in ("mmdet://new", "openmmlab://ours"):
        assert stage.proxy.get("/v1/resolve", ref).status_code == 404
