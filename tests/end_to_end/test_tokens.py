"""Tokens from the command that makes them to the calls that bear them, beside a proxy that runs all the while."""

from __future__ import annotations

import asyncio
import hashlib
import subprocess
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import httpx2
import pytest

from end_to_end.conftest import StartProxy, played_by
from end_to_end.proxy_process import ProxyProcess, clean_environment, running_proxy
from fakes.upstream import Ranged, Upstream, running_upstream
from zooproxy.cache.database import open_database
from zooproxy.cache.tokens import Tokens
from zooproxy.provide.keyring import minted
from zooproxy.serving.wrong_tokens import MOST
from zygote import zygote

NAME = "mmdet://faster-rcnn_r50_fpn_1x_coco"


def command(data_dir: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """``zooproxy token …`` over the settings that a proxy on ``data_dir`` has."""
    return zygote().run(["token", *arguments], clean_environment(data_dir=str(data_dir)), data_dir)


def made(data_dir: Path, scope: str = "read", *zoos: str) -> str:
    """As ``zooproxy token new`` makes it, in this process: starting one costs more than all the rest of a test."""
    text, token = minted(scope, zoos)

    async def add() -> None:
        async with open_database(f"sqlite:///{data_dir}/zooproxy.db") as database:
            await Tokens(database).add(token)

    asyncio.run(add())
    return text


def bearing(token: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def problem(answer: httpx2.Response) -> tuple[int, str]:
    return answer.status_code, answer.json()["type"].removeprefix("urn:zooproxy:problem:")


class Stage:
    def __init__(self, proxy: ProxyProcess, upstream: Upstream, data_dir: Path) -> None:
        self.proxy = proxy
        self.upstream = upstream
        self.data_dir = data_dir

    def warm(self, headers: dict[str, str], *refs: str) -> httpx2.Response:
        url = f"{self.proxy.url}/v1/fills"
        return httpx2.post(url, json={"refs": refs}, headers=headers, timeout=30, trust_env=False)


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory, small_checkpoint: bytes) -> Iterator[Stage]:
    data_dir = tmp_path_factory.mktemp("data")
    settings = {"reads_need_token": "true", "admin_tokens": ["chosen"], "pins": {NAME: sha256(small_checkpoint)}}
    with running_upstream() as upstream, running_proxy(data_dir, mirrors=played_by(upstream), **settings) as proxy:
        yield Stage(proxy, upstream, data_dir)


def test_a_token_works_from_its_making_to_its_revocation_without_a_restart(stage: Stage) -> None:
    new = command(stage.data_dir, "new", "--zoo", "mmdet", "--note", "node 17", "--expires", "30")
    token = new.stdout.removesuffix("\n")
    assert (new.returncode, "\n" in token) == (0, False)
    assert "not shown again" in new.stderr
    assert stage.proxy.get("/v1/zoos", headers=bearing(token)).status_code == 200
    listed = command(stage.data_dir, "ls").stdout
    (line,) = [line for line in listed.splitlines() if "node 17" in line]
    assert line.split()[:3] == [token.split("_")[1], "read", "mmdet"]
    assert " valid " in line
    assert token.split("_", 2)[2] not in listed
    done = command(stage.data_dir, "revoke", token.split("_")[1])
    assert (done.returncode, done.stdout) == (0, f"token {token.split('_')[1]} is revoked\n")
    answer = stage.proxy.get("/v1/zoos", headers=bearing(token))
    assert problem(answer) == (401, "token-required")
    assert answer.headers["www-authenticate"] == "Bearer"
    assert " revoked " in command(stage.data_dir, "ls").stdout


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (("revoke", "0123456789ab"), 1, "zooproxy token ls"),
        (("new", "--zoo", "torchvison"), 1, "torchvision"),
    ],
)
def test_what_cannot_be_is_refused_with_the_way_out(
    stage: Stage, arguments: tuple[str, ...], status: int, words: str
) -> None:
    done = command(stage.data_dir, *arguments)
    assert (done.returncode, done.stdout) == (status, "")
    assert words in done.stderr


def test_a_token_of_one_zoo_has_its_names_and_their_files(stage: Stage, small_checkpoint: bytes) -> None:
    limited = bearing(made(stage.data_dir, "fill", "mmdet", "mmseg"))
    url = stage.proxy.get("/v1/resolve", NAME, limited).json()["url"]
    stage.upstream.put(url.removeprefix("https:/"), small_checkpoint)
    answers = [
        stage.proxy.get("/v1/checkpoint", NAME, limited, variant="raw"),
        stage.proxy.get("/v1/checkpoint", url, limited, variant="raw"),
        stage.proxy.get(f"/mirror/{url.removeprefix('https://')}", headers=limited),
        stage.proxy.get(f"/v1/blobs/{sha256(small_checkpoint)}", headers=limited),
    ]
    assert [answer.content for answer in answers] == [small_checkpoint] * 4
    assert [entry["state"] for entry in stage.warm(limited, NAME, url).json()] == ["held", "held"]
    derived = stage.proxy.get("/v1/tensors", NAME, limited, dtype="bf16").json()["blob"]
    assert derived != sha256(small_checkpoint)
    assert stage.proxy.get(f"/v1/blobs/{derived}", headers=limited).status_code == 200


def test_a_token_of_one_zoo_has_nothing_else(stage: Stage, large_checkpoint: bytes) -> None:
    limited, whole = (bearing(made(stage.data_dir, "fill", *zoos)) for zoos in (("mmdet",), ()))
    other = f"https://download.pytorch.org/{uuid4()}.pth"
    stage.upstream.put(other.removeprefix("https:/"), large_checkpoint)
    answers = [
        stage.proxy.get("/v1/resolve", other, limited),
        stage.proxy.get("/v1/resolve", "torchvision://resnet50", limited),
        stage.proxy.get("/v1/checkpoint", other, limited, variant="raw"),
        stage.proxy.get(f"/mirror/{other.removeprefix('https://')}", headers=limited),
    ]
    (refused,) = stage.warm(limited, other).json()
    assert (refused["state"], refused["error"]["type"]) == ("refused", "urn:zooproxy:problem:zoo-not-allowed")
    assert other.removeprefix("https:/") not in stage.upstream.seen
    assert stage.proxy.get("/v1/checkpoint", other, whole, variant="raw").content == large_checkpoint
    answers.append(stage.proxy.get(f"/v1/blobs/{sha256(large_checkpoint)}", headers=limited))
    assert [problem(answer) for answer in answers] == [(403, "zoo-not-allowed")] * 5
    assert "mmdet" in answers[0].json()["detail"]


def test_a_token_of_one_zoo_cancels_no_fill_of_another(stage: Stage, large_checkpoint: bytes) -> None:
    limited, whole = (bearing(made(stage.data_dir, "fill", *zoos)) for zoos in (("mmdet",), ()))
    held = Ranged(large_checkpoint, hold=1_000_000)
    ref = f"https://download.pytorch.org/{uuid4()}.pth"
    stage.upstream.put(ref.removeprefix("https:/"), held)
    (started,) = stage.warm(whole, ref).json()
    assert held.reached.wait(30)
    fill = f"/v1/fills/{started['fill']['id']}"
    assert problem(stage.proxy.request("DELETE", fill, headers=limited)) == (403, "zoo-not-allowed")
    assert stage.proxy.request("DELETE", fill, headers=whole).status_code == 204
    held.open()


def test_an_address_that_tries_wrong_tokens_is_told_to_wait_and_nobody_else(stage: Stage) -> None:
    token = made(stage.data_dir, "admin")
    transport = httpx2.HTTPTransport(local_address="127.0.200.1")
    with httpx2.Client(transport=transport, trust_env=False, base_url=stage.proxy.url, timeout=30) as guesser:
        tried = [guesser.get("/v1/zoos", headers=bearing(f"guess-{number}")).status_code for number in range(MOST)]
        assert tried == [401] * MOST
        answer = guesser.get("/v1/zoos", headers=bearing("chosen"))
        assert problem(answer) == (429, "too-many-wrong-tokens")
        assert 0 < int(answer.headers["retry-after"]) <= 60
        assert guesser.get("/v1/zoos", headers=bearing(token)).status_code == 200
    assert stage.proxy.get("/v1/zoos", headers=bearing("chosen")).status_code == 200


def test_when_a_token_was_last_used_is_written_down_at_the_end_at_the_latest(
    start_proxy: StartProxy, data_dir: Path
) -> None:
    proxy = start_proxy(reads_need_token="true")
    token = made(data_dir)
    assert proxy.get("/v1/zoos", headers=bearing(token)).status_code == 200
    assert proxy.stop() == 0
    assert command(data_dir, "ls").stdout.splitlines()[1].split()[5] != "never"


def sha256(body: bytes) -> str:
    return hashlib.sha256(body).hexdigest()
