"""The wire as clients meet it: methods, conditions, ranges, headers, look-ups, the service's own description."""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path

import pytest

from end_to_end.conftest import StartProxy, played_by
from end_to_end.proxy_process import ProxyProcess, running_proxy
from fakes.upstream import Upstream, running_upstream

REF = "https://download.pytorch.org/net.pth"
PATH = "/download.pytorch.org/net.pth"
CHECKPOINTS = Path(__file__).parents[1] / "data" / "checkpoints"


@pytest.fixture(scope="module")
def proxy(tmp_path_factory: pytest.TempPathFactory, small_checkpoint: bytes) -> Iterator[ProxyProcess]:
    """Holds ``REF``; has an upstream that serves the small checkpoint under ``cold`` names too."""
    with running_upstream() as upstream:
        upstream.put(PATH, small_checkpoint)
        for file in CHECKPOINTS.glob("*.pth"):
            upstream.put(f"/download.pytorch.org/real/{file.name}", file.read_bytes())
        with running_proxy(tmp_path_factory.mktemp("data"), mirrors=played_by(upstream)) as proxy:
            assert proxy.get("/v1/checkpoint", REF, variant="raw").status_code == 200
            yield proxy


def test_a_raw_reply_carries_its_digest_as_tag_and_as_repr_digest(proxy: ProxyProcess, small_checkpoint: bytes) -> None:
    answer = proxy.get("/v1/checkpoint", REF, variant="raw")
    digest = hashlib.sha256(small_checkpoint)
    assert answer.content == small_checkpoint
    assert answer.headers["etag"] == f'"{digest.hexdigest()}"'
    assert answer.headers["repr-digest"] == f"sha-256=:{base64.b64encode(digest.digest()).decode()}:"
    assert answer.headers["content-disposition"] == 'attachment; filename="net.pth"'
    assert answer.headers["content-type"] == "application/octet-stream"
    assert answer.headers["accept-ranges"] == "bytes"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "content-encoding" not in answer.headers


def digest_field(data: bytes) -> str:
    return f"sha-256=:{base64.b64encode(hashlib.sha256(data).digest()).decode()}:"


def test_a_variant_carries_its_digest_where_it_is_wanted(proxy: ProxyProcess) -> None:
    wanted = {"Want-Repr-Digest": "sha-512=3, sha-256=10"}
    for form in ("safetensors", "pth"):
        whole = proxy.get("/v1/checkpoint", REF, wanted, format=form)
        assert whole.headers["repr-digest"] == digest_field(whole.content)
        part = proxy.get("/v1/checkpoint", REF, {**wanted, "Range": "bytes=0-9"}, format=form)
        assert (part.status_code, part.headers["repr-digest"]) == (206, digest_field(whole.content))
        assert "repr-digest" not in proxy.get("/v1/checkpoint", REF, format=form).headers


@pytest.mark.parametrize(
    ("wish", "told"), [("sha-256=0", False), ("sha-256=1", True), ("sha-512=1", True), ("sha-256=11, nonsense", True)]
)
def test_a_raw_reply_leaves_its_digest_out_only_for_those_who_refuse_it(
    proxy: ProxyProcess, wish: str, told: bool
) -> None:
    answer = proxy.get("/v1/checkpoint", REF, {"Want-Repr-Digest": wish}, variant="raw")
    assert ("repr-digest" in answer.headers) is told


@pytest.mark.parametrize("variant", ["raw", "model"])
def test_head_is_get_without_the_body(proxy: ProxyProcess, variant: str) -> None:
    head = proxy.request("HEAD", "/v1/checkpoint", REF, variant=variant)
    get = proxy.get("/v1/checkpoint", REF, variant=variant)
    assert head.status_code == 200
    assert head.content == b""
    assert {**head.headers, "date": ""} == {**get.headers, "date": ""}
    assert int(head.headers["content-length"]) == len(get.content)


@pytest.mark.parametrize("variant", ["raw", "model"])
def test_parts_put_together_are_the_whole(proxy: ProxyProcess, variant: str) -> None:
    whole = proxy.get("/v1/checkpoint", REF, variant=variant)
    size = len(whole.content)
    cuts = [0, 1, 8, 100, size - 1, size]
    parts = []
    for start, end in pairwise(cuts):
        part = proxy.get("/v1/checkpoint", REF, {"Range": f"bytes={start}-{end - 1}"}, variant=variant)
        assert part.status_code == 206
        assert part.headers["content-range"] == f"bytes {start}-{end - 1}/{size}"
        assert part.headers["etag"] == whole.headers["etag"]
        parts.append(part.content)
    assert b"".join(parts) == whole.content


@pytest.mark.parametrize("variant", ["raw", "model"])
def test_conditions_are_answered_with_304_200_and_416(proxy: ProxyProcess, variant: str) -> None:
    whole = proxy.get("/v1/checkpoint", REF, variant=variant)
    tag = whole.headers["etag"]
    known = proxy.get("/v1/checkpoint", REF, {"If-None-Match": tag}, variant=variant)
    assert (known.status_code, known.content, known.headers["etag"]) == (304, b"", tag)
    changed = proxy.get("/v1/checkpoint", REF, {"Range": "bytes=0-1", "If-Range": '"other"'}, variant=variant)
    assert (changed.status_code, changed.content) == (200, whole.content)
    beyond = proxy.get("/v1/checkpoint", REF, {"Range": f"bytes={len(whole.content)}-"}, variant=variant)
    assert (beyond.status_code, beyond.headers["content-range"]) == (416, f"bytes */{len(whole.content)}")


def test_a_blob_is_served_by_its_digest_and_for_ever(proxy: ProxyProcess, small_checkpoint: bytes) -> None:
    digest = hashlib.sha256(small_checkpoint).hexdigest()
    answer = proxy.get(f"/v1/blobs/{digest}", headers={"Range": "bytes=2-5"})
    assert (answer.status_code, answer.content) == (206, small_checkpoint[2:6])
    assert "immutable" in answer.headers["cache-control"]
    assert proxy.request("HEAD", f"/v1/blobs/{digest}").headers["content-length"] == str(len(small_checkpoint))


def test_head_of_what_is_not_held_answers_at_once_and_starts_no_fill(
    start_proxy: StartProxy, upstream: Upstream, small_checkpoint: bytes
) -> None:
    upstream.put(PATH, small_checkpoint)
    proxy = start_proxy()
    head = proxy.request("HEAD", "/v1/checkpoint", REF, variant="raw")
    assert (head.status_code, head.headers["zooproxy-state"]) == (200, "absent")
    assert "content-length" not in head.headers
    assert upstream.seen == []


@pytest.mark.parametrize("name", ["lpips_v0.1_alex.pth", "lpips_v0.0_vgg.pth", "mmcv_model.pth"])
def test_published_files_go_through_raw_byte_for_byte(proxy: ProxyProcess, name: str) -> None:
    answer = proxy.get("/v1/checkpoint", f"https://download.pytorch.org/real/{name}", variant="raw")
    assert answer.content == (CHECKPOINTS / name).read_bytes()


@pytest.mark.parametrize("name", ["lpips_v0.1_alex.pth", "lpips_v0.0_vgg.pth", "mmcv_model.pth"])
def test_a_published_file_loads_as_model(proxy: ProxyProcess, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    import torch

    import zooproxy
    from end_to_end.resnet import assert_bit_equal

    monkeypatch.setenv("ZOOPROXY", proxy.url)
    published = torch.load(CHECKPOINTS / name, map_location="cpu", weights_only=True)
    loaded = zooproxy.load(f"https://download.pytorch.org/real/{name}")
    assert type(loaded) is type(published)
    assert_bit_equal(loaded, published)


@pytest.mark.parametrize("variant", ["model", "full"])
@pytest.mark.parametrize("name", ["lpips_v0.1_alex.pth", "mmcv_model.pth"])
def test_a_published_file_as_pth_loads_with_plain_torch(proxy: ProxyProcess, name: str, variant: str) -> None:
    import io

    import torch

    from end_to_end.resnet import assert_bit_equal

    ref = f"https://download.pytorch.org/real/{name}"
    answer = proxy.get("/v1/checkpoint", ref, variant=variant, format="pth")
    assert answer.headers["content-disposition"].endswith('.pth"')
    published = torch.load(CHECKPOINTS / name, map_location="cpu", weights_only=True)
    assert_bit_equal(torch.load(io.BytesIO(answer.content), weights_only=True), published)
    end = proxy.get("/v1/checkpoint", ref, variant=variant, format="pth", headers={"Range": "bytes=-100"})
    assert (end.status_code, end.content) == (206, answer.content[-100:])


def test_resolve_explains_a_name(proxy: ProxyProcess) -> None:
    answer = proxy.get("/v1/resolve", "modelzoo://resnet50").json()
    assert answer["ref"] == "modelzoo://resnet50"
    assert answer["canonical"] == "torchvision://resnet50"
    assert (answer["zoo"], answer["name"]) == ("torchvision", "resnet50")
    assert answer["url"] == "https://download.pytorch.org/models/resnet50-0676ba61.pth"
    assert [url.rpartition("/")[2] for url in answer["candidates"]] == ["resnet50-0676ba61.pth"]
    assert answer["sha256_hint"] == "0676ba61"
    assert (answer["sha256"], answer["size"], answer["state"]) == (None, None, "absent")
    assert "torchvision://" in answer["warnings"][0]


def test_resolve_tells_what_is_held(proxy: ProxyProcess, small_checkpoint: bytes) -> None:
    answer = proxy.get("/v1/resolve", REF).json()
    assert answer["state"] == "held"
    assert (answer["sha256"], answer["size"]) == (hashlib.sha256(small_checkpoint).hexdigest(), len(small_checkpoint))


def test_warnings_travel_in_the_header_too(proxy: ProxyProcess) -> None:
    from zooproxy.wire.routes import parse_warnings

    answer = proxy.get("/v1/resolve", "open-mmlab://resnet50_caffe")
    assert parse_warnings(answer.headers["zooproxy-warning"]) == answer.json()["warnings"]


def test_zoo_maps_are_mmengines_own_and_carry_a_tag(proxy: ProxyProcess) -> None:
    from mmengine.runner.checkpoint import get_deprecated_model_names, get_external_models, get_mmcls_models

    maps = {
        "/v1/zoos/openmmlab/map": get_external_models(),
        "/v1/zoos/openmmlab/aliases": get_deprecated_model_names(),
        "/v1/zoos/mmcls/map": get_mmcls_models(),
    }
    for path, expected in maps.items():
        answer = proxy.get(path)
        assert list(answer.json().items()) == list(expected.items())
        again = proxy.get(path, headers={"If-None-Match": answer.headers["etag"]})
        assert again.status_code == 304


def test_zoos_and_aliases_are_listed(proxy: ProxyProcess) -> None:
    zoos = {zoo["name"]: zoo for zoo in proxy.get("/v1/zoos").json()}
    assert {"torchvision": 340, "mmcls": 57, "mmdet": 584}.items() <= {
        name: zoo["models"] for name, zoo in zoos.items()
    }.items()
    assert zoos["openmmlab"]["schemes"] == ["openmmlab", "open-mmlab"]
    assert proxy.get("/v1/zoos/openmmlab/aliases").json()["resnet50_caffe"] == "detectron/resnet50_caffe"


def test_it_lives_and_is_ready(proxy: ProxyProcess) -> None:
    assert (proxy.get("/healthz").status_code, proxy.get("/healthz").text) == (200, "ok\n")
    assert (proxy.get("/readyz").status_code, proxy.get("/readyz").text) == (200, "ready\n")


def test_the_openapi_document_describes_every_route_with_examples(proxy: ProxyProcess) -> None:
    document = proxy.get("/openapi.json").json()
    assert set(document["paths"]) == {
        "/v1/resolve",
        "/v1/zoos",
        "/v1/zoos/{zoo}/map",
        "/v1/zoos/{zoo}/aliases",
        "/v1/zoos/{zoo}/models",
        "/v1/zoos/{zoo}/models/{name}",
        "/v1/zoos/{zoo}/files/{name}",
        "/v1/models",
        "/v1/checkpoint",
        "/v1/tensors",
        "/v1/blobs/{sha256}",
        "/mirror/{host}/{path}",
        "/v1/fills",
        "/v1/fills/{id}",
        "/v1/events",
        "/v1/cache/accepted",
        "/v1/cache/pins",
        "/v1/cache",
        "/v1/cache/blobs",
        "/v1/cache/blobs/{sha256}",
        "/v1/cache/gc",
        "/v1/audit",
        "/v1/watch",
        "/healthz",
        "/readyz",
    }
    operations = [(path, one) for path, methods in document["paths"].items() for one in methods.values()]
    for path, operation in operations:
        assert operation["summary"], path
        for parameter in operation.get("parameters", []):
            assert parameter["name"] in {"variant", "format"} or "example" in json.dumps(parameter), parameter
    assert proxy.get("/docs").status_code == 200
