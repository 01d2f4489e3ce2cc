"""From what a user writes after a zoo's scheme to the name that it stands for."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Optional

from zooproxy.names.corrections import AliasRepair
from zooproxy.names.layered import ZooNames
from zooproxy.names.reference import ZooReference
from zooproxy.names.zoos import DEPRECATED_SCHEMES, TORCHVISION

#: ``ResNet50_Weights.IMAGENET1K_V1`` in any case, and torchvision's keys in another case than mmengine's.
_WEIGHTS_ENUM = re.compile(r"(?P<builder>\w+?)(?:_weights)?\.(?P<member>\w+)\Z", re.IGNORECASE)

#: By zoo, alias and the target it was published with: a repair holds for no other target.
AliasRepairs = Mapping[tuple[str, str, str], AliasRepair]


@dataclass(frozen=True)
class Spelling:
    """The name that is meant (it may be in no zoo), and what a user should be told about how it was found.

    ``alias_of`` is that name where the user wrote another; ``corrections`` are the reasons of repairs.
    """

    name: str
    alias_of: Optional[str] = None
    warnings: tuple[str, ...] = ()
    corrections: tuple[str, ...] = ()


def spell(names: ZooNames, reference: ZooReference, repairs: AliasRepairs) -> Spelling:
    """What ``reference`` means in its zoo: a deprecated alias before a name, as in mmengine; then other spellings."""
    scheme_warnings = tuple(_scheme_warnings(reference))
    name = reference.name
    if name in names.aliases:
        return _deprecated(names, reference, repairs, scheme_warnings)
    if name in names:
        return Spelling(name, warnings=scheme_warnings)
    synonym = names.synonyms.get(name)
    if synonym is not None:
        notes = () if synonym.note is None else (synonym.note,)
        return Spelling(synonym.target, synonym.target, (*scheme_warnings, *notes))
    key = _torchvision_key(name) if reference.zoo == TORCHVISION else None
    if key is not None and key in names:
        return Spelling(key, key, scheme_warnings)
    return Spelling(name, warnings=scheme_warnings)


def _scheme_warnings(reference: ZooReference) -> Iterator[str]:
    if reference.scheme in DEPRECATED_SCHEMES:
        yield DEPRECATED_SCHEMES[reference.scheme]


def _torchvision_key(name: str) -> Optional[str]:
    match = _WEIGHTS_ENUM.match(name)
    return f"{match['builder']}.{match['member']}".lower() if match else None


def _deprecated(
    names: ZooNames, reference: ZooReference, repairs: AliasRepairs, scheme_warnings: tuple[str, ...]
) -> Spelling:
    """In mmengine's words where mmengine has words for it (``mmengine.runner.checkpoint``)."""
    published = names.aliases[reference.name]
    repair = None if published in names else repairs.get((reference.zoo, reference.name, published))
    target = published if repair is None else repair.target
    prefix = f"{reference.scheme}://"
    warnings = (*scheme_warnings, f"{prefix}{reference.name} is deprecated in favor of {prefix}{target}")
    if repair is None:
        return Spelling(target, target, warnings)
    repaired = (
        f"the alias {prefix}{repair.alias} was repaired: it was published for {repair.published}, which has no "
        f"entry, and now leads to {repair.target}; {repair.reason}"
    )
    return Spelling(target, target, (*warnings, repaired), (repair.reason,))
