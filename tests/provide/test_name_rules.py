from __future__ import annotations

import pytest

from zooproxy.errors import SettingsError
from zooproxy.names.catalog import Catalog
from zooproxy.names.reference import parse
from zooproxy.names.sections import Section
from zooproxy.provide.name_rules import NameRules

SHARED, OWN = "https://zoo.example/shared.pth", "https://zoo.example/own.pth"
CATALOG = Catalog(
    [
        Section("mmdet", {}, {"a": SHARED, "b": OWN}),
        Section("mmcls", {}, {"a": SHARED}),
    ]
)


def verdict(rules: NameRules, ref: str) -> str | None:
    """The setting that refuses ``ref``."""
    refusal = rules.refusal(CATALOG, CATALOG.resolve(parse(ref)))
    return None if refusal is None else refusal.rule


@pytest.mark.parametrize(
    ("deny", "ref", "rule"),
    [
        (["mmdet://*"], "mmdet://a", "DENY_NAMES"),
        (["mmdet://*"], "mmcls://a", None),
        (["mmdet://[ab]"], "mmdet://b", "DENY_NAMES"),
        (["MMDET://*"], "mmdet://a", None),
        (["mmdet://*"], OWN, "DENY_NAMES"),
        (["mmdet://*"], SHARED, None),
        (["mmdet://*", "mmcls://*"], SHARED, "DENY_NAMES"),
        (["https://zoo.example/*"], "mmcls://a", "DENY_NAMES"),
        (["https://zoo.example/*"], "https://zoo.example/else", "DENY_NAMES"),
        (["https://zoo.example/*"], "https://zoo.example.org/else", None),
        (["*/own.pth"], "mmdet://b", "DENY_NAMES"),
        (["*"], "s3://bucket/key", "DENY_NAMES"),
        ([], "mmdet://a", None),
    ],
)
def test_a_denied_name_is_not_served_and_its_file_only_under_another(deny: list[str], ref: str, rule: str) -> None:
    assert verdict(NameRules([], deny), ref) == rule


@pytest.mark.parametrize(
    ("allow", "ref", "rule"),
    [
        (["mmdet://*"], "mmdet://a", None),
        (["mmdet://*"], "mmcls://a", "ALLOW_NAMES"),
        (["mmdet://*"], SHARED, None),
        (["mmdet://a"], OWN, "ALLOW_NAMES"),
        (["mmdet://*"], "https://zoo.example/else", "ALLOW_NAMES"),
        (["https://zoo.example/*"], "mmcls://a", None),
    ],
)
def test_where_names_are_allowed_nothing_else_is_served(allow: list[str], ref: str, rule: str) -> None:
    assert verdict(NameRules(allow), ref) == rule


def test_denying_outranks_allowing() -> None:
    assert verdict(NameRules(["mmdet://*"], ["mmdet://a"]), "mmdet://a") == "DENY_NAMES"


@pytest.mark.parametrize("pattern", ["mmdet", "mmdet/*", ""])
def test_a_pattern_that_fits_no_reference_is_refused_with_one_that_could(pattern: str) -> None:
    with pytest.raises(SettingsError, match=r"^ALLOW_NAMES: .*mmdet://\*"):
        NameRules([pattern])
