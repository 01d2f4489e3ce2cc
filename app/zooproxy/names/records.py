"""What is known about a named checkpoint, in one shape for every zoo."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Optional, Union

Metric = Union[int, float, str, None]


@dataclass(frozen=True)
class Result:
    """What was measured: ``metrics`` by their published names and in their published units (None: not a number)."""

    task: Optional[str]
    dataset: Optional[str]
    metrics: Mapping[str, Metric]

    def to_json(self) -> dict[str, object]:
        members = {"task": self.task, "dataset": self.dataset, "metrics": dict(self.metrics)}
        return {name: value for name, value in members.items() if value}


@dataclass(frozen=True)
class Record:
    """One checkpoint as its publisher describes it; what was not said is None or empty.

    Attributes:
        url: as published, dirt included; ``corrections`` repair it when the catalog is read.
        collection: the family, such as ``Faster R-CNN``.
        architecture: its building blocks' names.
        training_data: data sets' names.
        params: number of parameters.
        flops: operations of one forward pass, counted the publisher's way (most count a multiply-add as one).
        sha256: the file's full digest, where it was said (64 hexadecimal digits).
        file_size_mib: size of the file in MiB, rounded by the publisher.
        config: path of the config inside the package.
        training_recipe: URL of how it was trained.
        licence: URL or name of the weights' own licence, where it is not the package's.
        notes: the publisher's words.
        also: names of the files that were published under the same name.
    """

    url: Optional[str]
    collection: Optional[str] = None
    architecture: tuple[str, ...] = ()
    training_data: tuple[str, ...] = ()
    results: tuple[Result, ...] = ()
    params: Optional[int] = None
    flops: Optional[int] = None
    sha256: Optional[str] = None
    file_size_mib: Optional[float] = None
    config: Optional[str] = None
    paper_title: Optional[str] = None
    paper_url: Optional[str] = None
    training_recipe: Optional[str] = None
    licence: Optional[str] = None
    notes: Optional[str] = None
    also: tuple[str, ...] = ()

    def to_json(self) -> dict[str, object]:
        """Members in the order of the attributes; those without a value are left out."""
        members: dict[str, object] = {}
        for name in _MEMBERS:
            value = getattr(self, name)
            if name == "results":
                value = [result.to_json() for result in self.results]
            elif isinstance(value, tuple):
                value = list(value)
            if value is not None and value != []:
                members[name] = value
        return members

    def facts(self) -> dict[str, object]:
        """What ``resolve`` shows as metadata: all but the URL and the other names."""
        return {name: value for name, value in self.to_json().items() if name not in ("url", "also")}

    @property
    def tasks(self) -> tuple[str, ...]:
        return tuple(dict.fromkeys(result.task for result in self.results if result.task))

    @property
    def datasets(self) -> tuple[str, ...]:
        """Data sets that it was measured on, then those that it was trained on."""
        measured = [result.dataset for result in self.results if result.dataset]
        return tuple(dict.fromkeys([*measured, *self.training_data]))


_MEMBERS = tuple(Record.__dataclass_fields__)


def record_from_json(members: Mapping[str, Any]) -> Record:
    """The record that ``to_json`` wrote; members that are not known raise TypeError."""
    values: dict[str, Any] = {
        name: tuple(value) if isinstance(value, list) else value for name, value in members.items()
    }
    rows = members.get("results", ())
    values["results"] = tuple(Result(row.get("task"), row.get("dataset"), row.get("metrics", {})) for row in rows)
    return Record(**{"url": None, **values})
