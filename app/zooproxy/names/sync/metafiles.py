"""OpenMMLab's metafiles: the ``.mim`` folder of a package, read with PyYAML's safe loader.

``<module>/.mim/model-index.yml`` lists metafiles; each has ``Models`` and ``Collections`` (the format of
paperswithcode's model-index 0.1.1, used loosely: a list stands for one value and one value for a list).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final, Optional

from zooproxy.errors import UnreadablePackage
from zooproxy.names.records import Record, Result
from zooproxy.names.sections import Section, Synonym
from zooproxy.names.sync.packages import Package
from zooproxy.names.sync.quantities import metrics_of, quantity, texts

LICENCE: Final = "Apache-2.0"
_INDEX = re.compile(r"(?P<base>[^/]+/\.mim/)model-index\.ya?ml\Z")
_KNOWN_LICENCES: Final[Mapping[str, str]] = {"mmyolo": "GPL-3.0"}

_Yaml = Mapping[str, Any]


def metafiles_section(zoo: str, package: Package) -> Section:
    """Every model of a package that has weights, in the order of its metafiles.

    A name given to several files stands for the first, as mmengine's inferencers take it; the others are ``name@2``,
    ``name@3``. A name given twice to one file is one record with the results of both.

    Raises:
        UnreadablePackage: there is no ``.mim`` folder, or a metafile is not what it should be.
    """
    records: dict[str, Record] = {}
    aliases: dict[str, list[str]] = {}
    for model, collection in _models(package):
        name = str(model["Name"])
        for url in texts(model.get("Weights")):
            _add(records, name, _record(url, model, collection))
        if name in records:
            for alias in texts(model.get("Alias")):
                aliases.setdefault(alias, []).append(name)
    synonyms = {alias: _synonym(alias, names) for alias, names in aliases.items() if alias not in records}
    models = {name: record.url for name, record in records.items()}
    licence = _KNOWN_LICENCES.get(zoo, LICENCE)
    return Section(zoo, package.stamp(licence).to_json(), models, synonyms=synonyms, records=records)


def has_metafiles(package: Package) -> bool:
    return any(_INDEX.match(name) for name in package.names())


def _add(records: dict[str, Record], name: str, record: Record) -> None:
    known = records.get(name)
    if known is None:
        records[name] = record
        return
    for taken in (name, *known.also):
        if records[taken].url == record.url:
            results = tuple(result for result in record.results if result not in records[taken].results)
            records[taken] = replace(records[taken], results=records[taken].results + results)
            return
    other = f"{name}@{len(known.also) + 2}"
    records[name] = replace(known, also=(*known.also, other))
    records[other] = record


def _synonym(alias: str, names: list[str]) -> Synonym:
    if len(names) == 1:
        return Synonym(names[0])
    rest = ", ".join(names[1:])
    return Synonym(names[0], f"the alias {alias} was published for {len(names)} models; the first is taken, not {rest}")


def _models(package: Package) -> Iterator[tuple[_Yaml, _Yaml]]:
    """Each model of each metafile, with its collection (empty where it has none)."""
    base, index = _index(package)
    collections: dict[str, _Yaml] = {}
    models: list[_Yaml] = []
    for path in texts(index.get("Import")):
        document = _read(package, base + path)
        body = document if isinstance(document, Mapping) else {"Models": document}
        for collection in _mappings(body.get("Collections")):
            collections[str(collection.get("Name"))] = collection
        models += [model for model in _mappings(body.get("Models")) if model.get("Name")]
    for model in models:
        family = model.get("In Collection") or model.get("In Collections")
        yield model, collections.get(str(family), {"Name": family} if family else {})


def _index(package: Package) -> tuple[str, _Yaml]:
    for name in package.names():
        match = _INDEX.match(name)
        if match is not None:
            index = _read(package, name)
            if not isinstance(index, Mapping):
                raise UnreadablePackage(f"{name} is no index of metafiles")
            return match["base"], index
    raise UnreadablePackage("the package has no .mim/model-index.yml, so it describes no weights")


def _read(package: Package, name: str) -> Any:
    try:
        import yaml  # type: ignore[import-untyped]  # its stubs are a package of their own
    except ModuleNotFoundError as error:
        raise UnreadablePackage("metafiles are read with PyYAML: pip install 'zooproxy[server]'") from error
    try:
        return yaml.load(package.text(name), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))  # noqa: S506  # safe
    except (yaml.YAMLError, ValueError, RecursionError, MemoryError) as error:
        raise UnreadablePackage(f"{name} is no YAML that can be read") from error


def _record(url: str, model: _Yaml, collection: _Yaml) -> Record:
    own, shared = _mapping(model.get("Metadata")), _mapping(collection.get("Metadata"))
    paper = _paper(model.get("Paper")) or _paper(collection.get("Paper")) or (None, None)
    return Record(
        url=url,
        collection=next(iter(texts(collection.get("Name"))), None),
        architecture=_architecture(own, shared),
        training_data=_training_data(own, shared),
        results=tuple(_results(model.get("Results"))),
        params=quantity(own, "Parameters", "params", "Params(M)"),
        flops=quantity(own, "FLOPs", "Flops(G)"),
        config=next(iter(texts(model.get("Config"))), None),
        paper_title=paper[0],
        paper_url=paper[1],
    )


def _results(given: Any) -> Iterator[Result]:
    for row in _mappings(given):
        task, dataset = _joined(row.get("Task")), _joined(row.get("Dataset"))
        metrics = dict(metrics_of(_mapping(row.get("Metrics"))))
        if task or dataset or metrics:
            yield Result(task, dataset, metrics)


def _paper(given: Any) -> Optional[tuple[Optional[str], Optional[str]]]:
    for entry in given if isinstance(given, list) else [given]:
        if isinstance(entry, Mapping):
            return _joined(entry.get("Title")), _joined(entry.get("URL"))
        if isinstance(entry, str) and entry.startswith("http"):
            return None, entry
    return None


def _architecture(own: _Yaml, shared: _Yaml) -> tuple[str, ...]:
    return tuple(dict.fromkeys([*texts(own.get("Architecture")), *texts(shared.get("Architecture"))]))


def _training_data(own: _Yaml, shared: _Yaml) -> tuple[str, ...]:
    """The model's own; a collection's list names what all its models together were trained on."""
    said = texts(own.get("Training Data"))
    family = texts(shared.get("Training Data"))
    return tuple(value for value in said or (family if len(family) == 1 else []) if not value.startswith("#"))


def _joined(value: Any) -> Optional[str]:
    return ", ".join(texts(value)) or None


def _mapping(value: Any) -> _Yaml:
    return value if isinstance(value, Mapping) else {}


def _mappings(value: Any) -> Iterable[_Yaml]:
    rows = value if isinstance(value, list) else [value]
    return [row for row in rows if isinstance(row, Mapping)]
