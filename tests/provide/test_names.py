"""Names that administrators put, over a real database."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from zooproxy.cache.database import Database, open_database
from zooproxy.cache.holdings import Holdings
from zooproxy.cache.site_names import SiteNames
from zooproxy.errors import BadRequest, HostNotAllowed, MalformedReference, UnknownName, UnknownZoo
from zooproxy.names.catalog import Catalog
from zooproxy.names.records import Record
from zooproxy.names.reference import parse
from zooproxy.names.sections import Section
from zooproxy.provide.names import Names, Put, open_names

CATALOG = Catalog([Section("mmdet", {}, {"a": "https://h.org/a.pth"}), Section("mmcls", {}, {})])
PUT = Put("https://H.org/mine.pth", "AB" * 32, Record(None, params=7, notes="ours"))


def check_host(url: str) -> None:
    if not url.startswith("https://h.org/"):
        raise HostNotAllowed("elsewhere")


@pytest.fixture
async def database(tmp_path: Path) -> AsyncIterator[Database]:
    async with open_database(f"sqlite:///{tmp_path}/names.db") as database:
        yield database


@pytest.fixture
async def names(database: Database) -> AsyncIterator[Names]:
    async with open_names(CATALOG, database, check_host) as names:
        yield names


async def test_put_name_overrules_the_published_one_until_it_is_removed(names: Names) -> None:
    answer, is_new = await names.put("mmdet", "a", PUT)

    assert (is_new, answer.url, answer.layer) == (True, "https://h.org/mine.pth", "administrator")
    found = names.catalog.resolve(parse("mmdet://a"))
    assert found.source.sha256_hint == "ab" * 32
    assert (found.metadata["params"], found.metadata["notes"]) == (7, "ours")
    assert (await names.put("mmdet", "a", PUT))[1] is False
    await names.remove("mmdet", "a")
    assert names.catalog.resolve(parse("mmdet://a")).source.url == "https://h.org/a.pth"


async def test_last_name_removed_leaves_no_layer(names: Names) -> None:
    await names.put("mmdet", "b", PUT)
    await names.put("mmyolo", "c", PUT)
    assert {zoo.name: zoo.layers for zoo in names.catalog.zoos()}["mmyolo"] == ("administrator",)

    await names.remove("mmyolo", "c")
    await names.remove("mmdet", "b")

    assert names.catalog.zoos() == CATALOG.zoos()


async def test_names_are_there_after_a_restart_and_in_other_processes(names: Names, database: Database) -> None:
    other = Names(CATALOG, SiteNames(database), Holdings(database), check_host)
    await names.put("mmdet", "b", PUT)

    await other.refresh()
    assert other.catalog.resolve(parse("mmdet://b")).layer == "administrator"
    async with open_names(CATALOG, database, check_host) as restarted:
        assert restarted.catalog.map("mmdet")["b"] == "https://h.org/mine.pth"
    await names.remove("mmdet", "b")
    await other.refresh()
    with pytest.raises(UnknownName):
        other.catalog.resolve(parse("mmdet://b"))


async def test_refresh_without_a_change_keeps_the_catalog(names: Names) -> None:
    before = names.catalog
    await names.refresh()
    assert names.catalog is before


@pytest.mark.parametrize(
    ("zoo", "name", "put", "error"),
    [
        ("nowhere", "a", PUT, UnknownZoo),
        ("https", "a", PUT, UnknownZoo),
        ("mmsegmentation", "a", PUT, UnknownZoo),
        ("mmdet", "", PUT, MalformedReference),
        ("mmdet", "a\n", PUT, MalformedReference),
        ("mmdet", "a", Put("x", None, Record(None)), MalformedReference),
        ("mmdet", "a", Put("mmdet://b", None, Record(None)), BadRequest),
        ("mmdet", "a", Put("https://elsewhere/x", None, Record(None)), HostNotAllowed),
        ("mmdet", "a", Put("https://h.org/x", "ab", Record(None)), BadRequest),
    ],
)
async def test_name_that_cannot_be_put_changes_nothing(
    names: Names, zoo: str, name: str, put: Put, error: type[Exception]
) -> None:
    before = names.catalog
    with pytest.raises(error):
        await names.put(zoo, name, put)
    assert names.catalog is before


async def test_published_name_cannot_be_removed(names: Names) -> None:
    with pytest.raises(UnknownName, match="no administrator"):
        await names.remove("mmdet", "a")
