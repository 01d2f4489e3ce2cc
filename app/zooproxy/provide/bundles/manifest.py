"""The manifest of a bundle: a JSON document of one spelling, a line for each entry.

==================  ================================================================================================
``format``          ``zooproxy-bundle``
``version``         1; a later one is refused
``created_by``      ``zooproxy`` and the version that wrote it
``set``             sha256 of the manifest of the whole, unsplit, with ``set`` null: all parts of a bundle have the same
``part, parts``     1, 2, … of how many
``previous``        the ``set`` of each bundle that this one adds to, sorted; what those carried is not carried again
``catalog``         layers of names: ``[layer, zoo, document]``; layer and zoo as in ``names.sections``, document is the
                    sha256 of a member
``tensor_indexes``  ``[blob, reader version, document]``: what was read from a blob; document as above, compressed as in
                    the database
``sources``         ``url``; ``sha256`` and ``size`` (bytes) of its blob; ``filled_at`` (UTC); ``trust``: ``seen``, or
                    ``accepted`` by an operator; ``references``: what users call it. By URL
``members``         ``[sha256, size]`` of each file that follows, in this order: layers, then each blob after its index
==================  ================================================================================================

A part has the entries whose member it carries. What has none, because an earlier bundle carried it, is in part 1.
Trust nothing that is not checked here: a manifest may have been written by anybody.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any, Final

from zooproxy.digest import Sha256
from zooproxy.errors import MalformedBundle
from zooproxy.provide.bundles.layout import LARGEST

FORMAT: Final = "zooproxy-bundle"
VERSION: Final = 1
LARGEST_MANIFEST: Final = 64 << 20  # bytes: some 150,000 sources
LARGEST_DOCUMENT: Final = 64 << 20  # bytes of a tensor index or a layer, which are read whole

_LONGEST_TEXT: Final = 16 << 10
_CONTROL: Final = frozenset(map(chr, (*range(32), 127)))


@dataclass(frozen=True, slots=True)
class Member:
    """A file of the bundle; ``size`` in bytes."""

    sha256: Sha256
    size: int


@dataclass(frozen=True, slots=True)
class BundledSource:
    """A source and its blob: ``size`` in bytes, ``filled_at`` in UTC, ``accepted`` by an operator's word."""

    url: str
    sha256: Sha256
    size: int
    filled_at: datetime
    accepted: bool
    references: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class BundledIndex:
    """``document``: the tensor index of ``blob`` as that version of the reader read it."""

    blob: Sha256
    reader_version: int
    document: Sha256


@dataclass(frozen=True, slots=True)
class BundledLayer:
    """``document``: what one layer of the catalog says about one zoo."""

    layer: str
    zoo: str
    document: Sha256


@dataclass(frozen=True, slots=True)
class Part:
    """``number`` of ``count``, from 1, of the bundle ``whole``."""

    whole: Sha256
    number: int = 1
    count: int = 1


@dataclass(frozen=True, slots=True)
class Contents:
    """What a bundle, or a part of one, carries and says; each tuple sorted, ``members`` in their order."""

    previous: tuple[Sha256, ...] = ()
    layers: tuple[BundledLayer, ...] = ()
    indexes: tuple[BundledIndex, ...] = ()
    sources: tuple[BundledSource, ...] = ()
    members: tuple[Member, ...] = ()

    @property
    def documents(self) -> frozenset[Sha256]:
        """The members that are no blobs."""
        return frozenset([*(layer.document for layer in self.layers), *(index.document for index in self.indexes)])


@dataclass(frozen=True, slots=True)
class Manifest:
    created_by: str
    part: Part
    contents: Contents

    def to_bytes(self) -> bytes:
        return _document(self.created_by, self.contents, self.part).encode()


def identity(created_by: str, contents: Contents) -> Sha256:
    """The ``set`` of a bundle with these contents, however it is split."""
    return Sha256.of(_document(created_by, contents, None).encode())


def joined(parts: Iterable[Contents]) -> Contents:
    """The contents of the whole, from those of all its parts in order."""
    parts = list(parts)
    return Contents(
        parts[0].previous if parts else (),
        tuple(sorted((layer for part in parts for layer in part.layers), key=_layer_order)),
        tuple(sorted((index for part in parts for index in part.indexes), key=_index_order)),
        tuple(sorted((source for part in parts for source in part.sources), key=_source_order)),
        tuple(member for part in parts for member in part.members),
    )


def spelt(contents: Contents) -> int:
    """At most how many bytes the entries of ``contents`` take in a manifest."""
    return len(_document("", contents, None))


def sealed(created_by: str, parts: Iterable[Contents]) -> list[Manifest]:
    """The manifest of each part."""
    parts = list(parts)
    whole = identity(created_by, joined(parts))
    return [
        Manifest(created_by, Part(whole, number, len(parts)), contents)
        for number, contents in enumerate(parts, start=1)
    ]


def manifest_from_bytes(data: bytes) -> Manifest:
    """The manifest that ``Manifest.to_bytes`` wrote, and nothing else.

    Raises:
        MalformedBundle: it is of a later version, or not one that hangs together.
    """
    try:
        members = json.loads(data)
        if members["format"] != FORMAT:
            raise MalformedBundle("the manifest is not a zooproxy bundle's")
        if members["version"] != VERSION:
            raise MalformedBundle("the bundle was written by a later zooproxy; this one reads version 1: upgrade it")
        manifest = Manifest(_text(members["created_by"]), _part(members), _contents(members))
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError, RecursionError) as error:
        raise MalformedBundle("the manifest is not what zooproxy writes") from error
    if manifest.to_bytes() != data:
        raise MalformedBundle("the manifest is not spelt as zooproxy writes it: it was changed, or made by hand")
    _check(manifest)
    return manifest


def _check(manifest: Manifest) -> None:
    """What ``to_bytes`` does not tell: order, uniqueness, and that entries and members belong together."""
    contents, part = manifest.contents, manifest.part
    if not 1 <= part.number <= part.count:
        raise MalformedBundle(f"the manifest says part {part.number} of {part.count}")
    sizes = {member.sha256: member.size for member in contents.members}
    if len(sizes) != len(contents.members):
        raise MalformedBundle("the manifest lists a member twice")
    _check_order([layer.layer + "\0" + layer.zoo for layer in contents.layers], "layer of the catalog")
    _check_order([index.blob for index in contents.indexes], "tensor index")
    _check_order([source.url for source in contents.sources], "source")
    _check_order(list(contents.previous), "previous bundle")
    documents = contents.documents
    named = documents | {source.sha256 for source in contents.sources}
    if not sizes.keys() <= named:
        raise MalformedBundle("the manifest lists a member that nothing in it speaks of")
    if not sizes.keys() >= named and not contents.previous:
        raise MalformedBundle("the manifest speaks of a member that it does not list, and of no earlier bundle")
    if any(sizes.get(source.sha256, source.size) != source.size for source in contents.sources):
        raise MalformedBundle("the manifest gives a blob two sizes")
    if any(sizes.get(document, 0) > LARGEST_DOCUMENT for document in documents):
        raise MalformedBundle(f"the manifest lists a document of more than {LARGEST_DOCUMENT >> 20} MiB")
    if part.count == 1 and identity(manifest.created_by, contents) != part.whole:
        raise MalformedBundle("the manifest's own digest is not that of its contents")


def _check_order(keys: list[str], what: str) -> None:
    if any(before >= after for before, after in pairwise(keys)):
        raise MalformedBundle(f"the manifest lists a {what} twice, or out of order")


def _document(created_by: str, contents: Contents, part: Part | None) -> str:
    members = {
        "format": json.dumps(FORMAT),
        "version": json.dumps(VERSION),
        "created_by": json.dumps(created_by),
        "set": json.dumps(part and part.whole),
        "part": json.dumps(part.number if part else 1),
        "parts": json.dumps(part.count if part else 1),
        "previous": _lines(contents.previous),
        "catalog": _lines([layer.layer, layer.zoo, layer.document] for layer in contents.layers),
        "tensor_indexes": _lines([one.blob, one.reader_version, one.document] for one in contents.indexes),
        "sources": _lines(map(_source_to_json, contents.sources)),
        "members": _lines([member.sha256, member.size] for member in contents.members),
    }
    return "{\n" + ",\n".join(f'"{name}": {text}' for name, text in members.items()) + "\n}\n"


def _lines(entries: Iterable[Any]) -> str:
    lines = ",\n".join(f" {json.dumps(entry)}" for entry in entries)
    return f"[\n{lines}\n]" if lines else "[]"


def _source_to_json(source: BundledSource) -> dict[str, Any]:
    return {
        "url": source.url,
        "sha256": source.sha256,
        "size": source.size,
        "filled_at": source.filled_at.isoformat(timespec="microseconds"),
        "trust": "accepted" if source.accepted else "seen",
        "references": list(source.references),
    }


def _part(members: Any) -> Part:
    return Part(Sha256(members["set"]), _natural(members["part"]), _natural(members["parts"]))


def _contents(members: Any) -> Contents:
    return Contents(
        tuple(map(Sha256, members["previous"])),
        tuple(BundledLayer(_text(layer), _text(zoo), Sha256(name)) for layer, zoo, name in members["catalog"]),
        tuple(BundledIndex(Sha256(of), _natural(by), Sha256(name)) for of, by, name in members["tensor_indexes"]),
        tuple(map(_source_from_json, members["sources"])),
        tuple(Member(Sha256(digest), _natural(size)) for digest, size in members["members"]),
    )


def _source_from_json(row: Any) -> BundledSource:
    filled_at = datetime.fromisoformat(row["filled_at"])
    if filled_at.tzinfo != UTC or filled_at.year < 1970:
        raise ValueError("no time in UTC")
    references = tuple(map(_text, row["references"]))
    return BundledSource(
        _text(row["url"]),
        Sha256(row["sha256"]),
        _natural(row["size"]),
        filled_at,
        row["trust"] == "accepted",
        references,
    )


def _natural(value: Any) -> int:
    if type(value) is not int or not 0 <= value <= LARGEST:
        raise ValueError("no natural number, or one out of proportion")
    return value


def _text(value: Any) -> str:
    if not isinstance(value, str) or not 0 < len(value) <= _LONGEST_TEXT or not _CONTROL.isdisjoint(value):
        raise ValueError("no text")
    value.encode()  # a lone surrogate is a ValueError here
    return value


def _layer_order(layer: BundledLayer) -> tuple[str, str]:
    return layer.layer, layer.zoo


def _index_order(index: BundledIndex) -> str:
    return index.blob


def _source_order(source: BundledSource) -> str:
    return source.url
