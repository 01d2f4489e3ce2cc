"""safetensors files read as checkpoints, and refused where the reference implementation refuses them."""

from __future__ import annotations

import json

import pytest
import safetensors
import safetensors.torch
import torch

from formats.checkpoint_files import assert_same, index_of, rebuilt, rendered
from zooproxy.errors import FormatError, LimitExceeded, MalformedCheckpoint, UnsupportedFormat
from zooproxy.formats import limits
from zooproxy.formats.safetensors_writer import safetensors_rendition
from zooproxy.formats.variants import select_model


def written(header: object, data: bytes = bytes(8)) -> bytes:
    head = header if isinstance(header, bytes) else json.dumps(header).encode()
    return len(head).to_bytes(8, "little") + head + data


def entry(begin: int = 0, end: int = 8, dtype: str = "F32", shape: object = (2,)) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end]}


def test_it_reads_bit_equal():
    value = {
        "b": torch.randn(2, 3),
        "a": torch.arange(5),
        "h": torch.ones(3).bfloat16(),
        "empty": torch.empty(0, 2),
        "scalar": torch.tensor(2.5),
        "bool": torch.tensor([True, False]),
    }
    data = safetensors.torch.save(value, {"format": "pt"})
    index = index_of(data)
    assert (index.container, index.kind, index.dropped) == ("safetensors", "state_dict", ())
    read = rebuilt(index, data)
    assert_same({name: read[name] for name in value}, value)


def test_a_rendition_of_a_rendition_is_read_again():
    data = safetensors.torch.save({"b": torch.randn(2, 3), "a": torch.arange(5)})
    once = rendered(safetensors_rendition(select_model(index_of(data), recipe=None, prefix=None)), data)
    assert_same(rebuilt(index_of(once), once)["b"], safetensors.torch.load(data)["b"])


REFUSED = {
    "a hole": (written({"a": entry(), "b": entry(16, 24)}, bytes(24)), MalformedCheckpoint),
    "a hole at the start": (written({"a": entry(8, 16)}, bytes(16)), MalformedCheckpoint),
    "an overlap": (written({"a": entry(), "b": entry(4, 12)}, bytes(12)), MalformedCheckpoint),
    "one over another": (written({"a": entry(), "b": entry()}), MalformedCheckpoint),
    "trailing bytes": (written({"a": entry()}, bytes(9)), MalformedCheckpoint),
    "cut short": (written({"a": entry()}, bytes(7)), MalformedCheckpoint),
    "metadata of numbers": (written({"__metadata__": {"a": 1}, "a": entry()}), MalformedCheckpoint),
    "metadata that is a list": (written({"__metadata__": [], "a": entry()}), MalformedCheckpoint),
    "an unknown dtype": (written({"a": entry(dtype="F6_E2M3")}), UnsupportedFormat),
    "a dtype that is a list": (written({"a": {**entry(), "dtype": []}}), UnsupportedFormat),
    "another shape": (written({"a": entry(shape=[3])}), MalformedCheckpoint),
    "a negative shape": (written({"a": entry(shape=[-1, -2])}), MalformedCheckpoint),
    "a boolean shape": (written({"a": entry(shape=[True, 2])}), MalformedCheckpoint),
    "a shape of floats": (written({"a": entry(shape=[2.0])}), MalformedCheckpoint),
    "a shape beyond 63 bits": (written({"a": entry(shape=[2**63, 0], end=0)}, b""), MalformedCheckpoint),
    "too many dimensions": (written({"a": entry(shape=[1] * 65, end=4)}, bytes(4)), MalformedCheckpoint),
    "three offsets": (written({"a": {**entry(), "data_offsets": [0, 8, 9]}}), MalformedCheckpoint),
    "offsets backwards": (written({"a": entry(8, 0)}), MalformedCheckpoint),
    "a name twice": (
        written(f'{{"a": {json.dumps(entry())}, "a": {json.dumps(entry())}}}'.encode()),
        MalformedCheckpoint,
    ),
    "an entry too few": (written({"a": {"dtype": "F32", "shape": [2]}}), MalformedCheckpoint),
    "an entry that is a number": (written({"a": 3}), MalformedCheckpoint),
    "no object": (written(b"{]"), MalformedCheckpoint),
    "deep": (written(b'{"a":' + b"[" * 200_000), MalformedCheckpoint),
    "a name beyond the limit": (written({"n" * 600: entry()}), LimitExceeded),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_header_that_lies_is_refused(case):
    data, error = REFUSED[case]
    with pytest.raises(error):
        index_of(data)


OURS_ALONE = {"too many dimensions", "a name twice", "a shape beyond 63 bits"}


@pytest.mark.parametrize(
    "case", [case for case, (_, error) in REFUSED.items() if error is MalformedCheckpoint and case not in OURS_ALONE]
)
def test_the_reference_implementation_refuses_the_same(case):
    with pytest.raises(safetensors.SafetensorError):
        safetensors.deserialize(REFUSED[case][0])


def test_a_header_of_more_tensors_than_the_limit_is_refused_before_it_is_parsed(monkeypatch):
    monkeypatch.setattr(limits, "TENSORS", 3)
    with pytest.raises(FormatError, match="more than 3 tensors"):
        index_of(written(b'{"a":' + b"{" * 5))


def test_a_header_of_more_bytes_than_are_read_is_refused(monkeypatch):
    monkeypatch.setattr(limits, "SAFETENSORS_HEADER_READ", 10)
    with pytest.raises(FormatError, match="more than is read"):
        index_of(written({"a": entry()}))
