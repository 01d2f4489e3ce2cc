"""What the catalog knows, as the wire's answers."""

from __future__ import annotations

from zooproxy.names.catalog import Catalog, Resolution
from zooproxy.names.listing import Listed
from zooproxy.names.zoos import Zoo
from zooproxy.wire.answers import UNKNOWN, ModelAnswer, ResolveAnswer, ZooAnswer


def resolve_answer(resolution: Resolution) -> ResolveAnswer:
    """What can be said of a reference without a proxy: nothing of what is held."""
    source = resolution.source
    return ResolveAnswer(
        ref=resolution.reference,
        canonical=resolution.canonical,
        zoo=resolution.zoo,
        name=resolution.name,
        url=source.url,
        candidates=[source.url],
        sha256_hint=source.sha256_hint,
        sha256=None,
        size=None,
        state=UNKNOWN,
        recipe=resolution.recipe,
        alias_of=resolution.alias_of,
        layer=resolution.layer,
        warnings=list(resolution.warnings),
        metadata=resolution.metadata,
    )


def model_answer(listed: Listed, state: str = UNKNOWN) -> ModelAnswer:
    record = listed.record
    return ModelAnswer(
        ref=listed.ref,
        zoo=listed.zoo,
        name=listed.name,
        url=listed.url,
        layer=listed.layer,
        state=state,
        synonyms=list(listed.synonyms),
        tasks=list(record.tasks) if record else [],
        datasets=list(record.datasets) if record else [],
        metadata=record.facts() if record else {},
    )


def zoo_answer(zoo: Zoo) -> ZooAnswer:
    return ZooAnswer(zoo.name, list(zoo.schemes), zoo.models, list(zoo.layers), zoo.origin)


def zoo_answers(catalog: Catalog) -> list[ZooAnswer]:
    return [zoo_answer(zoo) for zoo in catalog.zoos()]
