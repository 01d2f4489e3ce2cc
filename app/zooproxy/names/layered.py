"""One zoo's names, put together from what each layer says about it, with the repairs of its URLs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Optional

from zooproxy.names.corrections import UrlRepair
from zooproxy.names.records import Record
from zooproxy.names.sections import LAYERS, SYNCED, Section, Synonym


class ZooNames:
    """The sections of one zoo merged: name for name, a later layer overrules an earlier one with all that it said.

    Args:
        sections: at least one, all of the same zoo.
        repairs: by the URL as published.

    Attributes:
        models: the map, repaired: None also for a URL that leads to no checkpoint.
        repaired: the repair of each name that needed one.
    """

    def __init__(self, sections: Iterable[Section], repairs: Mapping[str, UrlRepair]) -> None:
        self.sections = tuple(sorted(sections, key=lambda section: LAYERS.index(section.layer)))
        self.models: dict[str, Optional[str]] = {}
        self.records: dict[str, Record] = {}
        self.aliases: dict[str, str] = {}
        self.synonyms: dict[str, Synonym] = {}
        self._layers: dict[str, str] = {}
        for section in self.sections:
            self._add(section)
        self._beyond = {name: record.url for name, record in self.records.items() if name not in self.models}
        self.repaired: dict[str, UrlRepair] = {}
        for urls in (self.models, self._beyond):
            self._repair(urls, repairs)

    def _add(self, section: Section) -> None:
        for name in (*section.models, *section.records):
            self.records.pop(name, None)
            self.aliases.pop(name, None)
            self.synonyms.pop(name, None)
            self._layers[name] = section.layer
        if section.layer == SYNCED:
            # A package read anew: its own order, then what only earlier ones had.
            self.models = {**section.models, **{n: url for n, url in self.models.items() if n not in section.models}}
        else:
            self.models.update(section.models)
        self.records.update(section.records)
        self.aliases.update(section.aliases)
        self.synonyms.update(section.synonyms)

    def _repair(self, urls: dict[str, Optional[str]], repairs: Mapping[str, UrlRepair]) -> None:
        for name, url in urls.items():
            repair = None if url is None else repairs.get(url)
            if repair is not None:
                self.repaired[name] = repair
                urls[name] = repair.url

    @property
    def origin(self) -> Mapping[str, object]:
        """The stamp of the last layer."""
        return self.sections[-1].origin

    @property
    def layers(self) -> tuple[str, ...]:
        return tuple(section.layer for section in self.sections)

    def __contains__(self, name: str) -> bool:
        return name in self.models or name in self._beyond

    def names(self) -> Iterator[str]:
        """Every name that is no alias: those of the map in its order, then those beyond it."""
        yield from self.models
        yield from self._beyond

    def located(self) -> Iterator[tuple[str, str]]:
        """Every name that leads to weights, and its URL."""
        for urls in (self.models, self._beyond):
            yield from ((name, url) for name, url in urls.items() if url is not None)

    def url(self, name: str) -> Optional[str]:
        """The URL as repaired; None for a name without weights and for one that is not there."""
        return self.models[name] if name in self.models else self._beyond.get(name)

    def layer(self, name: str) -> str:
        """The layer that answers for a name."""
        return self._layers[name]
