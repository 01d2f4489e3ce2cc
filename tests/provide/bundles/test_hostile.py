"""What a stranger might send: each is refused with a typed error, and leaves the store and the disk as they were."""

from __future__ import annotations

import gzip
import io
import tarfile
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from fakes.sites import hold, opened_site
from provide.bundles.bundle_files import (
    blob,
    bundle,
    by_tarfile,
    changed_header,
    checkpoint,
    contents_of,
    filed,
    manifest,
    named,
    url_of,
)
from zooproxy.digest import Sha256
from zooproxy.errors import (
    BundleIncomplete,
    DigestMismatch,
    MalformedBundle,
    NotACheckpoint,
    OutOfSpace,
    ZooproxyError,
)
from zooproxy.names.sections import Section, section_to_json
from zooproxy.provide.bundles import layout
from zooproxy.provide.bundles.importing import Terms, take_in
from zooproxy.provide.bundles.manifest import BundledIndex, BundledLayer, Contents, Member
from zooproxy.provide.bundles.reading import BundleReader

ONE, TWO = checkpoint(10), checkpoint(300)
BODIES = {url_of(1): ONE, url_of(2): TWO}
CONTENTS = contents_of(BODIES)
WHOLE = bundle(CONTENTS, BODIES.values())
HEAD = filed(layout.MANIFEST, manifest(CONTENTS).to_bytes())
HEX = Sha256.of(ONE)
STRANGER = Terms()


def with_header(at: int, value: bytes) -> bytes:
    """The first blob's header has ``value`` at ``at``, and a right checksum."""
    return HEAD + changed_header(blob(ONE), at, value) + blob(TWO) + layout.END


def with_manifest_header(at: int, value: bytes) -> bytes:
    return changed_header(WHOLE, at, value)


def before_the_blob(data: bytes) -> bytes:
    """``data`` between the manifest and the first blob."""
    return HEAD + data + WHOLE[len(HEAD) :]


def pax(**records: str) -> bytes:
    """A PAX header, without the member that follows it."""
    info = named("x")
    info.pax_headers = records
    return by_tarfile(info)[:1024]


def of_source(**changes: object) -> bytes:
    """A bundle whose one source is not what it should be."""
    source = replace(contents_of({url_of(1): ONE}).sources[0], **changes)  # type: ignore[arg-type]
    return bundle(replace(contents_of({url_of(1): ONE}), sources=(source,)), [ONE])


def of_layer(layer: str, zoo: str, document: bytes) -> bytes:
    member = Member(Sha256.of(document), len(document))
    base = contents_of({url_of(1): ONE})
    contents = replace(base, layers=(BundledLayer(layer, zoo, member.sha256),), members=(member, *base.members))
    return bundle(contents, [document, ONE])


def section(**models: str) -> bytes:
    return section_to_json(Section("mmdet", {"package": "mmdet"}, models, layer="synced")).encode()


def of_index(document: bytes) -> bytes:
    member = Member(Sha256.of(document), len(document))
    base = contents_of({url_of(1): ONE})
    index = BundledIndex(Sha256.of(ONE), 1, member.sha256)
    return bundle(replace(base, indexes=(index,), members=(member, *base.members)), [document[:-1] + b"!", ONE])


def zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("manifest.json", "{}")
    return file.getvalue()


def link_chain() -> bytes:
    """As in CVE-2025-4517: directories and links whose names grow until a check of the real path gives up."""
    members: list[tarfile.TarInfo] = []
    deep = ""
    for letter in "abcdefghijklmnop":
        folder = "d" * 247
        members.append(named(f"{deep}{folder}", tarfile.DIRTYPE))
        members.append(named(f"{deep}{letter}", tarfile.SYMTYPE, link=folder))
        deep += f"{letter}/"
    members.append(named(f"{deep}{'l' * 254}", tarfile.SYMTYPE, link="../" * 16))
    members.append(named("escape", tarfile.SYMTYPE, link=f"{deep}{'l' * 254}/../../../canary"))
    members.append(named("hard", tarfile.LNKTYPE, link="escape"))
    return by_tarfile(*members)


MALFORMED = {
    "nothing": b"",
    "less than a header": WHOLE[:511],
    "an end without a beginning": layout.END,
    "nothing but zeros": bytes(10_240),
    "a manifest's header alone": WHOLE[:512],
    "a manifest cut short": WHOLE[:700],
    "a manifest and nothing": HEAD,
    "a manifest and an end": HEAD + layout.END,
    "a blob cut short": WHOLE[: len(HEAD) + 600],
    "a blob's filling cut short": WHOLE[: len(HEAD) + len(blob(ONE)) - 1],
    "no end": WHOLE[:-1024],
    "half an end": WHOLE[:-512],
    "an end cut short": WHOLE[:-1],
    "an end that is not empty": WHOLE[:-1] + b"x",
    "something after the end": WHOLE + b"x",
    "zeros after the end": WHOLE + bytes(10_240),
    "a second bundle after the first": WHOLE + WHOLE,
    "a member after the last": WHOLE[:-1024] + blob(checkpoint(5)) + layout.END,
    "a member that is listed, twice": WHOLE[:-1024] + blob(TWO) + layout.END,
    "a member before its turn": HEAD + blob(TWO) + blob(ONE) + layout.END,
    "a member left out": HEAD + blob(TWO) + layout.END,
    "a second manifest": before_the_blob(HEAD),
    "a second manifest at the end": WHOLE[:-1024] + HEAD + layout.END,
    "a signature after the blobs": WHOLE[:-1024] + filed(layout.SIGNATURE, b"{}") + layout.END,
    "two signatures": before_the_blob(filed(layout.SIGNATURE, b"{}") * 2),
    "a blob before the manifest": blob(ONE) + WHOLE,
    "filling that is not empty": WHOLE[: len(HEAD) + len(blob(ONE)) - 1] + b"x" + WHOLE[len(HEAD) + len(blob(ONE)) :],
    "a filling of the manifest that is not empty": WHOLE[: len(HEAD) - 1] + b"x" + WHOLE[len(HEAD) :],
    "gzip": gzip.compress(WHOLE),
    "a zip": zipped(),
    "a name that climbs": with_header(0, b"blobs/sha256/../../canary\0"),
    "an absolute name": with_header(0, b"/etc/passwd\0"),
    "a name with a dot before it": with_header(0, b"./" + layout.blob_name(HEX).encode()),
    "a name in upper case": with_header(13, HEX.upper().encode()),
    "a name of 63 digits": with_header(76, b"\0"),
    "a name of 65 digits": with_header(77, b"0"),
    "a name that ends in a slash": with_header(77, b"/"),
    "a name with a NUL and more": with_header(78, b"x"),
    "a name with backslashes": with_header(0, b"blobs\\sha256\\"),
    "a name in the prefix": with_header(345, b".."),
    "a prefix of the manifest": with_manifest_header(345, b"blobs"),
    "a negative size": with_header(124, b"-0000000001\0"),
    "a negative size of the manifest": with_manifest_header(124, b"-0000000001\0"),
    "a negative size in base 256": with_header(124, b"\xff" * 12),
    "a negative size of the manifest in base 256": with_manifest_header(124, b"\xff" * 12),
    "a size out of all proportion": with_header(124, b"\x80" + b"\x7f" * 11),
    "a manifest of a terabyte": with_manifest_header(124, b"\x80" + (1 << 40).to_bytes(11, "big")),
    "a manifest of 65 MiB": with_manifest_header(124, b"%011o\0" % (65 << 20)),
    "a signature of 65 MiB": before_the_blob(layout.header(layout.SIGNATURE, 65 << 20)),
    "a small size in base 256": with_header(124, b"\x80" + len(ONE).to_bytes(11, "big")),
    "a size with spaces": with_header(124, b"%11o\0" % len(ONE)),
    "a size that is no number": with_header(124, b"abcdefghijk\0"),
    "a manifest's size that is no number": with_manifest_header(124, b"abcdefghijk\0"),
    "a size that is larger than listed": with_header(124, b"%011o\0" % (len(ONE) + 1)),
    "a size that is smaller than listed": with_header(124, b"%011o\0" % (len(ONE) - 1)),
    "a wrong checksum": WHOLE[:148] + b"000000\0 " + WHOLE[156:],
    "a blob's wrong checksum": HEAD + blob(ONE)[:148] + b"000000\0 " + blob(ONE)[156:] + blob(TWO) + layout.END,
    "a setuid mode": with_header(100, b"0004755\0"),
    "an owner": with_header(108, b"0001750\0"),
    "a time": with_header(136, b"14000000000\0"),
    "an owner's name": with_header(265, b"root"),
    "a link's name on a file": with_header(157, b"/etc/passwd"),
    "a device's number on a file": with_header(329, b"0000001\0"),
    "GNU's magic": with_header(257, b"ustar  \0"),
    "no magic": with_header(257, bytes(8)),
    "the type of old tars": with_header(156, b"\0"),
    "a hard link": with_header(156, b"1"),
    "a symbolic link": with_header(156, b"2"),
    "a character device": with_header(156, b"3"),
    "a block device": with_header(156, b"4"),
    "a directory": with_header(156, b"5"),
    "a pipe": with_header(156, b"6"),
    "a contiguous file": with_header(156, b"7"),
    "a sparse file": with_header(156, b"S"),
    "a volume's label": with_header(156, b"V"),
    "a type that nobody knows": with_header(156, b"Z"),
    "a manifest that is a link": with_manifest_header(156, b"2"),
    "a manifest that is a pipe": with_manifest_header(156, b"6"),
    "a PAX header with a path": before_the_blob(pax(path="../../canary")),
    "a PAX header with a size": before_the_blob(pax(size="99999999999999")),
    "a PAX header with a negative size": before_the_blob(pax(size="-1")),
    "a PAX header of a sparse file": before_the_blob(pax(**{"GNU.sparse.map": "0,1", "GNU.sparse.size": "999"})),
    "a PAX header with a link": before_the_blob(pax(linkpath="/etc/passwd")),
    "a PAX header before the manifest": pax(path="manifest.json") + WHOLE,
    "a PAX header of all that follows": before_the_blob(changed_header(pax(path="x"), 156, b"g")),
    "a PAX header of a terabyte": before_the_blob(
        changed_header(pax(path="x"), 124, b"\x80" + (1 << 40).to_bytes(11, "big"))
    ),
    "a long name of GNU's": before_the_blob(by_tarfile(named("../" * 60 + "canary"), form=tarfile.GNU_FORMAT)[:-1024]),
    "a chain of links": before_the_blob(link_chain()[:-1024]),
    "a chain of links alone": link_chain(),
    "a symbolic link and a file through it": before_the_blob(
        by_tarfile(named("blobs", tarfile.SYMTYPE, link="/tmp"), (named("blobs/x", size=1), b"x"))[:-1024]
    ),
    "a URL with another scheme": of_source(url="javascript:alert(1)"),
    "a file's URL": of_source(url="file:///etc/passwd"),
    "a derived blob's URL": of_source(url=f"derived:{'0' * 64}/{'0' * 64}"),
    "a name for a URL": of_source(url="mmcls://vgg16"),
    "a URL that is not spelt canonically": of_source(url="HTTPS://download.pytorch.org:443/x.pth"),
    "a site's file that climbs": of_source(url="local://-/../canary"),
    "a published file of another digest": of_source(url=f"published://-/{'0' * 64}/x.pth"),
    "a published file of no digest": of_source(url="published://-/0676ba61/x.pth"),
    "a published file whose name climbs": of_source(url=f"published://-/{Sha256.of(ONE)}/..%2Fx.pth"),
    "a layer that is no section": of_layer("synced", "mmdet", b"[]"),
    "a layer that is no text": of_layer("synced", "mmdet", b"\xff"),
    "a layer of another zoo": of_layer("synced", "mmseg", section(x="https://a/x.pth")),
    "a layer of no zoo": of_layer("synced", "../../canary", section(x="https://a/x.pth")),
    "a layer that is none": of_layer("shipped", "mmdet", section(x="https://a/x.pth")),
    "a layer that is not spelt as ours": of_layer("synced", "mmdet", section(x="https://a/x.pth") + b"\n"),
}


async def refused(data: bytes, tmp_path: Path, terms: Terms = STRANGER) -> ZooproxyError:
    """Importing ``data``, as a file and as from a pipe, into a store that holds one thing changes nothing."""
    (tmp_path / "canary").write_text("alive")
    (tmp_path / "bundle").write_bytes(data)
    async with opened_site(tmp_path / "data") as site:
        await hold(site, url_of(9), checkpoint(9))
        before = files(tmp_path), await site.shelf.index.sources(), await site.site_names.all()
        told = []
        for file in (io.BytesIO(data), io.FileIO(tmp_path / "bundle")):
            with file, pytest.raises(ZooproxyError) as caught:
                await take_in(site, BundleReader(file), terms)  # type: ignore[arg-type]
            told.append(caught.value)
            assert (files(tmp_path), await site.shelf.index.sources(), await site.site_names.all()) == before
    assert type(told[0]) is type(told[1])
    return told[1]


def files(folder: Path) -> dict[str, bytes]:
    """All that is no directory, and what is in it; not the database, which changes by being opened, nor locks."""
    found = {path for path in folder.rglob("*") if path.is_symlink() or not path.is_dir()}
    kept = (path for path in found if not path.name.startswith("zooproxy.db") and path.parent.name != "locks")
    return {str(path): path.read_bytes() for path in kept}


@pytest.mark.parametrize("name", MALFORMED)
async def test_a_hostile_bundle_is_refused_and_nothing_is_touched(name: str, tmp_path: Path) -> None:
    assert isinstance(await refused(MALFORMED[name], tmp_path), MalformedBundle)


async def test_the_bundle_that_all_of_them_are_made_of_is_taken(tmp_path: Path) -> None:
    async with opened_site(tmp_path / "data") as site:
        imported = await take_in(site, BundleReader(io.BytesIO(WHOLE)), Terms())
        assert (imported.sources, imported.new) == (2, 2)


async def test_bytes_that_are_not_what_their_name_says_are_refused_with_both_digests(tmp_path: Path) -> None:
    other = ONE[:-1] + b"!"
    data = HEAD + filed(layout.blob_name(HEX), other) + blob(TWO) + layout.END
    error = await refused(data, tmp_path)
    assert isinstance(error, DigestMismatch)
    assert (error.expected, error.actual) == (HEX, Sha256.of(other))


async def test_a_tensor_index_that_is_not_what_its_name_says_is_refused(tmp_path: Path) -> None:
    assert isinstance(
        await refused(of_index(b"an index"), tmp_path, Terms(signed=True)), MalformedBundle | DigestMismatch
    )


async def test_the_last_of_many_blobs_being_wrong_leaves_none_of_them(tmp_path: Path) -> None:
    bodies = {url_of(number): checkpoint(number) for number in range(20)}
    data = bytearray(bundle(contents_of(bodies), bodies.values()))
    data[-layout.footprint(len(checkpoint(19))) - 1024 + 512 + 90] ^= 1
    assert isinstance(await refused(bytes(data), tmp_path), DigestMismatch)


@pytest.mark.parametrize("page", [b"<html>not found</html>" * 100, b"", b"oops"])
async def test_a_blob_that_is_no_checkpoint_is_refused(page: bytes, tmp_path: Path) -> None:
    error = await refused(bundle(contents_of({url_of(1): page}), [page]), tmp_path)
    assert isinstance(error, NotACheckpoint)


async def test_a_bundle_larger_than_the_disk_is_refused_with_figures_before_it_is_read(tmp_path: Path) -> None:
    huge = Member(Sha256.of(b"huge"), 1 << 60)
    source = replace(CONTENTS.sources[0], sha256=huge.sha256, size=huge.size)
    data = filed(layout.MANIFEST, manifest(Contents(sources=(source,), members=(huge,))).to_bytes())
    error = await refused(data + layout.header(layout.blob_name(huge.sha256), huge.size), tmp_path)
    assert isinstance(error, OutOfSpace)
    assert error.needed == 1 << 60


async def test_an_increment_without_what_it_adds_to_is_refused(tmp_path: Path) -> None:
    contents = replace(CONTENTS, members=CONTENTS.members[:1], previous=(Sha256.of(b"before"),))
    error = await refused(bundle(contents, [ONE]), tmp_path)
    assert isinstance(error, BundleIncomplete)
    assert Sha256.of(b"before")[:12] in str(error)
