"""Derived blobs through the service: made once, served like any other."""

from __future__ import annotations

import io

import safetensors.torch
import torch

from end_to_end.conftest import StartProxy
from fakes.upstream import Upstream

REF = "https://download.pytorch.org/strided.pth"


def test_a_derived_blob_is_made_once_and_survives_a_restart(start_proxy: StartProxy, upstream: Upstream) -> None:
    value = {"w": torch.randn(4, 3).t(), "bn.running_mean": torch.randn(3)}
    file = io.BytesIO()
    torch.save(value, file)
    upstream.put("/download.pytorch.org/strided.pth", file.getvalue())
    proxy = start_proxy()
    first = proxy.get("/v1/checkpoint", REF, dtype="bf16")
    ours = safetensors.torch.load(first.content)
    assert torch.equal(ours["w"], value["w"].bfloat16())
    assert torch.equal(ours["bn.running_mean"], value["bn.running_mean"])
    all_of_it = proxy.get("/v1/checkpoint", REF, dtype="bf16", buffers="convert")
    assert safetensors.torch.load(all_of_it.content)["bn.running_mean"].dtype is torch.bfloat16
    assert proxy.get("/v1/tensors", REF, dtype="bf16", buffers="convert").json()["tensors"][1]["dtype"] == "bfloat16"
    index = proxy.get("/v1/tensors", REF, dtype="fp16").json()
    assert index["tensors"][0]["dtype"] == "float16"
    assert index["blob"] != proxy.get("/v1/resolve", REF).json()["sha256"]
    assert proxy.get(f"/v1/blobs/{index['blob']}").status_code == 200
    proxy.stop()
    again = start_proxy().get("/v1/checkpoint", REF, dtype="bf16")
    assert (again.content, again.headers["etag"]) == (first.content, first.headers["etag"])
    assert upstream.seen == ["/download.pytorch.org/strided.pth"]


def test_an_index_told_again_leads_to_no_blob_that_has_left(start_proxy: StartProxy, upstream: Upstream) -> None:
    file = io.BytesIO()
    torch.save({"w": torch.randn(4, 3)}, file)
    upstream.put("/download.pytorch.org/strided.pth", file.getvalue())
    proxy = start_proxy()
    plain = proxy.get("/v1/tensors", REF, digests="wait")
    halves = proxy.get("/v1/tensors", REF, dtype="bf16", digests="wait")
    for digest in (halves.json()["blob"], plain.json()["blob"]):
        for query in ({}, {"dtype": "bf16"}):
            assert proxy.get("/v1/tensors", REF, **query).content == (halves if query else plain).content
        assert proxy.request("DELETE", f"/v1/cache/blobs/{digest}").status_code == 200
        assert proxy.get("/v1/tensors", REF, dtype="bf16", digests="wait").content == halves.content
        assert proxy.get(f"/v1/blobs/{digest}").status_code == 200
    assert upstream.seen == ["/download.pytorch.org/strided.pth"] * 2
