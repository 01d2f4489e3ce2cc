from __future__ import annotations

import pytest

from zooproxy.cache.database import Database
from zooproxy.cache.site_names import SiteName, SiteNames
from zooproxy.digest import Sha256
from zooproxy.errors import CacheError

NAME = SiteName("mmdet", "a/b", "https://h/x.pth", Sha256("ab" * 32), b'{"params": 1}')


async def test_site_name_is_put_replaced_and_removed(database: Database) -> None:
    names = SiteNames(database)
    assert await names.all() == ()

    assert await names.put(NAME)
    assert await names.all() == (NAME,)
    other = SiteName("mmdet", "a/b", "https://h/y.pth")
    assert not await names.put(other)
    assert await names.all() == (other,)
    assert await names.remove("mmdet", "a/b")
    assert not await names.remove("mmdet", "a/b")
    assert await names.all() == ()


async def test_site_names_are_in_order_and_differ_by_zoo(database: Database) -> None:
    names = SiteNames(database)
    for zoo, name in (("mmseg", "a"), ("mmdet", "b"), ("mmdet", "A")):
        await names.put(SiteName(zoo, name, "https://h/x"))

    assert [(row.zoo, row.name) for row in await names.all()] == [("mmdet", "A"), ("mmdet", "b"), ("mmseg", "a")]


async def test_revision_differs_after_every_change(database: Database) -> None:
    names = SiteNames(database)
    seen = [await names.revision()]
    for change in (
        names.put(SiteName("mmdet", "a", "https://h/1")),
        names.put(SiteName("mmdet", "a", "https://h/2")),
        names.put(SiteName("mmdet", "b", "https://h/3")),
        names.remove("mmdet", "a"),
        names.put(SiteName("mmdet", "a", "https://h/1")),
    ):
        await change
        seen.append(await names.revision())

    assert len(set(seen)) == len(seen)


async def test_half_a_digest_is_never_kept(database: Database) -> None:
    with pytest.raises(CacheError, match="CONSTRAINT"):
        await SiteNames(database).put(SiteName("mmdet", "a", "https://h/1", "ab"))  # type: ignore[arg-type]
