"""The variants of a checkpoint: ``model`` as a restricted tensor index, and any index as a safetensors rendition.

The ``model`` variant follows mmengine's loaders (mmengine/runner/checkpoint.py): ``load_checkpoint``,
``_process_mmcls_checkpoint`` and ``_load_checkpoint_with_prefix``.

=========================  ==========================================================================================
kind                       its ``model``
=========================  ==========================================================================================
wrapped                    ``{'state_dict': …, 'meta': …}``, meta where there is one; all else is dropped
state_dict, mapping        as it is: mmengine takes the mapping itself for the state dict
other                      refused
with recipe ``mmcls``      ``{'state_dict': …}``: the keys under ``backbone.``, stripped of it, without ``_metadata``
with a prefix              the bare state dict under the prefix, stripped of it, its ``_metadata`` likewise
=========================  ==========================================================================================
"""

from __future__ import annotations

import dataclasses
import json
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from typing import Any, Optional

from zooproxy.errors import LimitExceeded, NothingSelected, UnsupportedFormat
from zooproxy.formats import limits
from zooproxy.formats.quoting import quoted
from zooproxy.formats.safetensors_header import DTYPES, METADATA, encode_header
from zooproxy.formats.segments import BlobRange, Literal, Rendition, Segment
from zooproxy.formats.tensor_names import Path, TensorNames
from zooproxy.formats.torch_rebuilds import is_odd_tensor
from zooproxy.wire import plain
from zooproxy.wire.plain import Inert, TensorRef
from zooproxy.wire.routes import OCTETS
from zooproxy.wire.tensors import DTYPE_SIZES, Storage, Tensor, TensorIndex

MMCLS = "mmcls"
_MMCLS_PREFIX = "backbone."
_SUGGESTED = 10


def select_model(index: TensorIndex, *, recipe: Optional[str], prefix: Optional[str]) -> TensorIndex:
    """The ``model`` variant: only what is kept, tensors and storages renumbered, names as the variant has them.

    ``prefix`` applies after ``recipe``, and means the same with and without its last dot.

    Raises:
        UnsupportedFormat: the checkpoint is no mapping; what is kept has a tensor that no range of the blob describes
            (sparse, quantised, a conj view, …); no such recipe.
        NothingSelected: the recipe or the prefix leaves no tensor.
    """
    tree = _wrapped_or_bare(index.tree)
    if recipe == MMCLS:
        tree = {"state_dict": _under_prefix(_state_dict(tree), _MMCLS_PREFIX)}
    elif recipe is not None:
        raise UnsupportedFormat(
            f"this version has no recipe {quoted(recipe)}; variant=raw serves the file as published"
        )
    if prefix:
        tree = _with_metadata(_state_dict(tree), prefix if prefix.endswith(".") else f"{prefix}.")
    _refuse_odd_tensors(tree)
    return _Restriction(index).keep(tree)


def _wrapped_or_bare(tree: Any) -> dict[Any, Any]:
    if not isinstance(tree, dict):
        what = tree.type_name if isinstance(tree, Inert) else type(tree).__name__
        raise UnsupportedFormat(
            f"this checkpoint is no mapping but {quoted(what)}, which has no model variant; "
            "variant=raw serves it as published"
        )
    if "state_dict" not in tree:
        return tree
    return {key: tree[key] for key in ("state_dict", "meta") if key in tree}


def _state_dict(tree: dict[Any, Any]) -> dict[Any, Any]:
    state_dict = tree.get("state_dict", tree)
    if not isinstance(state_dict, dict):
        raise UnsupportedFormat("this checkpoint's state_dict is no mapping; variant=raw serves it as published")
    return state_dict


def _under_prefix(state_dict: dict[Any, Any], prefix: str) -> OrderedDict[str, Any]:
    names = [key for key in state_dict if isinstance(key, str)]
    kept = OrderedDict((key[len(prefix) :], state_dict[key]) for key in names if key.startswith(prefix))
    if not any(_is_tensor(leaf) for leaf in _leaves(kept)):
        existing = list(OrderedDict.fromkeys(name.partition(".")[0] for name in names if "." in name))[:_SUGGESTED]
        shown = f"; it has {', '.join(map(quoted, existing))}" if existing else ""
        raise NothingSelected(f"this checkpoint has no tensor under {quoted(prefix)}{shown}", prefixes=existing)
    return kept


def _with_metadata(state_dict: dict[Any, Any], prefix: str) -> OrderedDict[str, Any]:
    """The state dict under the prefix, with the part of ``_metadata`` that belongs to it, its keys stripped too."""
    kept = _under_prefix(state_dict, prefix)
    metadata = getattr(state_dict, "_metadata", None)
    if isinstance(metadata, dict):
        stripped = OrderedDict(
            (f"{key}."[len(prefix) : -1] if f"{key}." != prefix else "", value)
            for key, value in metadata.items()
            if isinstance(key, str) and f"{key}.".startswith(prefix)
        )
        kept._metadata = stripped  # type: ignore[attr-defined]  # as torch does
    return kept


def _leaves(value: Any) -> Iterator[Any]:
    """Every tensor and every inert object in ``value``."""
    if isinstance(value, TensorRef):
        yield value
    elif isinstance(value, Inert):
        yield value
        for part in (value.args, value.state, value.items):
            yield from _leaves(part)
    elif isinstance(value, dict):
        for item in value.values():
            yield from _leaves(item)
    elif isinstance(value, (list, tuple)):
        for item in value:
            yield from _leaves(item)


def _is_tensor(leaf: Any) -> bool:
    return isinstance(leaf, TensorRef) or is_odd_tensor(leaf.type_name)


def _refuse_odd_tensors(tree: dict[Any, Any]) -> None:
    """Never leaves out silently what the model would need; around the state dict an odd tensor stays inert."""
    for key, value in _state_dict(tree).items():
        for leaf in _leaves(value):
            if isinstance(leaf, Inert) and is_odd_tensor(leaf.type_name):
                raise UnsupportedFormat(
                    f"{quoted(str(key))} is a tensor that no byte range describes ({quoted(leaf.type_name)}: sparse, "
                    "quantised, a conj or neg view, or a subclass); variant=raw serves the file as published"
                )


class _Restriction:
    """A tensor index under construction that holds just what a tree refers to."""

    def __init__(self, index: TensorIndex) -> None:
        self._index = index
        self._names = TensorNames()
        self._tensors: list[Tensor] = []
        self._storages: dict[int, int] = {}
        self._positions: dict[int, int] = {}
        self._dropped: set[str] = set()

    def keep(self, tree: dict[Any, Any]) -> TensorIndex:
        wrapped = isinstance(tree.get("state_dict"), dict)
        if wrapped:
            self._keep(tree["state_dict"], None)  # first, so that its tensors have its keys for names
        kept = self._keep(tree, None)
        return dataclasses.replace(
            self._index,
            kind=self._kind(tree, wrapped),
            storages=tuple(self._index.storages[old] for old in self._storages),
            tensors=tuple(self._tensors),
            tree=kept,
            dropped=tuple(sorted(self._dropped)),
        )

    def _kind(self, tree: dict[Any, Any], wrapped: bool) -> str:
        if wrapped:
            return "wrapped"
        return self._index.kind if tree is self._index.tree else "state_dict"

    def _keep(self, value: Any, path: Path) -> Any:
        if isinstance(value, TensorRef):
            return TensorRef(self._position(value.position, path))
        if isinstance(value, dict):
            return self._mapping(value, path)
        if isinstance(value, (list, tuple)):
            return type(value)([self._keep(item, (at, path)) for at, item in enumerate(value)])
        if isinstance(value, Inert):
            self._dropped.add(value.type_name)
            args = self._keep(value.args, ("args", path))
            return Inert(value.type_name, args, self._keep(value.state, path), self._keep(value.items, path))
        return value

    def _mapping(self, value: dict[Any, Any], path: Path) -> dict[Any, Any]:
        kept = type(value)((key, self._keep(item, (key, path))) for key, item in value.items())
        metadata = getattr(value, "_metadata", None)
        if metadata is not None:
            kept._metadata = self._keep(metadata, ("_metadata", path))  # type: ignore[attr-defined]  # as torch does
        return kept

    def _position(self, old: int, path: Path) -> int:
        if old not in self._positions:
            self._positions[old] = len(self._tensors)
            tensor = self._index.tensors[old]
            storage = self._storages.setdefault(tensor.storage, len(self._storages))
            self._tensors.append(dataclasses.replace(tensor, name=self._names.claim(path), storage=storage))
        return self._positions[old]


# -- safetensors ------------------------------------------------------------------------------------------


def safetensors_rendition(index: TensorIndex) -> Rendition:
    """The tensors of ``index`` as a safetensors file: a generated header, then ranges of the blob.

    Tensors lie in descending order of their elements' size, which keeps each aligned without holes; tied tensors
    are written once per name. ``__metadata__`` holds ``format`` (``pt``), ``zooproxy.order`` (JSON: the names in the
    order of ``index.tensors``) and ``zooproxy.tree`` (JSON, see ``zooproxy.wire.plain``: the plain tree; its tensors
    are positions in ``zooproxy.order``). The same index gives the same bytes.

    Raises:
        UnsupportedFormat: a tensor is not contiguous, of a dtype that safetensors lacks, or big-endian.
        LimitExceeded: tied tensors, written out, or the header grow out of proportion.
    """
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
