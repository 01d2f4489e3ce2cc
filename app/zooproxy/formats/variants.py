"""The variants of a checkpoint, each a restricted tensor index.

``full`` is the whole tree. ``model`` follows mmengine's loaders (mmengine/runner/checkpoint.py): ``load_checkpoint``,
``_process_mmcls_checkpoint`` and ``_load_checkpoint_with_prefix``.

=========================  ==========================================================================================
kind                       its ``model``
=========================  ==========================================================================================
wrapped                    ``{'state_dict': …, 'meta': …}``, meta where there is one; all else is dropped
state_dict, mapping        as it is: mmengine takes the mapping itself for the state dict
other                      refused
with recipe ``mmcls``      ``{'state_dict': …}``: the keys under ``backbone.``, stripped of it, without ``_metadata``
with a prefix              the bare state dict under the prefix, stripped of it, its ``_metadata`` likewise; so too of
                           ``full``
=========================  ==========================================================================================
"""

from __future__ import annotations

import dataclasses
from collections import OrderedDict
from collections.abc import Iterator
from typing import Any, Optional

from zooproxy.errors import NothingSelected, UnsupportedFormat
from zooproxy.formats.quoting import quoted
from zooproxy.formats.tensor_names import Path, TensorNames, dotted
from zooproxy.formats.torch_rebuilds import is_odd_tensor
from zooproxy.wire.plain import Inert, TensorRef
from zooproxy.wire.standard_types import array_parts
from zooproxy.wire.tensors import Tensor, TensorIndex
from zooproxy.wire.unusual_tensors import is_described

MMCLS = "mmcls"
_MMCLS_PREFIX = "backbone."
_SUGGESTED = 10


def select_model(index: TensorIndex, *, recipe: Optional[str], prefix: Optional[str]) -> TensorIndex:
    """The ``model`` variant: only what is kept, tensors and storages renumbered, names as the variant has them.

    ``prefix`` applies after ``recipe``, and means the same with and without its last dot.

    Raises:
        UnsupportedFormat: the checkpoint is no mapping; no such recipe.
        NothingSelected: the recipe or the prefix leaves no tensor.
    """
    tree = _wrapped_or_bare(index.tree)
    if recipe == MMCLS:
        tree = {"state_dict": _under_prefix(_state_dict(tree), _MMCLS_PREFIX)}
    elif recipe is not None:
        raise UnsupportedFormat(
            f"this version has no recipe {quoted(recipe)}; variant=raw serves the file as published"
        )
    return _Restriction(index).keep(_under(tree, prefix) if prefix else tree)


def select_full(index: TensorIndex, *, prefix: Optional[str]) -> TensorIndex:
    """The ``full`` variant: everything that was read, or the state dict under ``prefix``.

    Raises:
        UnsupportedFormat: a prefix of what is no mapping.
        NothingSelected: the prefix leaves no tensor.
    """
    return _Restriction(index).keep(_under(_wrapped_or_bare(index.tree), prefix)) if prefix else index


def _under(tree: dict[Any, Any], prefix: str) -> dict[Any, Any]:
    return _with_metadata(_state_dict(tree), prefix if prefix.endswith(".") else f"{prefix}.")


def _wrapped_or_bare(tree: Any) -> dict[Any, Any]:
    if not isinstance(tree, dict):
        what = tree.type_name if isinstance(tree, Inert) else type(tree).__name__
        raise UnsupportedFormat(
            f"this checkpoint is no mapping but {quoted(what)}, which has no model variant; "
            "variant=raw serves it as published"
        )
    if _state_dict(tree) is tree:
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
    if not any(_is_tensor(leaf) for leaf, _ in leaves(kept)):
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


def leaves(value: Any, path: Path = None, *, within_objects: bool = True) -> Iterator[tuple[Any, Path]]:
    """Every tensor and every inert object in ``value``, and where it is; also what is ``within_objects``."""
    if isinstance(value, TensorRef):
        yield value, path
    elif isinstance(value, Inert):
        yield value, path
        for part in (value.args, value.state, value.items) if within_objects else ():
            yield from leaves(part, path)
    elif isinstance(value, dict):
        for key, item in value.items():
            yield from leaves(item, (key, path), within_objects=within_objects)
    elif isinstance(value, (list, tuple)):
        for at, item in enumerate(value):
            yield from leaves(item, (at, path), within_objects=within_objects)


def _is_tensor(leaf: Any) -> bool:
    return isinstance(leaf, TensorRef) or is_odd_tensor(leaf.type_name) or array_parts(leaf) is not None


def refuse_odd_tensors(index: TensorIndex, *, but_described: bool = False) -> None:
    """For a form that has plain tensors only: nothing of a model is left out silently.

    ``but_described``: what ``wire.unusual_tensors`` describes passes, for a form that has the whole index.

    Raises:
        UnsupportedFormat: the index has a tensor that no strided range describes; it is named.
    """
    for leaf, path in leaves(index.tree):
        if not isinstance(leaf, Inert) or not is_odd_tensor(leaf.type_name):
            continue
        if not (but_described and is_described(leaf)):
            raise UnsupportedFormat(
                f"{quoted(dotted(path))} is a tensor that no byte range describes ({quoted(leaf.type_name)}: sparse, "
                "quantised, a conj or neg view, or a subclass); format=pth serves most of these, and variant=raw "
                "the file as published"
            )


class _Restriction:
    """A tensor index under construction that holds just what a tree refers to."""

    def __init__(self, index: TensorIndex) -> None:
        self._index = index
        self._names = TensorNames()
        self._tensors: list[Tensor] = []
        self._storages: dict[int, int] = {}
        self._positions: dict[int, int] = {}
        self._droppable = frozenset(index.dropped)  # not what wire.standard_types keeps whole
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
            if value.type_name in self._droppable:
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
