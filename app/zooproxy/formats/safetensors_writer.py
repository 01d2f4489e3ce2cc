"""Any tensor index as a safetensors file: a generated header, then ranges of the blob."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from zooproxy.errors import LimitExceeded, UnsupportedFormat
from zooproxy.formats import limits
from zooproxy.formats.quoting import quoted
from zooproxy.formats.safetensors_header import DTYPES, METADATA, encode_header
from zooproxy.formats.segments import BlobRange, Literal, Rendition, Segment
from zooproxy.formats.variants import refuse_odd_tensors
from zooproxy.wire import plain
from zooproxy.wire.routes import OCTETS
from zooproxy.wire.tensors import DTYPE_SIZES, Storage, Tensor, TensorIndex


def safetensors_rendition(index: TensorIndex) -> Rendition:
    """The tensors of ``index`` as a safetensors file: a generated header, then ranges of the blob.

    Tensors lie in descending order of their elements' size, which keeps each aligned without holes; tied tensors
    are written once per name. ``__metadata__`` holds ``format`` (``pt``), ``zooproxy.order`` (JSON: the names in the
    order of ``index.tensors``) and ``zooproxy.tree`` (JSON, see ``zooproxy.wire.plain``: the plain tree; its tensors
    are positions in ``zooproxy.order``). The same index gives the same bytes.

    Raises:
        UnsupportedFormat: a tensor is not contiguous, of a dtype that safetensors lacks, big-endian, or of an unusual
            kind (sparse, quantised, …).
        LimitExceeded: tied tensors, written out, or the header grow out of proportion.
    """
    refuse_odd_tensors(index)
    ordered = sorted(index.tensors, key=lambda tensor: -DTYPE_SIZES[tensor.dtype])
    header: dict[str, Any] = {METADATA: _metadata(index)}
    ranges: list[BlobRange] = []
    at = 0
    for tensor in ordered:
        _check_expressible(index, tensor)
        header[tensor.name] = {
            "dtype": DTYPES[tensor.dtype],
            "shape": list(tensor.shape),
            "data_offsets": [at, at + tensor.nbytes],
        }
        _add_range(ranges, tensor, index.storages[tensor.storage])
        at += tensor.nbytes
    _check_size(at, index.size)
    head = encode_header(header)
    if len(head) > limits.SAFETENSORS_HEADER:
        raise LimitExceeded(f"the safetensors header would take more than {limits.SAFETENSORS_HEADER:,} bytes")
    segments: tuple[Segment, ...] = (Literal(head), *ranges)
    return Rendition(segments, len(head) + at, OCTETS, ".safetensors")


def _metadata(index: TensorIndex) -> Mapping[str, str]:
    return {
        "format": "pt",
        "zooproxy.order": json.dumps([tensor.name for tensor in index.tensors]),
        "zooproxy.tree": json.dumps(plain.to_json(index.tree), separators=(",", ":")),
    }


def _check_expressible(index: TensorIndex, tensor: Tensor) -> None:
    reason = None
    if tensor.dtype not in DTYPES:
        reason = f"is of dtype {tensor.dtype}, which safetensors does not have"
    elif not tensor.is_contiguous:
        reason = "is not contiguous"
    elif index.byteorder != "little" and DTYPE_SIZES[tensor.dtype] > 1:
        reason = "is big-endian"
    elif tensor.name == METADATA:
        reason = "has the name that safetensors keeps for its metadata"
    if reason is not None:
        raise UnsupportedFormat(
            f"the tensor {quoted(tensor.name)} {reason}, so no byte range serves it as safetensors; "
            "variant=raw serves the file as published, and /v1/tensors describes it"
        )


def _add_range(ranges: list[BlobRange], tensor: Tensor, storage: Storage) -> None:
    if not tensor.nbytes:
        return
    offset = storage.offset + tensor.offset * DTYPE_SIZES[tensor.dtype]
    if ranges and ranges[-1].offset + ranges[-1].length == offset:
        ranges[-1] = BlobRange(ranges[-1].offset, ranges[-1].length + tensor.nbytes)
    else:
        ranges.append(BlobRange(offset, tensor.nbytes))


def _check_size(data: int, blob: int) -> None:
    if data > blob * limits.RENDITION_FACTOR + limits.RENDITION_EXTRA:
        raise LimitExceeded(
            f"written out, the checkpoint's tied tensors take {data:,} bytes, more than {limits.RENDITION_FACTOR} "
            "times the file; variant=raw serves it as published"
        )
