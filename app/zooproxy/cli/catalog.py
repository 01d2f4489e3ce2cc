"""``zooproxy resolve`` and ``zooproxy catalog``: what names there are and what they mean."""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Any

from zooproxy.cli import catalog_scan, catalog_sync
from zooproxy.cli.look_ups import every_model, look_ups
from zooproxy.names.listing import Query
from zooproxy.wire.answers import ModelAnswer, ResolveAnswer, ZooAnswer

_MIB = 1 << 20


def add_to(commands: Any) -> None:
    resolve = commands.add_parser("resolve", help="explain a reference: its URL, what is known and held of it")
    resolve.add_argument("ref", metavar="REF")
    _with_json(resolve, _resolve)
    catalog = commands.add_parser("catalog", help="the zoos and their names")
    verbs = catalog.add_subparsers(metavar="VERB", required=True)
    _with_json(verbs.add_parser("zoos", help="list the zoos"), _zoos)
    listing = verbs.add_parser("list", help="list a zoo's names")
    listing.add_argument("zoo", metavar="ZOO")
    _with_json(listing, _list)
    search = verbs.add_parser("search", help="find names by words, best match first")
    search.add_argument("words", metavar="WORD", nargs="+")
    search.add_argument("--zoo", help="only this zoo")
    search.add_argument("--task", help="part of a task's name")
    search.add_argument("--dataset", help="part of a data set's name")
    search.add_argument("--limit", type=int, default=20, choices=range(1, 501), metavar="N", help="20 by default")
    _with_json(search, _search)
    show = verbs.add_parser("show", help="all that is known of a reference")
    show.add_argument("ref", metavar="REF")
    _with_json(show, _resolve)
    catalog_sync.add_to(verbs)
    catalog_scan.add_to(verbs)


def _with_json(parser: argparse.ArgumentParser, run: Any) -> None:
    parser.add_argument("--json", action="store_true", help="as the wire's JSON")
    parser.set_defaults(run=run)


def _resolve(options: argparse.Namespace) -> int:
    answer = look_ups().resolve(options.ref)
    _print(options, asdict(answer), _explained(answer))
    return 0


def _zoos(options: argparse.Namespace) -> int:
    answers = look_ups().zoos()
    _print(options, [asdict(zoo) for zoo in answers], _table([_zoo_row(zoo) for zoo in answers]))
    return 0


def _list(options: argparse.Namespace) -> int:
    models = list(every_model(look_ups(), Query(zoo=options.zoo)))
    _print(options, [asdict(model) for model in models], (model.ref for model in models))
    return 0


def _search(options: argparse.Namespace) -> int:
    """Exit status 1 where nothing was found, as grep's."""
    query = Query(" ".join(options.words), options.zoo, options.task, options.dataset)
    found = look_ups().models(query, options.limit)
    _print(options, asdict(found), _table([_model_row(model) for model in found.models]))
    return 0 if found.models else 1


def _print(options: argparse.Namespace, members: Any, lines: Iterable[str]) -> None:
    if options.json:
        print(json.dumps(members, indent=1, ensure_ascii=False))
    else:
        for line in lines:
            print(line)


def _zoo_row(zoo: ZooAnswer) -> list[str]:
    came_from = " ".join(str(zoo.origin[key]) for key in ("package", "version") if key in zoo.origin)
    return [zoo.name, str(zoo.models), ", ".join(f"{scheme}://" for scheme in zoo.schemes), came_from]


def _model_row(model: ModelAnswer) -> list[str]:
    return [model.ref, model.state if model.state != "unknown" else "", _one(model.tasks), _one(model.datasets)]


def _one(values: list[str]) -> str:
    return values[0] if values else ""


def _table(rows: list[list[str]]) -> Iterator[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()


def _explained(answer: ResolveAnswer) -> Iterator[str]:
    yield answer.ref
    digest = answer.sha256 or (f"{answer.sha256_hint}… (as published)" if answer.sha256_hint else "not known")
    size = f"{answer.size / _MIB:,.1f} MiB" if answer.size else None
    told = {
        "stands for": answer.canonical if answer.canonical != answer.ref else None,
        "url": answer.url,
        "sha256": digest,
        "state": answer.state,
        "size": size,
        "layer": answer.layer,
        "recipe": answer.recipe,
        **_flat(answer.metadata),
    }
    for warning in answer.warnings:
        yield f"  ! {warning}"
    for name, value in told.items():
        if value:
            yield f"  {name:<14} {value}"


def _flat(metadata: Mapping[str, Any]) -> dict[str, str]:
    """Metadata on a line each: lists joined, numbers with their thousands apart."""
    told: dict[str, str] = {}
    for name, value in metadata.items():
        if name == "results":
            told["results"] = "; ".join(_result(row) for row in value)
        elif isinstance(value, list):
            told[name.replace("_", " ")] = ", ".join(map(str, value))
        else:
            told[name.replace("_", " ")] = f"{value:,}" if isinstance(value, int) else str(value)
    return told


def _result(row: Mapping[str, Any]) -> str:
    metrics = ", ".join(f"{name} {value}" for name, value in row.get("metrics", {}).items() if value is not None)
    subject = " on ".join(row[key] for key in ("task", "dataset") if row.get(key))
    return f"{subject}: {metrics}" if metrics else subject
