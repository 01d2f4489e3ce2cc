"""Names over the wire and in the command: searched, listed, explained, looked up backwards."""

from __future__ import annotations

import hashlib
import json
import subprocess
from collections.abc import Iterator
from pathlib import Path

import httpx2
import pytest

from end_to_end.conftest import played_by
from end_to_end.proxy_process import ProxyProcess, clean_environment, running_proxy
from fakes.upstream import running_upstream
from zooproxy.names.sections import Section, section_to_json
from zygote import zygote

URL = "https://download.openmmlab.com/pretrain/third_party/resnet50_caffe-788b5fa3.pth"
SYNCED_URL = "https://download.openmmlab.com/mmyolo/yolo.pth"
REF = "openmmlab://detectron/resnet50_caffe"


@pytest.fixture(scope="module")
def digest(small_checkpoint: bytes) -> str:
    return hashlib.sha256(small_checkpoint).hexdigest()


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory, small_checkpoint: bytes, digest: str) -> Iterator[ProxyProcess]:
    """Holds ``REF``; has a synced zoo and names of its own, one of them a file of its own."""
    data = tmp_path_factory.mktemp("data")
    (data / "catalog").mkdir()
    (data / "catalog" / "mmyolo.json").write_text(section_to_json(Section("mmyolo", {}, {"yolo": SYNCED_URL})))
    (data / "open_mmlab.json").write_text(json.dumps({"mine": "models/mine.pth", "vgg16_caffe": SYNCED_URL}))
    (data / "local" / "models").mkdir(parents=True)
    (data / "local" / "models" / "mine.pth").write_bytes(small_checkpoint)
    with running_upstream() as upstream:
        upstream.put(f"/{URL.removeprefix('https://')}", small_checkpoint)
        settings = {"mirrors": played_by(upstream), "pins": {REF: digest}}
        with running_proxy(data, **settings) as proxy:
            assert proxy.get("/v1/checkpoint", REF, variant="raw").status_code == 200
            yield proxy


def command(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return zygote().run(arguments, {**clean_environment(), **settings}, Path.cwd())


def test_models_are_searched_across_zoos_best_first(proxy: ProxyProcess) -> None:
    answer = proxy.get("/v1/models", q="faster rcnn coco", task="detection", limit="3").json()
    assert answer["models"][0]["ref"] == "mmdet://faster-rcnn_r50_fpn_1x_coco"
    assert len(answer["models"]) == 3
    assert answer["total"] > 50
    model = answer["models"][0]
    assert (model["layer"], model["state"], model["tasks"]) == ("shipped", "absent", ["Object Detection"])
    assert model["metadata"]["config"].endswith(".py")


def test_models_of_a_zoo_are_listed_page_by_page(proxy: ProxyProcess) -> None:
    names, query = [], {"limit": "20"}
    while True:
        page = proxy.get("/v1/zoos/mmocr/models", **query).json()
        names += [model["name"] for model in page["models"]]
        if page["next"] is None:
            break
        query["cursor"] = page["next"]
    assert len(names) == len(set(names)) == page["total"] == 44
    assert set(names) == set(proxy.get("/v1/zoos/mmocr/map").json())


@pytest.mark.parametrize(("held", "first"), [("true", REF), ("false", "torchvision://alexnet")])
def test_models_are_filtered_by_what_is_held(proxy: ProxyProcess, held: str, first: str) -> None:
    answer = proxy.get("/v1/models", held=held).json()
    assert answer["models"][0]["ref"] == first
    assert {model["state"] for model in answer["models"]} == {"held" if held == "true" else "absent"}


def test_one_model_is_shown_by_name_and_by_alias(proxy: ProxyProcess) -> None:
    model = proxy.get("/v1/zoos/openmmlab/models/detectron/resnet50_caffe").json()
    assert (model["ref"], model["state"], model["synonyms"]) == (REF, "held", ["resnet50_caffe"])
    assert proxy.get("/v1/zoos/openmmlab/models/resnet50_caffe").json() == model


@pytest.mark.parametrize(
    ("path", "query", "status", "words"),
    [
        ("/v1/models", {"zoo": "mmdett"}, 404, "unknown-zoo"),
        ("/v1/models", {"cursor": "x"}, 400, "cursor"),
        ("/v1/models", {"limit": "0"}, 400, "limit"),
        ("/v1/models", {"query": "x"}, 400, "unknown parameter query"),
        ("/v1/models", {"held": "perhaps"}, 400, "held"),
        ("/v1/zoos/nowhere/models", {}, 404, "unknown-zoo"),
        ("/v1/zoos/open-mmlab/models/x", {}, 404, "openmmlab"),
        ("/v1/zoos/mmyolo/models/x", {}, 404, "unknown-name"),
        ("/v1/zoos/mmdet/models/faster-rcnn", {}, 404, "mmdet://"),
        ("/v1/resolve", {}, 400, "one of ref, url and sha256"),
        ("/v1/resolve", {"ref": REF, "url": URL}, 400, "one of ref, url and sha256"),
        ("/v1/resolve", {"url": "x"}, 400, "malformed-reference"),
        ("/v1/resolve", {"sha256": "0676ba6"}, 400, "8 to 64"),
    ],
)
def test_what_cannot_be_looked_up_is_a_problem_that_says_why(
    proxy: ProxyProcess, path: str, query: dict[str, str], status: int, words: str
) -> None:
    answer = proxy.get(path, **query)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert words in answer.text


def test_url_is_named_however_it_is_spelt(proxy: ProxyProcess) -> None:
    answer = proxy.get("/v1/resolve", url=URL.replace("openmmlab.com/", "OpenMMLab.com:443/")).json()
    assert answer["urls"] == [URL]
    assert answer["names"] == [{"ref": REF, "url": URL, "evidence": "url"}]


def test_digest_is_named_by_what_is_held_and_by_hints(proxy: ProxyProcess, digest: str) -> None:
    held = proxy.get("/v1/resolve", sha256=digest.upper()).json()
    assert held["names"] == [{"ref": REF, "url": URL, "evidence": "held"}]
    hinted = proxy.get("/v1/resolve", sha256="788b5fa3").json()
    assert hinted["names"] == [{"ref": REF, "url": URL, "evidence": "hint"}]
    assert proxy.get("/v1/resolve", sha256="0" * 64).json()["names"] == []


@pytest.mark.parametrize(
    "reference",
    ["torchvision://ResNet50_Weights.IMAGENET1K_V2", "mmseg://pspnet_r101-d8_4xb2-80k_cityscapes-769x769"],
)
def test_command_explains_with_and_without_a_proxy_alike(proxy: ProxyProcess, reference: str) -> None:
    alone = json.loads(command("resolve", reference, "--json").stdout)
    asked = json.loads(command("resolve", reference, "--json", ZOOPROXY=proxy.url).stdout)
    assert (alone.pop("state"), asked.pop("state")) == ("unknown", "absent")
    assert {**alone, "candidates": []} == {**asked, "candidates": []}


def test_command_asks_the_proxy_what_is_held(proxy: ProxyProcess) -> None:
    done = command("catalog", "search", "resnet50_caffe", "--zoo", "openmmlab", ZOOPROXY=proxy.url)
    assert (done.returncode, done.stderr) == (0, "")
    assert f"{REF}   held" in done.stdout.splitlines()


def test_command_lists_the_same_names_with_and_without_a_proxy(proxy: ProxyProcess) -> None:
    alone = command("catalog", "list", "mmdet")
    assert len(alone.stdout.splitlines()) == 584
    assert command("catalog", "list", "mmdet", ZOOPROXY=f"{proxy.url},direct").stdout == alone.stdout


def test_command_shows_the_proxys_suggestions(proxy: ProxyProcess) -> None:
    done = command("catalog", "show", "torchvision://resnet5O", ZOOPROXY=proxy.url)
    assert (done.returncode, done.stdout) == (1, "")
    assert "did you mean torchvision://resnet50?" in done.stderr
    assert "\n  torchvision://resnet152\n" in done.stderr


@pytest.mark.parametrize(
    ("reference", "layer", "url"),
    [
        ("mmyolo://yolo", "synced", SYNCED_URL),
        ("openmmlab://vgg16_caffe", "site", SYNCED_URL),
        ("openmmlab://mine", "site", "local://-/models/mine.pth"),
        (REF, "shipped", URL),
    ],
)
def test_resolve_tells_the_layer_that_answered(proxy: ProxyProcess, reference: str, layer: str, url: str) -> None:
    answer = proxy.get("/v1/resolve", reference).json()
    assert (answer["layer"], answer["url"]) == (layer, url)


def test_zoos_tell_their_layers(proxy: ProxyProcess) -> None:
    layers = {zoo["name"]: zoo["layers"] for zoo in proxy.get("/v1/zoos").json()}
    assert (layers["openmmlab"], layers["mmyolo"], layers["mmdet"]) == (["shipped", "site"], ["synced"], ["shipped"])


def test_a_file_of_the_sites_own_is_served_by_its_name(proxy: ProxyProcess, small_checkpoint: bytes) -> None:
    answer = proxy.get("/v1/checkpoint", "openmmlab://mine", variant="raw")
    assert (answer.status_code, answer.content) == (200, small_checkpoint)
    assert answer.headers["content-disposition"] == 'attachment; filename="mine.pth"'
    assert proxy.get("/v1/checkpoint", "local://-/models/mine.pth").status_code == 400


def test_an_administrator_puts_and_removes_a_name(proxy: ProxyProcess) -> None:
    address = f"{proxy.url}/v1/zoos/openmmlab/models/detectron2/resnet50_caffe"
    entry = {"url": SYNCED_URL, "sha256": "ab" * 32, "task": "Detection", "training_data": ["COCO"]}
    put = httpx2.put(address, json=entry, trust_env=False, timeout=30)
    assert (put.status_code, put.json()["layer"], put.json()["datasets"]) == (201, "administrator", ["COCO"])
    found = proxy.get("/v1/resolve", "openmmlab://detectron2/resnet50_caffe").json()
    assert (found["url"], found["sha256_hint"], found["layer"]) == (SYNCED_URL, "ab" * 32, "administrator")
    assert httpx2.put(address, json=entry, trust_env=False, timeout=30).status_code == 200
    assert httpx2.delete(address, trust_env=False, timeout=30).status_code == 204
    assert httpx2.delete(address, trust_env=False, timeout=30).status_code == 404
    assert proxy.get("/v1/resolve", "openmmlab://detectron2/resnet50_caffe").json()["layer"] == "shipped"


@pytest.mark.parametrize(
    ("body", "headers", "status", "words"),
    [
        ({"url": "https://elsewhere.example/x.pth"}, {}, 403, "host-not-allowed"),
        ({"url": SYNCED_URL, "colour": "red"}, {}, 400, "colour"),
        ({"url": SYNCED_URL, "sha256": "ab"}, {}, 400, "64 hexadecimal digits"),
        ({}, {}, 400, "url"),
        ({"url": SYNCED_URL}, {"Origin": "https://evil.example"}, 403, "not-from-here"),
        ({"url": SYNCED_URL}, {"Host": "evil.example"}, 403, "not-from-here"),
    ],
)
def test_a_name_that_may_not_be_put_is_a_problem(
    proxy: ProxyProcess, body: dict[str, str], headers: dict[str, str], status: int, words: str
) -> None:
    answer = httpx2.put(f"{proxy.url}/v1/zoos/mmdet/models/x", json=body, headers=headers, trust_env=False, timeout=30)
    assert (answer.status_code, answer.headers["content-type"]) == (status, "application/problem+json")
    assert words in answer.text
    assert proxy.get("/v1/zoos/mmdet/models/x").status_code == 404


def test_with_tokens_only_their_bearers_put_names(tmp_path: Path) -> None:
    with running_proxy(tmp_path, admin_tokens=["secret"]) as proxy:
        address = f"{proxy.url}/v1/zoos/mmdet/models/x"
        refused = httpx2.put(address, json={"url": SYNCED_URL}, trust_env=False, timeout=30)
        assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
        headers = {"Authorization": "Bearer secret"}
        assert (
            httpx2.put(address, json={"url": SYNCED_URL}, headers=headers, trust_env=False, timeout=30).status_code
            == 201
        )
    with running_proxy(tmp_path) as proxy:
        assert proxy.get("/v1/resolve", "mmdet://x").json()["layer"] == "administrator"
