"""References to objects, end to end: a real proxy over a real S3 service, with breaks in between."""

from __future__ import annotations

import io
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from typing import Any

import botocore.session
import pytest
from botocore.config import Config

from components.radosgw import ACCESS_KEY, SECRET_KEY, Radosgw, running_radosgw
from end_to_end.following import read_until_broken, streaming, take
from end_to_end.proxy_process import ProxyProcess, running_proxy
from fakes.authority import Authority
from fakes.relay import Relay, running_relay
from zooproxy.wire.fills import fill_id

PART = 5 << 20  # the smallest part of a multipart upload but the last
STALL_SECONDS = 1.0
_numbers = count()


@dataclass(frozen=True)
class Stage:
    """One proxy; the service under six names: signed, anonymous, with wrong keys, over TLS, through a relay, absent."""

    service: Radosgw
    relay: Relay
    proxy: ProxyProcess
    client: Any

    def put(self, body: bytes, key: str | None = None, **options: str) -> str:
        key = key or f"models/{next(_numbers)}.pth"
        self.client.put_object(Bucket="bucket", Key=key, Body=body, **options)
        return key

    def put_in_parts(self, body: bytes) -> str:
        key = f"models/{next(_numbers)}.pth"
        named = {"Bucket": "bucket", "Key": key}
        upload = self.client.create_multipart_upload(**named)["UploadId"]
        parts = []
        for number, start in enumerate(range(0, len(body), PART), start=1):
            block = body[start : start + PART]
            sent = self.client.upload_part(**named, UploadId=upload, PartNumber=number, Body=block)
            parts.append({"PartNumber": number, "ETag": sent["ETag"]})
        self.client.complete_multipart_upload(**named, UploadId=upload, MultipartUpload={"Parts": parts})
        return key

    def raw(self, ref: str) -> bytes:
        answer = self.proxy.get("/v1/checkpoint", ref, variant="raw")
        assert answer.status_code == 200, answer.text
        return answer.content

    def refusal(self, ref: str) -> tuple[int, str, int | None]:
        answer = self.proxy.get("/v1/checkpoint", ref, variant="raw")
        problem = answer.json()
        slug = problem["type"].removeprefix("urn:zooproxy:problem:")
        return answer.status_code, slug, problem.get("upstream_status")

    def fill(self, ref: str) -> dict[str, Any]:
        fill: dict[str, Any] = self.proxy.get(f"/v1/fills/{fill_id(ref)}").json()
        return fill


@pytest.fixture(scope="session")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


@pytest.fixture(scope="session")
def service(tmp_path_factory: pytest.TempPathFactory, authority: Authority) -> Iterator[Radosgw]:
    directory = tmp_path_factory.mktemp("radosgw")
    with running_radosgw(directory, authority.pem(directory / "service.pem", "127.0.0.1")) as service:
        yield service


@pytest.fixture(scope="session")
def client(service: Radosgw) -> Any:
    """botocore's own, with a bucket that only its owner reads."""
    config = Config(s3={"addressing_style": "path"}, request_checksum_calculation="when_required")
    keys = {"aws_access_key_id": ACCESS_KEY, "aws_secret_access_key": SECRET_KEY}
    session = botocore.session.get_session()
    client = session.create_client("s3", region_name="us-east-1", endpoint_url=service.url, config=config, **keys)
    client.create_bucket(Bucket="bucket")
    return client


@pytest.fixture(scope="module")
def stage(
    service: Radosgw, client: Any, authority: Authority, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    keys = {"access_key": ACCESS_KEY, "secret_key": SECRET_KEY}
    with running_relay(service.port) as relay:
        clusters = {
            "default": {"endpoint": service.url, **keys},
            "public": {"endpoint": service.url},
            "wrong": {"endpoint": service.url, "access_key": ACCESS_KEY, "secret_key": "not-the-secret"},
            "tls": {"endpoint": service.tls_url, **keys},
            "relay": {"endpoint": f"http://127.0.0.1:{relay.port}", **keys},
        }
        settings = {"ca_file": str(authority.file), "stall_seconds": str(STALL_SECONDS), "tries": "30"}
        with running_proxy(tmp_path_factory.mktemp("data"), s3=clusters, **settings) as proxy:
            yield Stage(service, relay, proxy, client)


@pytest.fixture(scope="session")
def object_of_12_mb() -> bytes:
    import torch

    file = io.BytesIO()
    torch.save({"weight": torch.arange(3_000_000.0)}, file)
    return file.getvalue()


@pytest.mark.parametrize("spelling", ["s3://bucket/", "petrel://bucket/", "tls:s3://bucket/", "relay:s3://bucket/"])
def test_an_object_is_served_under_every_spelling_of_its_reference(
    stage: Stage, small_checkpoint: bytes, spelling: str
) -> None:
    ref = spelling + stage.put(small_checkpoint)
    assert stage.raw(ref) == small_checkpoint
    assert stage.proxy.get("/v1/resolve", ref).json()["state"] == "held"
    assert stage.proxy.get("/v1/tensors", ref).status_code == 200


def test_keys_with_odd_characters_are_asked_for_as_they_are(stage: Stage, small_checkpoint: bytes) -> None:
    key = stage.put(small_checkpoint, "team a/é+ü=1&x?.pth")
    assert stage.raw(f"s3://bucket/{key}") == small_checkpoint


def test_an_anonymous_cluster_reads_what_is_public_and_nothing_else(stage: Stage, small_checkpoint: bytes) -> None:
    public = stage.put(small_checkpoint, ACL="public-read")
    assert stage.raw(f"public:s3://bucket/{public}") == small_checkpoint
    private = stage.put(small_checkpoint)
    assert stage.refusal(f"public:s3://bucket/{private}") == (502, "upstream-status", 403)


def test_wrong_keys_are_403_of_the_service_and_the_secret_is_not_told(stage: Stage, small_checkpoint: bytes) -> None:
    ref = f"wrong:s3://bucket/{stage.put(small_checkpoint)}"
    assert stage.refusal(ref) == (502, "upstream-status", 403)
    told = stage.proxy.get("/v1/checkpoint", ref).text + stage.proxy.log
    assert "SignatureDoesNotMatch" in told
    assert "not-the-secret" not in told


@pytest.mark.parametrize("ref", ["s3://bucket/absent.pth", "s3://no-such-bucket/net.pth"])
def test_an_object_or_a_bucket_that_is_not_there_is_404_of_the_service(stage: Stage, ref: str) -> None:
    assert stage.refusal(ref) == (502, "upstream-status", 404)


def test_objects_are_watched_by_their_tags(stage: Stage, small_checkpoint: bytes, object_of_12_mb: bytes) -> None:
    kept, changed = stage.put(small_checkpoint), stage.put(small_checkpoint)
    for key in (kept, changed):
        assert stage.raw(f"s3://bucket/{key}") == small_checkpoint
    stage.put(object_of_12_mb, changed)
    answer = stage.proxy.request("POST", "/v1/watch").json()
    while answer["left"]:
        time.sleep(0.02)
        answer = stage.proxy.get("/v1/watch").json()
    states = {source["url"]: source["state"] for source in answer["sources"]}
    assert (states[f"s3://bucket/{kept}"], states[f"s3://bucket/{changed}"]) == ("ok", "changed")


def test_ranges_of_a_large_object_are_served_while_it_is_fetched_and_after(
    stage: Stage, object_of_12_mb: bytes
) -> None:
    ref = f"relay:s3://bucket/{stage.put_in_parts(object_of_12_mb)}"
    stage.relay.break_once(6_000_000, wait=True)
    with streaming(stage.proxy, ref, {"Range": "bytes=5242000-5243999"}) as answer:
        assert (answer.status_code, answer.read()) == (206, object_of_12_mb[5_242_000:5_244_000])
    stage.relay.go_on()
    answer = stage.proxy.get("/v1/checkpoint", ref, {"Range": "bytes=-1000"}, variant="raw")
    assert (answer.status_code, answer.content) == (206, object_of_12_mb[-1000:])


def test_after_a_broken_connection_the_rest_is_fetched_and_not_the_whole(stage: Stage, object_of_12_mb: bytes) -> None:
    ref = f"relay:s3://bucket/{stage.put_in_parts(object_of_12_mb)}"
    stage.relay.break_once(6_000_000)
    with streaming(stage.proxy, ref) as answer:
        assert answer.read() == object_of_12_mb
    _, *later = stage.relay.sent
    assert 0 < sum(later) < len(object_of_12_mb)  # what had been read is not sent again
    assert stage.fill(ref)["attempt"] > 1


def test_a_service_that_stands_still_is_a_stall_and_the_rest_comes_when_it_wakes(
    stage: Stage, object_of_12_mb: bytes
) -> None:
    ref = f"relay:s3://bucket/{stage.put_in_parts(object_of_12_mb)}"
    stage.relay.break_once(6_000_000, wait=True)
    with streaming(stage.proxy, ref) as answer:
        blocks = answer.iter_raw()
        begun = take(answer, blocks, 1_000_000)
        with stage.service.frozen():
            stage.relay.go_on()
            while stage.fill(ref)["attempt"] < 3:  # broken once, then asked in vain
                time.sleep(0.02)
        assert begun + b"".join(blocks) == object_of_12_mb


def test_an_object_that_changes_while_it_is_fetched_is_fetched_anew(
    stage: Stage, object_of_12_mb: bytes, large_checkpoint: bytes
) -> None:
    key = stage.put_in_parts(object_of_12_mb)
    ref = f"relay:s3://bucket/{key}"
    stage.relay.break_once(6_000_000, wait=True)
    with streaming(stage.proxy, ref) as answer:
        assert stage.relay.reached.wait(30)
        stage.put(large_checkpoint, key)
        stage.relay.go_on()
        _, broken = read_until_broken(answer)
    assert broken
    assert stage.raw(ref) == large_checkpoint
