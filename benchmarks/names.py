"""The catalog's figures against the milliseconds that they were promised to take."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from typing import Any

from benchmarks.figures import Figure
from zooproxy.errors import NotInCatalog
from zooproxy.names.catalog import Catalog
from zooproxy.names.listing import Query
from zooproxy.names.reference import parse

_WORDS = ("resnet50", "faster rcnn coco", "mask r-cnn", "segmentation cityscapes pspnet", "res")


def run(smoke: bool) -> list[Figure]:
    rounds = 1 if smoke else 15
    catalog = Catalog.shipped()
    catalog.search(Query("built"), 1)
    figures = [
        _figure("the whole catalog read, with what it allows", 300.0, rounds, lambda: Catalog.read().allowed()),
        _figure("nearest names of a misspelt one", 10.0, rounds, lambda: _miss(catalog)),
    ]
    for words in _WORDS:
        name = f"search for '{words}'"
        figures.append(_figure(name, 5.0, rounds, lambda words=words: catalog.search(Query(words), 50)))
    return figures


def _miss(catalog: Catalog) -> None:
    try:
        catalog.resolve(parse("mmdet://faster_rcnn_r50_fpn_1x_coc"))
    except NotInCatalog:
        return
    raise AssertionError("a misspelt name was found")


def _figure(name: str, promised: float, rounds: int, work: Callable[[], Any]) -> Figure:
    return Figure(name, statistics.median(_milliseconds(work) for _ in range(rounds)), promised, "ms", "<= 1")


def _milliseconds(work: Callable[[], Any]) -> float:
    started = time.process_time()
    work()
    return (time.process_time() - started) * 1000
