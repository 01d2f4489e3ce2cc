"""Exports: one spelling for one cache, continued after every kind of interruption, and never of rotten bytes."""

from __future__ import annotations

import asyncio
import subprocess
import tarfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from fakes.sites import hold, opened_site
from zooproxy.digest import Sha256
from zooproxy.errors import (
    BadRequest,
    BlobAbsent,
    BlobCorrupt,
    BundleError,
    BundleIncomplete,
    DigestMismatch,
    OutOfSpace,
)
from zooproxy.formats.reader import READER_VERSION
from zooproxy.provide.bundles.checking import check_members, check_parts
from zooproxy.provide.bundles.exporting import Exporter, Sealed, Written
from zooproxy.provide.bundles.files import opened, part_paths, read_manifest
from zooproxy.provide.bundles.manifest import Manifest
from zooproxy.provide.bundles.planning import Asked, plan
from zooproxy.provide.bundles.reading import BundleReader
from zooproxy.provide.bundles.site import Site

BODIES = {f"https://download.pytorch.org/{number}.pth": bytes([number]) * (number * 700) for number in range(1, 6)}


@pytest.fixture
async def site(tmp_path: Path) -> AsyncIterator[Site]:
    """Five small sources are held, and the first one's tensor index."""
    async with opened_site(tmp_path / "data") as site:
        for url, body in BODIES.items():
            await hold(site, url, body)
        first = Sha256.of(next(iter(BODIES.values())))
        await site.shelf.index.keep_tensor_index(first, READER_VERSION, b"an index")
        yield site


async def export(site: Site, to: Path, asked: Asked | None = None) -> list[Written]:
    planned = await plan(site.shelf.index, site.catalog, site.pins, asked or Asked(held=True))
    exporter = Exporter(site.shelf, planned.layers)
    paths = part_paths(to, len(planned.parts))
    return [await exporter.write(Sealed(part), path) for part, path in zip(planned.parts, paths, strict=True)]


def checked(*paths: Path) -> list[Manifest]:
    manifests = []
    for path in paths:
        with opened(path) as file:
            reader = BundleReader(file)
            check_members(reader)
            manifests.append(reader.manifest)
    check_parts(manifests)
    return manifests


async def test_every_tar_program_unpacks_an_export_to_the_blobs_by_their_digest(site: Site, tmp_path: Path) -> None:
    [written] = await export(site, tmp_path / "b.tar")
    assert written == Written(tmp_path / "b.tar", (tmp_path / "b.tar").stat().st_size, 0)
    unpacked = tmp_path / "unpacked"
    unpacked.mkdir()
    await asyncio.to_thread(subprocess.run, ["tar", "xf", tmp_path / "b.tar", "-C", unpacked], check=True)
    for body in BODIES.values():
        assert (unpacked / "blobs" / "sha256" / Sha256.of(body)).read_bytes() == body
    with tarfile.open(tmp_path / "b.tar") as tar:
        assert tar.getnames()[0] == "manifest.json"
        assert len(tar.getnames()) == 1 + len(BODIES) + 1
    assert read_manifest(unpacked / "manifest.json") == read_manifest(tmp_path / "b.tar")


async def test_the_same_cache_makes_the_same_bytes(site: Site, tmp_path: Path) -> None:
    for name in ("one", "two"):
        await export(site, tmp_path / name)
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()


async def test_what_is_asked_for_by_name_is_carried_and_nothing_else(site: Site, tmp_path: Path) -> None:
    url = "https://download.pytorch.org/3.pth"
    await export(site, tmp_path / "b", Asked(refs=(url,)))
    [manifest] = checked(tmp_path / "b")
    assert [source.url for source in manifest.contents.sources] == [url]
    assert [member.sha256 for member in manifest.contents.members] == [Sha256.of(BODIES[url])]


async def test_all_that_is_missing_is_named_and_nothing_is_written(site: Site, tmp_path: Path) -> None:
    refs = ("https://a.example/x.pth", *BODIES, "mmcls://vgg16")
    with pytest.raises(BlobAbsent, match=r"2 of what is asked for .*https://a.example/x.pth, mmcls://vgg16; .*warm"):
        await export(site, tmp_path / "b", Asked(refs=refs))
    assert not (tmp_path / "b").exists()
    assert not (tmp_path / "b.partial").exists()


async def test_an_empty_cache_has_nothing_to_export(tmp_path: Path) -> None:
    async with opened_site(tmp_path / "data") as empty:
        with pytest.raises(BadRequest, match="nothing is held"):
            await export(empty, tmp_path / "b")


async def test_what_contradicts_a_pin_is_not_exported(tmp_path: Path) -> None:
    url, other = list(BODIES)[:2]
    async with opened_site(tmp_path / "data", pins={url: "0" * 64}) as site:
        for one in (url, other):
            await hold(site, one, BODIES[one])
        await export(site, tmp_path / "b")
        with pytest.raises(BlobAbsent):
            await export(site, tmp_path / "c", Asked(refs=(url,)))
    assert [source.url for source in checked(tmp_path / "b")[0].contents.sources] == [other]


@pytest.mark.parametrize("share", [0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 0.999])
async def test_an_interrupted_export_goes_on_where_it_stopped(site: Site, tmp_path: Path, share: float) -> None:
    [whole] = await export(site, tmp_path / "whole")
    data = (tmp_path / "whole").read_bytes()
    (tmp_path / "b.partial").write_bytes(data[: int(len(data) * share)])
    [written] = await export(site, tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == data
    assert written.kept <= share * whole.size
    assert share < 0.3 or written.kept > 0


async def test_what_an_interrupted_export_left_is_checked_and_not_believed(site: Site, tmp_path: Path) -> None:
    await export(site, tmp_path / "whole")
    data = (tmp_path / "whole").read_bytes()
    rotten = bytearray(data)
    rotten[len(data) // 2] ^= 1
    (tmp_path / "b.partial").write_bytes(rotten + b"and more")
    [written] = await export(site, tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == data
    assert 0 < written.kept <= len(data) // 2


async def test_what_is_left_of_another_export_is_begun_anew(site: Site, tmp_path: Path) -> None:
    await export(site, tmp_path / "other", Asked(refs=(next(iter(BODIES)),)))
    (tmp_path / "other").rename(tmp_path / "b.partial")
    [written] = await export(site, tmp_path / "b")
    assert written.kept == 0
    checked(tmp_path / "b")


async def test_a_bundle_that_is_there_is_found_whole_and_nothing_else_is_overwritten(
    site: Site, tmp_path: Path
) -> None:
    [first] = await export(site, tmp_path / "b")
    [again] = await export(site, tmp_path / "b")
    assert again.kept == first.size
    (tmp_path / "b").write_bytes(b"precious")
    with pytest.raises(BadRequest, match="is there already and is not this bundle"):
        await export(site, tmp_path / "b")
    assert (tmp_path / "b").read_bytes() == b"precious"


async def test_two_exports_to_one_place_do_not_mix(site: Site, tmp_path: Path) -> None:
    import fcntl

    with (tmp_path / "b.partial").open("wb") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(BadRequest, match="another export"):
            await export(site, tmp_path / "b")
    assert not (tmp_path / "b").exists()


async def test_a_rotten_blob_is_not_carried_and_what_was_written_is_no_bundle(site: Site, tmp_path: Path) -> None:
    blob = await site.shelf.store.open(Sha256.of(BODIES["https://download.pytorch.org/4.pth"]))
    assert blob.path
    blob.path.chmod(0o644)
    blob.path.write_bytes(b"\0" * blob.size)
    with pytest.raises(BlobCorrupt, match=f"{blob.digest} has rotted"):
        await export(site, tmp_path / "b")
    assert not (tmp_path / "b").exists()
    blob.path.write_bytes(BODIES["https://download.pytorch.org/4.pth"])
    await export(site, tmp_path / "b")
    checked(tmp_path / "b")


async def test_an_export_without_proof_carries_what_has_rotted_and_the_reader_of_the_bundle_refuses_it(
    site: Site, tmp_path: Path
) -> None:
    blob = await site.shelf.store.open(Sha256.of(BODIES["https://download.pytorch.org/4.pth"]))
    assert blob.path
    blob.path.chmod(0o644)
    blob.path.write_bytes(b"\0" * blob.size)
    planned = await plan(site.shelf.index, site.catalog, site.pins, Asked(held=True))
    await Exporter(site.shelf, planned.layers, proven=False).write(Sealed(planned.parts[0]), tmp_path / "b")
    with pytest.raises(DigestMismatch, match=f"{blob.digest} hash to"):
        checked(tmp_path / "b")


@pytest.mark.parametrize("body", [b"", b"short"])
async def test_a_blob_that_lost_bytes_is_not_carried(site: Site, tmp_path: Path, body: bytes) -> None:
    blob = await site.shelf.store.open(Sha256.of(BODIES["https://download.pytorch.org/4.pth"]))
    assert blob.path
    blob.path.chmod(0o644)
    blob.path.write_bytes(body)
    with pytest.raises(BlobCorrupt):
        await export(site, tmp_path / "b")


async def test_a_disk_without_room_is_told_with_figures_before_anything_is_written(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    statvfs = os.fstatvfs
    full = lambda descriptor: os.statvfs_result([*statvfs(descriptor)[:4], 1, *statvfs(descriptor)[5:]])  # noqa: E731
    monkeypatch.setattr(os, "fstatvfs", full)
    with pytest.raises(OutOfSpace, match=r"more bytes and .* are free") as caught:
        await export(site, tmp_path / "b")
    assert caught.value.needed
    assert not (tmp_path / "b").exists()


async def test_a_place_that_cannot_be_written_is_named(site: Site, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="nowhere"):
        await export(site, tmp_path / "nowhere" / "b")


async def test_parts_are_bundles_of_their_own_and_no_larger_than_asked(site: Site, tmp_path: Path) -> None:
    limit = 16_000
    written = await export(site, tmp_path / "b", Asked(held=True, split=limit))
    paths = [one.path for one in written]
    assert [path.name for path in paths] == [f"b.{number:03}" for number in range(1, len(paths) + 1)]
    assert len(paths) > 1
    assert all(one.size <= limit for one in written)
    manifests = checked(*paths)
    carried = [member.sha256 for manifest in manifests for member in manifest.contents.members]
    assert len(carried) == len(set(carried)) == len(BODIES) + 1
    [whole] = await export(site, tmp_path / "whole")
    assert read_manifest(whole.path).part.whole == manifests[0].part.whole


async def test_a_missing_part_is_named(site: Site, tmp_path: Path) -> None:
    paths = [one.path for one in await export(site, tmp_path / "b", Asked(held=True, split=16_000))]
    with pytest.raises(BundleIncomplete, match=r"these are not here: 1\Z"):
        checked(*paths[1:])


async def test_a_blob_that_fits_no_part_is_told_with_figures(site: Site, tmp_path: Path) -> None:
    with pytest.raises(BadRequest, match="--split allows 9000"):
        await export(site, tmp_path / "b", Asked(held=True, split=9000))


async def test_an_increment_carries_what_the_bundles_before_it_did_not(site: Site, tmp_path: Path) -> None:
    await export(site, tmp_path / "first")
    await hold(site, "https://download.pytorch.org/new.pth", b"new")
    first = read_manifest(tmp_path / "first")
    await export(site, tmp_path / "second", Asked(held=True, since=(first,)))
    second = read_manifest(tmp_path / "second")
    assert [member.sha256 for member in second.contents.members] == [Sha256.of(b"new")]
    assert second.contents.previous == (first.part.whole,)
    assert len(second.contents.sources) == len(BODIES) + 1
    await hold(site, "https://download.pytorch.org/newer.pth", b"newer")
    await export(site, tmp_path / "third", Asked(held=True, since=(second,)))
    assert [member.sha256 for member in read_manifest(tmp_path / "third").contents.members] == [Sha256.of(b"newer")]


async def test_an_increment_of_which_nothing_is_new_is_a_bundle_all_the_same(site: Site, tmp_path: Path) -> None:
    await export(site, tmp_path / "first")
    await export(site, tmp_path / "second", Asked(held=True, since=(read_manifest(tmp_path / "first"),), split=20_000))
    assert checked(tmp_path / "second")[0].contents.members == ()


async def test_many_blobs_are_hashed_a_few_behind_the_copy(site: Site, tmp_path: Path) -> None:
    await asyncio.gather(*(hold(site, f"https://download.pytorch.org/many/{n}.pth", b"%d" % n) for n in range(100)))
    await export(site, tmp_path / "b")
    assert len(checked(tmp_path / "b")[0].contents.sources) == 100 + len(BODIES)
