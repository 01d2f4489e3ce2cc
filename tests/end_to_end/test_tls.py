"""The proxy over TLS of its own: bytes, clients, health, and who is not let in."""

from __future__ import annotations

import hashlib
import socket
import ssl
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx2
import pytest

from components.programs import program
from end_to_end.conftest import played_by
from end_to_end.proxy_process import ProxyProcess, clean_environment, running_proxy
from fakes.upstream import Upstream, running_upstream
from zooproxy.errors import SettingsError
from zooproxy.serving.settings import Settings
from zooproxy.serving.wiring import check_settings
from zygote import zygote

URL = "https://download.pytorch.org/net.pth"
LOAD = "import sys, zooproxy; print(zooproxy.load(sys.argv[1])['weight'].sum().item())"


@dataclass(frozen=True)
class Identity:
    """A self-signed certificate for 127.0.0.1, and its key."""

    cert: Path
    key: Path

    @classmethod
    def issued(cls, folder: Path, name: str) -> Identity:
        one = cls(folder / f"{name}.pem", folder / f"{name}.key")
        command = f"req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -days 2 -subj /CN={name}"
        files = ["-keyout", str(one.key), "-out", str(one.cert), "-addext", "subjectAltName=IP:127.0.0.1"]
        subprocess.run([program("openssl"), *command.split(), *files], check=True, capture_output=True)
        return one

    def trust(self, client: Identity | None = None) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.cert))
        if client is not None:
            context.load_cert_chain(client.cert, client.key)
        return context

    def settings(self) -> dict[str, str]:
        return {"tls_cert": str(self.cert), "tls_key": str(self.key)}


@dataclass(frozen=True)
class Stage:
    proxy: ProxyProcess
    identity: Identity
    upstream: Upstream


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, large_checkpoint: bytes) -> Iterator[Stage]:
    folder = tmp_path_factory.mktemp("data")
    identity = Identity.issued(folder, "proxy")
    with (
        running_upstream() as upstream,
        running_proxy(folder / "data", mirrors=played_by(upstream), **identity.settings()) as proxy,
    ):
        upstream.put(URL.removeprefix("https:/"), large_checkpoint)
        yield Stage(proxy, identity, upstream)


def raw_until_held(stage: Stage, client: httpx2.Client) -> Iterator[bytes]:
    """Each body until one came from the cache: a row is written a moment after the last byte of a fill has left."""
    while True:
        answer = client.get(f"{stage.proxy.url}/v1/checkpoint", params={"ref": URL, "variant": "raw"})
        yield answer.content
        if answer.headers["zooproxy-state"] == "held":
            return


def test_a_checkpoint_arrives_whole_while_it_fills_and_when_it_is_held(stage: Stage, large_checkpoint: bytes) -> None:
    assert stage.proxy.url.startswith("https://")
    with httpx2.Client(verify=stage.identity.trust(), trust_env=False, timeout=30) as client:
        assert set(raw_until_held(stage, client)) == {large_checkpoint}
        blob = f"{stage.proxy.url}/v1/blobs/{hashlib.sha256(large_checkpoint).hexdigest()}"
        part = client.get(blob, headers={"Range": "bytes=1000000-2999999"})
        assert part.content == large_checkpoint[1_000_000:3_000_000]


def exchanged(stage: Stage, request: bytes) -> tuple[bytes, bytes]:
    """What came over the wire in answer to ``request``, as it was and decrypted."""
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = stage.identity.trust().wrap_bio(incoming, outgoing, server_hostname="127.0.0.1")
    wire, plain = bytearray(), bytearray()
    with socket.create_connection(("127.0.0.1", int(stage.proxy.url.rpartition(":")[2])), timeout=30) as connection:

        def until_done(step: Callable[[], Any]) -> Any:
            while True:
                try:
                    return step()
                except ssl.SSLWantReadError:
                    connection.sendall(outgoing.read())
                    block = connection.recv(1 << 18)
                    assert block, "it ended without a word"
                    wire.extend(block)
                    incoming.write(block)

        until_done(tls.do_handshake)
        tls.write(request)
        while block := until_done(lambda: tls.read(1 << 20)):
            plain += block
    return bytes(wire), bytes(plain)


def test_no_byte_of_a_file_crosses_the_wire_in_the_clear(stage: Stage, large_checkpoint: bytes) -> None:
    """What ``sendfile`` put into the socket would stand there as it is, between the records."""
    digest = hashlib.sha256(large_checkpoint).hexdigest()
    with httpx2.Client(verify=stage.identity.trust(), trust_env=False, timeout=30) as client:
        assert set(raw_until_held(stage, client)) == {large_checkpoint}
    request = f"GET /v1/blobs/{digest} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    wire, plain = exchanged(stage, request.encode())
    assert plain.endswith(large_checkpoint)
    assert len(wire) > len(large_checkpoint)
    for start in range(0, len(large_checkpoint) - 4096, 500_000):
        assert large_checkpoint[start : start + 4096] not in wire


def test_the_client_loads_over_https_with_the_authority_named_in_ssl_cert_file(stage: Stage) -> None:
    done = subprocess.run(
        [sys.executable, "-c", LOAD, URL],
        env={**clean_environment(), "ZOOPROXY": stage.proxy.url, "SSL_CERT_FILE": str(stage.identity.cert)},
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) == pytest.approx(499_999_500_000.0, rel=1e-3)


def test_healthy_asks_over_tls_and_takes_no_other_certificate(stage: Stage, tmp_path: Path) -> None:
    port = stage.proxy.url.rpartition(":")[2]
    for identity, status in ((stage.identity, 0), (Identity.issued(tmp_path, "another"), 1)):
        done = zygote().run(["healthy"], clean_environment(port=port, **identity.settings()), tmp_path)
        assert (done.returncode, "does not answer" in done.stderr) == (status, status == 1)


def test_only_clients_of_the_authority_are_taken(tmp_path: Path) -> None:
    own, client, stranger = (Identity.issued(tmp_path, name) for name in ("proxy", "client", "stranger"))
    authorities = tmp_path / "authorities.pem"
    authorities.write_text(own.cert.read_text() + client.cert.read_text())
    with running_proxy(tmp_path / "data", **own.settings(), tls_client_ca=str(authorities)) as proxy:
        for shown, taken in ((client, True), (own, True), (stranger, False), (None, False)):
            with httpx2.Client(verify=own.trust(shown), trust_env=False, timeout=30) as asking:
                try:
                    assert asking.get(f"{proxy.url}/healthz").status_code == 200
                    assert taken
                except httpx2.TransportError:
                    assert not taken


@pytest.mark.parametrize("fault", ["one of two", "not there", "no PEM", "another's key", "no authority"])
def test_tls_that_cannot_work_is_refused_with_the_setting(tmp_path: Path, fault: str) -> None:
    own = Identity.issued(tmp_path, "proxy")
    settings = own.settings()
    if fault == "one of two":
        del settings["tls_key"]
    elif fault == "not there":
        settings["tls_cert"] = str(tmp_path / "none.pem")
    elif fault == "no PEM":
        own.cert.write_text("nothing")
    elif fault == "another's key":
        settings["tls_key"] = str(Identity.issued(tmp_path, "other").key)
    else:
        own.key.with_name("empty.pem").write_text("")
        settings["tls_client_ca"] = str(own.key.with_name("empty.pem"))
    with pytest.raises(SettingsError, match=r"^TLS"):
        check_settings(Settings(data_dir=tmp_path, **{key: Path(file) for key, file in settings.items()}))
