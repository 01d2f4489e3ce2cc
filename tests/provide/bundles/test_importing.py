"""Imports: held from one moment on, safe to repeat, and nothing trusted is overruled without an operator's word."""

from __future__ import annotations

import asyncio
import io
import json
import zlib
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path

import pytest

from fakes.sites import hold, opened_site
from provide.bundles.bundle_files import bundle, checkpoint, contents_of, url_of
from zooproxy.cache.sidecars import sidecar_from_json
from zooproxy.cache.site_names import SiteName
from zooproxy.digest import Sha256
from zooproxy.errors import BundleConflict, BundleIncomplete, MalformedBundle, OutOfSpace
from zooproxy.formats.reader import READER_VERSION, read_tensor_index
from zooproxy.names.sections import ADMINISTRATOR, SITE_FILE, SYNCED, Section, section_to_json
from zooproxy.provide.bundles.importing import Imported, Terms, make_room, take_in
from zooproxy.provide.bundles.manifest import BundledIndex, BundledLayer, Contents, Member
from zooproxy.provide.bundles.reading import BundleReader
from zooproxy.provide.bundles.site import Site
from zooproxy.wire.tensors import tensor_index_to_json

BODIES = {url_of(number): checkpoint(number) for number in range(5)}
URL = url_of(1)


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    async with opened_site(tmp_path / "data") as site:
        yield site


async def take(site: Site, data: bytes, **terms: bool) -> Imported:
    return await take_in(site, BundleReader(io.BytesIO(data)), Terms(**terms))


def whole(bodies: dict[str, bytes]) -> bytes:
    return bundle(contents_of(bodies), bodies.values())


def with_documents(documents: list[bytes], **entries: object) -> bytes:
    """A bundle of one blob and ``documents``."""
    base = contents_of({URL: BODIES[URL]})
    members = (*(Member(Sha256.of(one), len(one)) for one in documents), *base.members)
    return bundle(replace(base, members=members, **entries), [*documents, BODIES[URL]])  # type: ignore[arg-type]


async def test_what_a_bundle_carries_is_held_with_its_sidecars_and_its_trust(site: Site) -> None:
    imported = await take(site, whole(BODIES))
    assert (imported.sources, imported.blobs, imported.new) == (5, 5, 5)
    for url, body in BODIES.items():
        held = await site.shelf.index.held(url)
        assert held
        assert (held.sha256, held.size) == (Sha256.of(body), len(body))
        with (await site.shelf.store.open(held.sha256)).file() as file:
            assert file.read() == body
        sidecar = sidecar_from_json(await site.shelf.store.sidecar(held.sha256) or b"", held.sha256)
        assert [origin.url for origin in sidecar.origins] == [url]
        trusted = await site.shelf.index.trust.of(url)
        assert trusted
        assert trusted.sha256 == held.sha256


async def test_the_same_bundle_again_changes_nothing(site: Site) -> None:
    await take(site, whole(BODIES))
    blobs = {path: path.stat().st_ino for path in (site.data_dir / "blobs").rglob("*") if path.suffix != ".json"}
    again = await take(site, whole(BODIES))
    assert (again.blobs, again.new) == (5, 0)
    after = {path: path.stat().st_ino for path in (site.data_dir / "blobs").rglob("*") if path.suffix != ".json"}
    assert blobs == after


async def test_a_blob_that_is_cut_short_here_is_brought_again(site: Site) -> None:
    await take(site, whole(BODIES))
    blob = await site.shelf.store.open(Sha256.of(BODIES[URL]))
    assert blob.path
    blob.path.chmod(0o644)
    blob.path.write_bytes(b"short")
    assert (await take(site, whole(BODIES))).new == 1
    assert blob.path.read_bytes() == BODIES[URL]


async def test_a_pipe_is_read_as_well_as_a_file(site: Site) -> None:
    class Pipe(io.BytesIO):
        def seekable(self) -> bool:
            return False

        def seek(self, *_: int) -> int:
            raise OSError("no seeking in a pipe")

    await take(site, whole({URL: BODIES[URL]}))
    imported = await take_in(site, BundleReader(Pipe(whole(BODIES))), Terms())
    assert imported.new == 4


async def test_one_blob_of_two_sources_is_stored_once(site: Site) -> None:
    base = contents_of({URL: BODIES[URL]})
    twice = replace(base, sources=(replace(base.sources[0], url="https://a.example/x.pth"), base.sources[0]))
    twice = replace(twice, sources=tuple(sorted(twice.sources, key=lambda one: one.url)))
    assert (await take(site, bundle(twice, [BODIES[URL]]))).blobs == 1
    assert len(await site.shelf.index.sources()) == 2


async def test_a_large_blob_comes_whole_through_many_blocks(site: Site) -> None:
    body = checkpoint(3_000_000)
    await take(site, whole({URL: body}))
    assert (await site.shelf.store.open(Sha256.of(body))).size == len(body)


async def test_another_digest_than_the_trusted_one_is_refused_with_both_and_accepted_on_a_word(site: Site) -> None:
    old = checkpoint(77)
    await hold(site, URL, old)
    with pytest.raises(BundleConflict) as caught:
        await take(site, whole(BODIES))
    for expected in (Sha256.of(old), Sha256.of(BODIES[URL]), "--accept"):
        assert expected in str(caught.value)
    assert len(await site.shelf.index.sources()) == 1
    await take(site, whole(BODIES), accept=True)
    held, trusted = await site.shelf.index.held(URL), await site.shelf.index.trust.of(URL)
    assert held
    assert trusted
    assert held.sha256 == trusted.sha256 == Sha256.of(BODIES[URL])
    assert trusted.accepted_at


async def test_what_comes_to_be_trusted_while_a_bundle_is_read_is_not_overruled_either(site: Site) -> None:
    data, other = whole(BODIES), checkpoint(77)
    loop = asyncio.get_running_loop()

    class Slow(io.BytesIO):
        """A fill ends while the last blob is read."""

        ended = False

        def read(self, size: int | None = -1) -> bytes:
            if self.tell() > len(data) - 2000 and not self.ended:
                self.ended = True
                asyncio.run_coroutine_threadsafe(hold(site, URL, other), loop).result(30)
            return super().read(size)

    with pytest.raises(BundleConflict, match="it is trusted here with"):
        await take_in(site, BundleReader(Slow(data)), Terms())
    assert [source.sha256 for source in await site.shelf.index.sources()] == [Sha256.of(other)]
    assert sum(path.is_file() and not path.suffix for path in (site.data_dir / "blobs").rglob("*")) == 1


async def test_a_pin_is_a_word_already_and_none_overrules_it(tmp_path: Path) -> None:
    async with opened_site(tmp_path / "data", pins={URL: "0" * 64}) as site:
        for accept in (False, True):
            with pytest.raises(BundleConflict, match=r"PINS says 0{64}; change PINS, or LOCK_FILE, first"):
                await take(site, whole(BODIES), accept=accept)


async def test_a_hint_in_a_file_name_is_held_against_the_bundle(site: Site) -> None:
    url = "https://download.pytorch.org/models/net-00000000.pth"
    with pytest.raises(BundleConflict, match="the published file name promises 00000000"):
        await take(site, whole({url: BODIES[URL]}))
    await take(site, whole({url: BODIES[URL]}), accept=True)
    assert await site.shelf.index.held(url)


async def test_many_contradictions_are_told_in_one_sentence_that_ends(site: Site) -> None:
    bodies = {url_of(number): checkpoint(number) for number in range(30)}
    for number in range(30):
        await hold(site, url_of(number), checkpoint(100 + number))
    with pytest.raises(BundleConflict, match="and 10 more; if the bundle is right") as caught:
        await take(site, whole(bodies))
    assert len(caught.value.conflicts) == 30


async def held_urls(site: Site) -> set[str]:
    return {source.url for source in await site.shelf.index.sources()}


async def test_an_import_into_a_full_cache_makes_room_as_a_fill_does_and_spares_what_the_bundle_builds_on(
    tmp_path: Path,
) -> None:
    one = len(checkpoint(100))
    bodies = {url_of(100 + number): bytes(checkpoint(100)[:-1]) + bytes([number]) for number in range(7)}
    urls = list(bodies)
    async with opened_site(tmp_path / "data", cap=4 * one) as site:
        for url in urls[:4]:  # the first is the least recently used
            await hold(site, url, bodies[url])
        bundled = {url: bodies[url] for url in (urls[0], urls[4], urls[5])}
        assert (await take(site, whole(bundled))).new == 2
        assert await held_urls(site) == {urls[0], urls[3], urls[4], urls[5]}


@pytest.mark.parametrize("pinned", [True, False], ids=["pinned", "the bundle is larger"])
async def test_an_import_that_finds_no_room_is_refused_with_figures_and_nothing_is_lost(
    tmp_path: Path, pinned: bool
) -> None:
    one = len(checkpoint(100))
    bodies = {url_of(100 + number): bytes(checkpoint(100)[:-1]) + bytes([number]) for number in range(7)}
    urls = list(bodies)
    async with opened_site(tmp_path / "data", cap=4 * one) as site:
        for url in urls[:3]:
            await hold(site, url, bodies[url])
            if pinned:
                await site.cache_pins.pin(url, url)
        bundled = {url: bodies[url] for url in urls[0 if pinned else 2 : 5 if pinned else 7]}
        before = sorted(path.name for path in (site.data_dir / "blobs").rglob("*"))
        with pytest.raises(OutOfSpace) as refused:
            await take(site, whole(bundled))
        pinned_bytes = 3 * one if pinned else 0
        assert refused.value.extras["needed_bytes"] == (2 if pinned else 4) * one
        assert (refused.value.extras["free_bytes"], refused.value.extras["pinned_bytes"]) == (one, pinned_bytes)
        assert await held_urls(site) == set(urls[:3])
        assert sorted(path.name for path in (site.data_dir / "blobs").rglob("*")) == before


async def test_room_is_made_for_all_parts_of_a_bundle_before_the_first_is_in(tmp_path: Path) -> None:
    one = len(checkpoint(100))
    bodies = {url_of(100 + number): bytes(checkpoint(100)[:-1]) + bytes([number]) for number in range(4)}
    parts = [BundleReader(io.BytesIO(whole({url: body}))).manifest for url, body in bodies.items()]
    async with opened_site(tmp_path / "data", cap=3 * one) as site:
        await make_room(site, parts[:3])
        with pytest.raises(OutOfSpace) as refused:
            await make_room(site, parts)
        assert refused.value.needed == 4 * one


async def test_an_increment_needs_what_it_adds_to(site: Site) -> None:
    first = {URL: BODIES[URL]}
    contents = contents_of(BODIES)
    members = tuple(member for member in contents.members if member.sha256 != Sha256.of(BODIES[URL]))
    later = replace(contents, members=members, previous=(Sha256.of(b"first"),))
    data = bundle(later, [body for url, body in BODIES.items() if url != URL])
    with pytest.raises(BundleIncomplete):
        await take(site, data)
    await take(site, whole(first))
    assert (await take(site, data)).new == 4
    assert len(await site.shelf.index.sources()) == 5


def read_of(body: bytes) -> bytes:
    read = read_tensor_index(io.BytesIO(body), len(body), Sha256.of(body))
    return zlib.compress(json.dumps(tensor_index_to_json(read)).encode())


def with_index(document: bytes, version: int = READER_VERSION) -> bytes:
    index = BundledIndex(Sha256.of(BODIES[URL]), version, Sha256.of(document))
    return with_documents([document], indexes=(index,))


async def test_a_tensor_index_is_kept_from_a_maker_who_is_believed_and_from_nobody_else(site: Site) -> None:
    document = read_of(BODIES[URL])
    await take(site, with_index(document))
    assert await site.shelf.index.tensor_index(Sha256.of(BODIES[URL]), READER_VERSION) is None
    await take(site, with_index(document), signed=True)
    assert await site.shelf.index.tensor_index(Sha256.of(BODIES[URL]), READER_VERSION) == document
    assert not list((site.data_dir / "partial").iterdir())


async def test_what_another_version_of_the_reader_read_is_not_kept(site: Site) -> None:
    await take(site, with_index(b"who knows", READER_VERSION + 1), signed=True)
    assert await site.shelf.index.tensor_index(Sha256.of(BODIES[URL]), READER_VERSION + 1) is None


@pytest.mark.parametrize(
    "document",
    [
        b"no zlib",
        zlib.compress(b"no JSON"),
        zlib.compress(b"{}"),
        zlib.compress(b"[" * 100_000),
        read_of(BODIES[URL]) + b"more",
        read_of(BODIES[URL])[:-5],
        read_of(BODIES[url_of(2)]),
        zlib.compress(zlib.decompress(read_of(BODIES[URL])).replace(b'"storages": [[', b'"storages": [[9')),
        zlib.compress(bytes(70 << 20)),
    ],
    ids=["no zlib", "no JSON", "no index", "nested", "and more", "cut", "another's", "leads out", "a bomb"],
)
async def test_what_is_no_tensor_index_of_the_blob_is_refused_even_when_signed(site: Site, document: bytes) -> None:
    with pytest.raises(MalformedBundle, match="as the tensor index of"):
        await take(site, with_index(document), signed=True)
    assert await site.shelf.index.sources() == ()
    assert not list((site.data_dir / "partial").iterdir())


async def test_many_tensor_indexes_are_kept_batch_by_batch(site: Site) -> None:
    bodies = [checkpoint(number) for number in range(70)]
    documents = [read_of(body) for body in bodies]
    base = contents_of({url_of(number): body for number, body in enumerate(bodies)})
    pairs = [
        (Member(Sha256.of(document), len(document)), member)
        for document, member in zip(documents, base.members, strict=True)
    ]
    indexes = [BundledIndex(blob.sha256, READER_VERSION, read.sha256) for read, blob in pairs]
    contents = Contents(
        indexes=tuple(sorted(indexes, key=lambda one: one.blob)),
        sources=base.sources,
        members=tuple(one for pair in pairs for one in pair),
    )
    data = bundle(contents, [one for pair in zip(documents, bodies, strict=True) for one in pair])
    await take(site, data, signed=True)
    kept = [await site.shelf.index.tensor_index(Sha256.of(body), READER_VERSION) for body in bodies]
    assert kept == documents


def layer(kind: str, **models: str | None) -> bytes:
    return section_to_json(Section("mmdet", {"package": "mmdet", "version": "9"}, models, layer=kind)).encode()


def with_layer(kind: str, document: bytes) -> bytes:
    return with_documents([document], layers=(BundledLayer(kind, "mmdet", Sha256.of(document)),))


async def test_synced_names_become_the_file_that_a_sync_writes(site: Site) -> None:
    document = layer(SYNCED, new="https://a.example/new.pth")
    imported = await take(site, with_layer(SYNCED, document))
    assert (site.data_dir / "catalog" / "mmdet.json").read_bytes() == document
    assert "takes them over on SIGHUP" in imported.told[0]
    assert "are the same here" in (await take(site, with_layer(SYNCED, document))).told[0]


async def test_synced_names_of_this_site_stay_unless_the_bundle_is_accepted(site: Site) -> None:
    mine, theirs = layer(SYNCED, x="https://a.example/mine.pth"), layer(SYNCED, x="https://a.example/theirs.pth")
    path = site.data_dir / "catalog" / "mmdet.json"
    path.parent.mkdir()
    path.write_bytes(mine)
    assert "were kept" in (await take(site, with_layer(SYNCED, theirs))).told[0]
    assert path.read_bytes() == mine
    await take(site, with_layer(SYNCED, theirs), accept=True)
    assert path.read_bytes() == theirs


@pytest.mark.parametrize("kind", [SITE_FILE, ADMINISTRATOR])
async def test_names_of_a_site_become_names_here_where_there_are_none(site: Site, kind: str) -> None:
    await site.site_names.put(SiteName("mmdet", "mine", "https://a.example/mine.pth"))
    site = replace(
        site,
        catalog=site.catalog.layered(
            [Section("mmdet", {}, {"mine": "https://a.example/mine.pth"}, layer=ADMINISTRATOR)]
        ),
    )
    document = layer(
        kind, mine="https://a.example/theirs.pth", new="https://a.example/new.pth", own="local://-/a.pth", none=None
    )
    imported = await take(site, with_layer(kind, document))
    assert "2 of 4 names" in imported.told[0]
    rows = {name.name: name.url for name in await site.site_names.all()}
    assert rows == {
        "mine": "https://a.example/mine.pth",
        "new": "https://a.example/new.pth",
        "own": "local://-/a.pth",
    }
    await take(site, with_layer(kind, document), accept=True)
    assert {name.url for name in await site.site_names.all()} >= {"https://a.example/theirs.pth"}


@pytest.mark.parametrize("models", [{"a\nb": "https://a/x.pth"}, {"x": "nowhere"}, {"x": "local://-/../x"}, {"": "x"}])
async def test_names_that_are_none_are_refused_before_anything_is_held(site: Site, models: dict[str, str]) -> None:
    with pytest.raises(MalformedBundle):
        await take(site, with_layer(ADMINISTRATOR, layer(ADMINISTRATOR, **models)))
    assert await site.shelf.index.sources() == ()


async def test_an_import_that_is_cancelled_shows_nothing_and_the_next_one_goes_on_from_there(site: Site) -> None:
    bodies = {url_of(number): checkpoint(number) for number in range(100)}  # more than become durable together
    data = whole(bodies)

    class Slow(io.BytesIO):
        """Stops at the last blob until the test has seen it."""

        reached = asyncio.Event()
        loop = asyncio.get_running_loop()

        def read(self, size: int | None = -1) -> bytes:
            if self.tell() > len(data) - 2000 and not self.reached.is_set():
                self.loop.call_soon_threadsafe(importing.cancel)
                self.loop.call_soon_threadsafe(self.reached.set)
            return super().read(size)

    importing = asyncio.create_task(take_in(site, BundleReader(Slow(data)), Terms()))
    with pytest.raises(asyncio.CancelledError):
        await importing
    assert await site.shelf.index.sources() == ()
    assert not list((site.data_dir / "partial").iterdir())
    assert 0 < (await take(site, data)).new < 100
    assert len(await site.shelf.index.sources()) == 100
