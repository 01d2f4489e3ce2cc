"""Publishing over a real store and database: what is kept for a name, and what is let go."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fakes.sites import opened_site
from zooproxy.cache.site_names import SiteName, SiteNames, Together
from zooproxy.digest import Sha256
from zooproxy.errors import CacheError
from zooproxy.names.catalog import Catalog
from zooproxy.names.published import PublishedFile, PublishedName
from zooproxy.names.sections import Section
from zooproxy.provide.bundles.site import Site
from zooproxy.provide.names import Names
from zooproxy.provide.publishing import Keeping, Publication, Publishing


def body(number: int) -> bytes:
    head = json.dumps({"w": {"dtype": "U8", "shape": [1], "data_offsets": [0, 1]}}).encode()
    return len(head).to_bytes(8, "little") + head + bytes([number])


def publication(number: int) -> Publication:
    content = body(number)
    return Publication(PublishedName("site", "team/model"), PublishedFile(Sha256.of(content), "x.pth"), len(content))


async def sent(content: bytes) -> AsyncIterator[bytes]:
    yield content


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with opened_site(tmp_path / "data") as site:
        yield site


def publishing_over(site: Site, site_names: SiteNames | None = None) -> Publishing:
    catalog = Catalog([Section("mmdet", {}, {"a": "https://h.org/a.pth"})])
    own = site_names or site.site_names
    names = Names(catalog, own, None, lambda url: None)  # type: ignore[arg-type]  # nobody looks anything up
    return Publishing(Keeping(site.shelf, site.stock), names, own)


async def pinned(site: Site) -> list[str]:
    return sorted(pin.url for pin in await site.stock.pins())


async def test_two_who_move_one_name_at_once_keep_only_the_file_that_it_leads_to_then(site: Site) -> None:
    """The second looks at what it replaces in the transaction that replaces it, not before."""

    class Overtaken(SiteNames):
        async def put_together(self, names: object, fixed: SiteName | None = None) -> Together:
            await publishing_over(site).publish(publication(1), sent(body(1)))
            return await site.site_names.put_together(names, fixed)  # type: ignore[arg-type]

    overtaken = Overtaken(site.site_names._database)
    await publishing_over(site, overtaken).publish(publication(2), sent(body(2)))
    named = await site.site_names.at("site", "team/model")
    assert named is not None
    assert named.url == publication(2).file.canonical
    assert await pinned(site) == [named.url]


async def test_a_publication_whose_names_could_not_be_put_leaves_nothing_pinned(site: Site) -> None:
    class Locked(SiteNames):
        async def put_together(self, names: object, fixed: SiteName | None = None) -> Together:
            raise CacheError("the database is locked by another process")

    with pytest.raises(CacheError, match="locked"):
        await publishing_over(site, Locked(site.site_names._database)).publish(publication(1), sent(body(1)))
    assert await pinned(site) == []
    assert await site.site_names.at("site", "team/model") is None
