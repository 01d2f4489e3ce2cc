"""``zooproxy publish`` on one node, and the model on another: with zooproxy.load and with mmengine's own registry."""

from __future__ import annotations

import io
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import torch

import zooproxy
from end_to_end.proxy_process import ProxyProcess, running_proxy
from zooproxy.cli import main
from zooproxy.client.hooks import install, uninstall
from zooproxy.client.publishing import publish, withdraw
from zooproxy.client.settings import ClientSettings
from zooproxy.digest import Sha256
from zooproxy.errors import ProxyRefused, ProxyUnreachable
from zooproxy.names.lock import lock_at
from zooproxy.names.published import PublishedName

NAME = PublishedName("site", "team/model")


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProxyProcess]:
    with running_proxy(tmp_path_factory.mktemp("data"), offline="true") as proxy:
        yield proxy


@pytest.fixture
def node(site: ProxyProcess, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a checkpoint that mmengine's own runner could have written."""
    monkeypatch.setenv("ZOOPROXY", site.url)
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "net.pth", 1.0)
    return tmp_path


def write(path: Path, number: float) -> Sha256:
    torch.save({"state_dict": {"w": torch.full((300_000,), number)}, "meta": {"epoch": 12}, "optimizer": {}}, path)
    return Sha256.of(path.read_bytes())


def test_what_one_node_publishes_loads_on_another(
    node: Path, mmengine_checkpoint: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    digest = write(node / "net.pth", 1.0)
    assert main(["publish", "net.pth", "team/model", "--tag", "v1"]) == 0
    assert capsys.readouterr().out == f"site://team/model@v1  {digest}\nsite://team/model  {digest}\n"
    monkeypatch.setenv("ZOOPROXY_CACHE_DIR", str(node / "another node"))
    loaded = zooproxy.load("site://team/model@v1")
    assert loaded["meta"] == {"epoch": 12}
    assert loaded["state_dict"]["w"][:2].tolist() == [1, 1]
    install(["mmengine.runner"])
    try:
        theirs = mmengine_checkpoint.CheckpointLoader.load_checkpoint("site://team/model", map_location="cpu")
    finally:
        uninstall(["mmengine.runner"])
    assert theirs["state_dict"]["w"].equal(loaded["state_dict"]["w"])
    assert main(["pull", "site://team/model@latest"]) == 0
    assert Sha256.of((node / "net.pth").read_bytes()) == digest


def test_a_tag_stays_and_the_name_moves_on(node: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["publish", "net.pth", "site://team/moving@v1"]) == 0
    write(node / "net.pth", 2.0)
    assert main(["publish", "net.pth", "team/moving", "--tag", "v1"]) == 1
    assert "tags do not move" in capsys.readouterr().err
    assert main(["publish", "net.pth", "team/moving"]) == 0
    assert zooproxy.load("site://team/moving")["state_dict"]["w"][0].item() == 2
    assert zooproxy.load("site://team/moving@v1")["state_dict"]["w"][0].item() == 1
    assert main(["publish", "net.pth", "team/moving", "--tag", "v1", "--force"]) == 0
    assert zooproxy.load("site://team/moving@v1")["state_dict"]["w"][0].item() == 2


def test_what_is_withdrawn_is_unknown(node: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["publish", "net.pth", "team/gone", "--tag", "v1"]) == 0
    assert main(["publish", "--rm", "team/gone", "--tag", "v1"]) == 0
    assert capsys.readouterr().out.endswith("withdrawn: site://team/gone@v1\n")
    with pytest.raises(KeyError):
        zooproxy.load("site://team/gone@v1")
    assert main(["publish", "--rm", "site://team/gone"]) == 0
    assert main(["publish", "--rm", "team/gone"]) == 1
    assert "nothing is published under this name" in capsys.readouterr().err


def test_a_published_model_is_locked_like_any_other(node: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    digest = write(node / "net.pth", 3.0)
    assert main(["publish", "net.pth", "team/locked", "--tag", "v1"]) == 0
    assert main(["lock", "site://team/locked@v1"]) == 0
    assert lock_at(Path("weights.lock")).entries[0].sha256 == digest
    monkeypatch.setenv("ZOOPROXY_LOCK", "weights.lock")
    assert zooproxy.load("site://team/locked@v1")["state_dict"]["w"][0].item() == 3


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["net.pth", "model"], "team/model"),
        (["net.pth", "team/model", "--tag", "latest"], "no tag"),
        (["net.pth", "team/model", "--scheme", "mmdett"], "there is no zoo"),
        (["absent.pth", "team/model"], "absent.pth cannot be read"),
        (["page.html", "team/model"], "this is no checkpoint"),
        (["team/model"], "--rm takes a name"),
        (["net.pth", "team/model", "--rm"], "--rm takes a name"),
    ],
)
def test_what_cannot_be_published_is_refused_in_words(
    node: Path, arguments: list[str], words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    (node / "page.html").write_text("<html>log in</html>")
    assert main(["publish", *arguments]) == 1
    assert words in capsys.readouterr().err


@pytest.mark.parametrize("proxies", ["direct", "off"])
def test_there_has_to_be_a_proxy_to_publish_to(
    node: Path, proxies: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ZOOPROXY", proxies)
    assert main(["publish", "net.pth", "team/model"]) == 1
    assert "there is none to publish to" in capsys.readouterr().err


def test_the_bearer_of_a_token_publishes_and_others_are_told_before_they_send(tmp_path: Path) -> None:
    file = tmp_path / "net.pth"
    digest = write(file, 4.0)
    told: list[int] = []
    with running_proxy(tmp_path / "data", offline="true", admin_tokens=["secret-of-the-site"]) as proxy:
        with pytest.raises(ProxyRefused) as refused:
            publish(file, NAME, ClientSettings((proxy.url,)), report=lambda _, done, __: told.append(done))
        assert (refused.value.status, told) == (401, [])
        settings = ClientSettings((proxy.url,), "secret-of-the-site")
        published = publish(file, NAME, settings, report=lambda _, done, __: told.append(done))
    assert (published.refs, published.sha256) == (("site://team/model",), digest)
    assert told[-1] == file.stat().st_size
    assert len(told) == 2


def test_a_proxy_that_cannot_be_reached_is_told(node: Path, dead_proxy: str, settings_for: Any) -> None:
    with pytest.raises(ProxyUnreachable):
        publish(Path("net.pth"), NAME, settings_for(dead_proxy))
    with pytest.raises(ProxyUnreachable):
        withdraw(NAME, settings_for(dead_proxy))


def test_a_proxy_that_breaks_off_in_an_upload_is_told(node: Path, settings_for: Any) -> None:
    class Quitter(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Length", "2")
            self.end_headers()
            self.wfile.write(b"{}")

        def do_PUT(self) -> None:
            self.close_connection = True

        def log_message(self, *_: object) -> None:
            """Silence."""

    with HTTPServer(("127.0.0.1", 0), Quitter) as server:
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        with pytest.raises(ProxyUnreachable, match="broke off"):
            publish(Path("net.pth"), NAME, settings_for(f"http://127.0.0.1:{server.server_port}"))
        server.shutdown()


def test_a_file_that_changes_while_it_is_sent_is_not_published(site: ProxyProcess, tmp_path: Path) -> None:
    file = tmp_path / "net.pth"
    write(file, 5.0)

    def change(_: str, done: int, total: int | None) -> None:
        data = bytearray(file.read_bytes())
        data[-100] ^= 1
        file.write_bytes(bytes(data))

    with pytest.raises(ProxyRefused) as refused:
        publish(file, PublishedName("site", "team/changing"), ClientSettings((site.url,)), report=change)
    assert refused.value.problem == "upload-mismatch"
    answer = site.get("/v1/resolve", "site://team/changing")
    assert answer.status_code == 404


def test_files_in_memory_are_what_is_sent(site: ProxyProcess, tmp_path: Path) -> None:
    buffer = io.BytesIO()
    torch.save({"w": torch.zeros(2)}, buffer)
    (tmp_path / "tiny.pth").write_bytes(buffer.getvalue())
    publish(tmp_path / "tiny.pth", PublishedName("site", "team/tiny"), ClientSettings((site.url,)))
    raw = site.get("/v1/checkpoint", "site://team/tiny", variant="raw")
    assert raw.content == buffer.getvalue()
    assert 'filename="tiny.pth"' in raw.headers["content-disposition"]
