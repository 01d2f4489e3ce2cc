"""Will it load? What a checkpoint has and a model wants, compared by names and shapes; no byte of a tensor is moved."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Optional, Union

from zooproxy.client.loader import describe
from zooproxy.client.local import index_of_file
from zooproxy.client.module_state import ReviseKeys
from zooproxy.client.settings import ClientSettings
from zooproxy.errors import MalformedReference, UnsupportedFormat
from zooproxy.formats.variants import select_model
from zooproxy.wire.plain import TensorRef
from zooproxy.wire.tensors import TensorIndex

Shapes = Mapping[str, tuple[int, ...]]

_STRIP_MODULE: ReviseKeys = ((r"^module\.", ""),)
_TRIED = 8
_SHOWN = 20


@dataclass(frozen=True)
class Mismatch:
    """A tensor that both sides name: ``wanted`` is its shape in the model, ``found`` that in the checkpoint."""

    name: str
    wanted: tuple[int, ...]
    found: tuple[int, ...]


@dataclass(frozen=True)
class Comparison:
    """What loading would report.

    Attributes:
        matching: how many tensors have name and shape in common.
        missing: names of the model that the checkpoint lacks (``num_batches_tracked`` is never counted).
        unexpected: names of the checkpoint that the model lacks.
        mismatched: names in common with other shapes.
        prefix: what to give as ``prefix=``, where that makes more match; else None.
        revise_keys: what to give as ``revise_keys=``, where that makes more match; else None.
        matching_then: how many would match with one of them.
    """

    matching: int
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    mismatched: tuple[Mismatch, ...]
    prefix: Optional[str] = None
    revise_keys: Optional[ReviseKeys] = None
    matching_then: int = 0

    @property
    def matches(self) -> bool:
        return not (self.missing or self.unexpected or self.mismatched)

    def __str__(self) -> str:
        return "\n".join(self._lines())

    def _lines(self) -> Iterator[str]:
        yield f"{self.matching:,} tensors match"
        yield from _listed("missing", self.missing)
        yield from _listed("unexpected", self.unexpected)
        shapes = [f"{each.name}: {_size(each.wanted)} wanted, {_size(each.found)} found" for each in self.mismatched]
        yield from _listed("of another shape", shapes)
        if self.prefix is not None:
            yield f"prefix={self.prefix!r} would make {self.matching_then:,} match"
        if self.revise_keys is not None:
            yield f"revise_keys={list(self.revise_keys)!r} would make {self.matching_then:,} match"


def _listed(title: str, names: Sequence[str]) -> Iterator[str]:
    if names:
        yield f"{len(names):,} {title}:"
        yield from (f"  {name}" for name in names[:_SHOWN])
    if len(names) > _SHOWN:
        yield f"  and {len(names) - _SHOWN:,} more"


def _size(shape: tuple[int, ...]) -> str:
    return "x".join(map(str, shape)) or "scalar"


def compare(
    model: Any,
    ref: Union[str, Path],
    prefix: Optional[str] = None,
    revise_keys: ReviseKeys = _STRIP_MODULE,
    *,
    settings: Optional[ClientSettings] = None,
) -> Comparison:
    """Whether the checkpoint ``ref`` would load into ``model``, and what would make it.

    Args:
        model: a module, or a state dict.
        ref: a reference, or a file of this machine.
        prefix: as for ``zooproxy.load``.
        revise_keys: as for ``zooproxy.load_checkpoint``.
        settings: by default what the environment says.

    Raises:
        MalformedReference: ``ref`` is neither.
        ZooproxyError: what ``zooproxy.load`` raises.
    """
    state_dict = model.state_dict() if hasattr(model, "state_dict") else model
    wanted = {name: tuple(value.shape) for name, value in state_dict.items() if hasattr(value, "shape")}
    return compared(wanted, shapes_of(ref, prefix, settings), revise_keys)


def shapes_of(
    ref: Union[str, Path], prefix: Optional[str] = None, settings: Optional[ClientSettings] = None
) -> dict[str, tuple[int, ...]]:
    """Names and shapes of the tensors in the state dict of a reference or of a file.

    Raises:
        MalformedReference: ``ref`` has no scheme, and there is no such file.
        ZooproxyError: see ``compare``.
    """
    if "://" in str(ref):
        return _shapes(describe(str(ref), prefix, settings or ClientSettings.from_environ()))
    try:
        with Path(ref).expanduser().open("rb") as file:
            return _shapes(select_model(index_of_file(file), recipe=None, prefix=prefix))
    except OSError as error:
        raise MalformedReference(f"'{ref}' is no reference, and no file that can be read: {error.strerror}") from error


def _shapes(index: TensorIndex) -> dict[str, tuple[int, ...]]:
    tree = index.tree
    state_dict = tree.get("state_dict", tree) if isinstance(tree, dict) else None
    if not isinstance(state_dict, dict):
        raise UnsupportedFormat("this checkpoint has no state dict to compare")
    leaves = {name: leaf for name, leaf in state_dict.items() if isinstance(leaf, TensorRef)}
    return {str(name): index.tensors[leaf.position].shape for name, leaf in leaves.items()}


def compared(wanted: Shapes, found: Shapes, revise_keys: ReviseKeys = ()) -> Comparison:
    """The comparison of a model's names and shapes with a checkpoint's."""
    plain = _compared(wanted, _revised(found, revise_keys))
    best, replacement = plain.matching, None
    for old, new in _replacements(wanted, found):
        matching = _compared(wanted, _revised(found, _as_pattern(old, new))).matching
        if matching > best:
            best, replacement = matching, (old, new)
    if replacement is None:
        return plain
    old, new = replacement
    return Comparison(
        plain.matching,
        plain.missing,
        plain.unexpected,
        plain.mismatched,
        prefix=None if new else old,
        revise_keys=_as_pattern(old, new),
        matching_then=best,
    )


def _compared(wanted: Shapes, found: Shapes) -> Comparison:
    common = [name for name in wanted if name in found]
    mismatched = tuple(Mismatch(name, wanted[name], found[name]) for name in common if wanted[name] != found[name])
    missing = tuple(name for name in wanted if name not in found and "num_batches_tracked" not in name)
    unexpected = tuple(name for name in found if name not in wanted)
    return Comparison(len(common) - len(mismatched), missing, unexpected, mismatched)


def _revised(shapes: Shapes, revise_keys: ReviseKeys) -> dict[str, tuple[int, ...]]:
    revised = dict(shapes)
    for pattern, replacement in revise_keys:
        revised = {re.sub(pattern, replacement, name): shape for name, shape in revised.items()}
    return revised


def _as_pattern(old: str, new: str) -> ReviseKeys:
    return ((f"^{re.escape(old)}", new),)


def _replacements(wanted: Shapes, found: Shapes) -> list[tuple[str, str]]:
    """Leading parts of names (old, new) whose exchange lets most names agree; each name votes for the shortest.

    Names that agree already have no vote.
    """
    heads: dict[str, Optional[str]] = {}
    for name in (name for name in wanted if name not in found):
        for head, tail in _splits(name):
            heads[tail] = None if tail in heads else head  # a tail of two names says nothing
    votes: Counter[tuple[str, str]] = Counter()
    for name in (name for name in found if name not in wanted):
        for head, tail in _splits(name):
            new = heads.get(tail)
            if new is not None:
                votes[head, new] += 1
                break
    return [pair for pair, _ in votes.most_common(_TRIED) if pair[0] != pair[1]]


def _splits(name: str) -> Iterator[tuple[str, str]]:
    """(``"", "a.b.c"``), (``"a.", "b.c"``), (``"a.b.", "c"``)."""
    start = 0
    while True:
        yield name[:start], name[start:]
        dot = name.find(".", start)
        if dot < 0:
            return
        start = dot + 1
