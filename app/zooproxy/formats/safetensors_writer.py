"""Any tensor index as a safetensors file: a generated header, then ranges of the blob."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

from zooproxy.errors import LimitExceeded, UnsupportedFormat
from zooproxy.formats import limits
from zooproxy.formats.quoting import quoted
from zooproxy.formats.safetensors_header import DTYPES, METADATA, encode_header
from zooproxy.formats.segments import BlobRange, Literal, Rendition, Segment
from zooproxy.formats.tensor_names import Path, TensorNames
from zooproxy.formats.variants import leaves, refuse_odd_tensors
from zooproxy.wire import plain
from zooproxy.wire.plain import Inert
from zooproxy.wire.routes import OCTETS
from zooproxy.wire.standard_types import array_parts
from zooproxy.wire.tensors import DTYPE_SIZES, Tensor, TensorIndex


def safetensors_rendition(index: TensorIndex) -> Rendition:
    """The tensors of ``index`` as a safetensors file: a generated header, then ranges of the blob.

    Tensors lie in descending order of their elements' size, which keeps each aligned without holes; tied tensors
    are written once per name; so are numpy's arrays that no range describes. ``__metadata__`` holds ``format``
    (``pt``), ``zooproxy.order`` (JSON: the names in the order of ``index.tensors``, then those arrays') and
    ``zooproxy.tree`` (JSON, see ``zooproxy.wire.plain``: the plain tree; its tensors are positions in
    ``zooproxy.order``). The same index gives the same bytes.

    Raises:
        UnsupportedFormat: a tensor is not contiguous, of a dtype that safetensors lacks, big-endian, or of an unusual
            kind (sparse, quantised, …).
        LimitExceeded: tied tensors, written out, or the header grow out of proportion.
    """
    refuse_odd_tensors(index)
    placed = [*_in_ranges(index), *_arrays(index)]
    header: dict[str, Any] = {METADATA: _metadata(index, placed)}
    data: list[Segment] = []
    at = 0
    for each in sorted(placed, key=lambda each: -DTYPE_SIZES[each.dtype]):
        shape, end = list(each.shape), at + len(each.data)
        header[each.name] = {"dtype": DTYPES[each.dtype], "shape": shape, "data_offsets": [at, end]}
        _add(data, each.data)
        at = end
    _check_size(at, index.size)
    head = encode_header(header)
    if len(head) > limits.SAFETENSORS_HEADER:
        raise LimitExceeded(f"the safetensors header would take more than {limits.SAFETENSORS_HEADER:,} bytes")
    return Rendition((Literal(head), *data), len(head) + at, OCTETS, ".safetensors")


@dataclass(frozen=True)
class _Placed:
    name: str
    dtype: str
    shape: tuple[int, ...]
    data: Segment


def _in_ranges(index: TensorIndex) -> Iterator[_Placed]:
    for tensor in index.tensors:
        _check_expressible(index, tensor)
        offset = index.storages[tensor.storage].offset + tensor.offset * DTYPE_SIZES[tensor.dtype]
        yield _Placed(tensor.name, tensor.dtype, tensor.shape, BlobRange(offset, tensor.nbytes))


def _arrays(index: TensorIndex) -> Iterator[_Placed]:
    """numpy's arrays whose bytes are in the tree, where they stand as tensors do; not those within other objects."""
    names = TensorNames()
    for tensor in index.tensors:
        names.take(tensor.name)
    for leaf, path in _leaves(index.tree, wrapped=index.kind == "wrapped"):
        parts = array_parts(leaf) if isinstance(leaf, Inert) else None
        if parts is None:
            continue
        dtype, shape, data = parts
        name = names.claim(path)
        if dtype not in DTYPES:
            raise UnsupportedFormat(_refusal(name, f"is of dtype {dtype}, which safetensors does not have"))
        yield _Placed(name, dtype, shape, Literal(data))


def _leaves(tree: Any, *, wrapped: bool) -> Iterator[tuple[Any, Path]]:
    """With the state dict's own keys for paths, where there is one."""
    if not wrapped:
        return leaves(tree, within_objects=False)
    rest = {key: value for key, value in tree.items() if key != "state_dict"}
    return chain(leaves(tree["state_dict"], within_objects=False), leaves(rest, within_objects=False))


def _metadata(index: TensorIndex, placed: Sequence[_Placed]) -> Mapping[str, str]:
    return {
        "format": "pt",
        "zooproxy.order": json.dumps([each.name for each in placed]),
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
        raise UnsupportedFormat(_refusal(tensor.name, reason))


def _refusal(name: str, reason: str) -> str:
    return (
        f"the tensor {quoted(name)} {reason}, so no byte range serves it as safetensors; "
        "variant=raw serves the file as published, and /v1/tensors describes it"
    )


def _add(data: list[Segment], segment: Segment) -> None:
    """Appends ``segment``; neighbours in the blob become one."""
    last = data[-1] if data else None
    if isinstance(last, BlobRange) and isinstance(segment, BlobRange) and last.offset + last.length == segment.offset:
        data[-1] = BlobRange(last.offset, last.length + segment.length)
    elif len(segment):
        data.append(segment)


def _check_size(data: int, blob: int) -> None:
    if data > blob * limits.RENDITION_FACTOR + limits.RENDITION_EXTRA:
        raise LimitExceeded(
            f"written out, the checkpoint's tied tensors take {data:,} bytes, more than {limits.RENDITION_FACTOR} "
            "times the file; variant=raw serves it as published"
        )
