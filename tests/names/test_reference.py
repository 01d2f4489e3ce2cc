from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from zooproxy.errors import BadReference, MalformedReference, UnknownScheme
from zooproxy.names.reference import (
    MAX_LENGTH,
    ObjectReference,
    PaviReference,
    Reference,
    UrlReference,
    ZooReference,
    parse,
)

SCHEMES = [
    "torchvision",
    "modelzoo",
    "openmmlab",
    "open-mmlab",
    "mmcls",
    "http",
    "https",
    "s3",
    "petrel",
    "a:s3",
    "pavi",
]
#: Text that looks like references, which plain text hardly ever does.
REFERENCE_LIKE = st.builds("{}://{}".format, st.sampled_from([*SCHEMES, "file", "x", "a:b:petrel"]), st.text())
URL_LIKE = st.builds("https://{}".format, st.text(alphabet="aZ09.-_:/?#[]@%+ \\\r\n\x00é<", max_size=40))
ANY_TEXT = st.one_of(st.text(), REFERENCE_LIKE, URL_LIKE)


@pytest.mark.parametrize(
    ("text", "canonical"),
    [
        ("torchvision://resnet50", "torchvision://resnet50"),
        ("modelzoo://resnet50", "torchvision://resnet50"),
        ("openmmlab://detectron2/resnet50_caffe", "openmmlab://detectron2/resnet50_caffe"),
        ("open-mmlab://regnetx_1.6gf", "openmmlab://regnetx_1.6gf"),
        ("mmcls://repvgg_A0", "mmcls://repvgg_A0"),
        ("TorchVision://ResNet50", "torchvision://ResNet50"),
        ("https://Example.ORG/A/b.pth", "https://example.org/A/b.pth"),
        ("HTTPS://example.org:443/b.pth", "https://example.org/b.pth"),
        ("http://example.org:080/b.pth", "http://example.org/b.pth"),
        ("http://example.org:443/b.pth", "http://example.org:443/b.pth"),
        ("https://example.org", "https://example.org/"),
        ("https://example.org:/?x=1", "https://example.org/?x=1"),
        ("https://example.org?x=1", "https://example.org/?x=1"),
        ("https://example.org/a?url=http://b/../c", "https://example.org/a?url=http://b/../c"),
        ("https://[2001:DB8:0::1]:8443/x", "https://[2001:db8::1]:8443/x"),
        ("https://[::1]/x", "https://[::1]/x"),
        ("s3://bucket/Key with space", "s3://bucket/Key with space"),
        ("petrel://bucket/a/b.pth", "s3://bucket/a/b.pth"),
        ("open-mmlab:s3://bucket/k", "open-mmlab:s3://bucket/k"),
        ("Cluster_1:petrel://bucket/k", "Cluster_1:s3://bucket/k"),
        ("pavi://user/model.pth", "pavi://user/model.pth"),
    ],
)
def test_parse_known_form_gives_its_canonical_spelling(text: str, canonical: str) -> None:
    reference = parse(text)

    assert reference.text == text
    assert reference.canonical == canonical


@pytest.mark.parametrize(
    "target", ["/a%2Bb.pth", "/a+b%20(1).pth", "/%e4%b8%ad.pth", "/a//b", "/x?versionId=%2B&b=<>", "/a|b\\c"]
)
def test_parse_url_keeps_path_and_query_byte_for_byte(target: str) -> None:
    assert parse(f"https://example.org{target}").canonical == f"https://example.org{target}"


def test_parse_gives_the_parts_of_each_kind() -> None:
    assert parse("modelzoo://a/b") == ZooReference("modelzoo://a/b", "modelzoo", "a/b")
    assert parse("http://h:81/x?y") == UrlReference("http://h:81/x?y", "http", "h", 81, "/x?y")
    assert parse("c:s3://b/k/l") == ObjectReference("c:s3://b/k/l", "c", "b", "k/l")
    assert parse("s3://b/k") == ObjectReference("s3://b/k", None, "b", "k")
    assert parse("pavi://a/b") == PaviReference("pavi://a/b", "a/b")


@pytest.mark.parametrize(
    "text", ["resnet50.pth", "/data/x.pth", "C:\\x.pth", "~/x.pth", "torchvision:resnet50", "file:///x.pth"]
)
def test_parse_local_path_says_that_it_needs_no_proxy(text: str) -> None:
    with pytest.raises(MalformedReference, match="a local file needs no proxy"):
        parse(text)


def test_parse_unknown_scheme_lists_the_known_and_names_the_near_one() -> None:
    with pytest.raises(UnknownScheme) as caught:
        parse("torchvison://resnet50")

    message = str(caught.value)
    assert "did you mean torchvision://?" in message
    assert all(f"{scheme}://" in message for scheme in SCHEMES if ":" not in scheme)


def test_parse_unknown_scheme_without_a_near_one_makes_no_guess() -> None:
    with pytest.raises(UnknownScheme) as caught:
        parse("zzzzzzzzzz://x")

    assert "did you mean" not in str(caught.value)


def test_parse_huge_scheme_is_cut_short_in_the_message() -> None:
    with pytest.raises(UnknownScheme) as caught:
        parse(f"{'q' * 2000}://x")

    assert len(str(caught.value)) < 400


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "empty"),
        ("  \n", "empty"),
        (" torchvision://x", "white space"),
        ("torchvision://x\n", "white space"),
        ("torchvision://a\x00b", "control"),
        ("torchvision://a\r\nb", "control"),
        ("torchvision://a\u202eb", "control"),
        ("torchvision://a\ud800b", "control"),
        ("torchvision://", "names no model"),
        ("pavi://", "names no model"),
        ("cluster:torchvision://x", "cluster"),
        ("cl uster:s3://b/k", "cluster name"),
        (":s3://b/k", "cluster name"),
        ("s3://", "bucket/key"),
        ("s3://bucket", "s3://bucket/key"),
        ("petrel://bucket/", "petrel://bucket/key"),
        ("s3:///key", "bucket/key"),
        ("s3://buc ket/key", "bucket/key"),
        ("https://", "names no host"),
        ("https:///x", "names no host"),
        ("https://user@host/x", "user name"),
        ("https://user:secret@host/x", "user name"),
        ("https://good.org\\@evil.org/x", "user name"),
        ("https://good.org\\evil.org/x", "no host name"),
        ("https://-bad.org/x", "no host name"),
        ("https://a..b/x", "no host name"),
        ("https://host./x", "no host name"),
        ("https://h%6fst/x", "no host name"),
        (f"https://{'a.' * 127}aa/x", "no host name"),
        (f"https://{'a' * 64}/x", "no host name"),
        ("https://exämple.org/x", "xn--"),
        ("https://host:0/x", "port"),
        ("https://host:65536/x", "port"),
        ("https://host:8x/x", "port"),
        ("https://host:-1/x", "port"),
        ("https://host:٣/x", "port"),
        ("https://::1/x", "port|host"),
        ("https://[::1/x", "IPv6"),
        ("https://[nonsense]/x", "IPv6"),
        ("https://[::1]x/x", "IPv6"),
        ("https://[fe80::1%eth0]/x", "zone|IPv6"),
        ("https://host/x#y", "fragment"),
        ("https://host#y", "fragment"),
        ("https://host/a b", "percent-encode"),
        ("https://host/ä", "percent-encode"),
        ("https://host/a/../b", "segment"),
        ("https://host/./b", "segment"),
        ("https://host/..", "segment"),
    ],
)
def test_parse_malformed_text_says_what_is_wrong(text: str, words: str) -> None:
    with pytest.raises(MalformedReference, match=words):
        parse(text)


def test_parse_never_shows_a_password() -> None:
    with pytest.raises(MalformedReference) as caught:
        parse("https://user:hunter2@host/x")

    assert "hunter2" not in str(caught.value)


def test_parse_longest_reference_passes_and_one_more_is_refused() -> None:
    longest = "mmcls://" + "x" * (MAX_LENGTH - len("mmcls://"))

    assert parse(longest).canonical == longest
    with pytest.raises(MalformedReference, match="2,048"):
        parse(longest + "x")


def test_parse_reference_whose_canonical_spelling_is_too_long_is_refused() -> None:
    with pytest.raises(MalformedReference, match="2,048"):
        parse("modelzoo://" + "x" * (MAX_LENGTH - len("modelzoo://")))


def parse_or_refuse(text: str) -> Reference | BadReference:
    try:
        return parse(text)
    except BadReference as error:
        return error


@given(ANY_TEXT)
@example("https://[")
@example("https://[::ffff:1.2.3.4]/")
def test_parse_any_text_raises_nothing_but_bad_reference_and_is_stable(text: str) -> None:
    reference = parse_or_refuse(text)
    if isinstance(reference, BadReference):
        assert str(reference).isprintable()
        return

    again = parse(reference.canonical)
    assert again.canonical == reference.canonical
    assert type(again) is type(reference)


@given(st.sampled_from(["torchvision", "mmcls", "pavi"]), st.text(min_size=1, max_size=60))
def test_parse_printable_name_of_any_kind_is_kept_as_written(scheme: str, name: str) -> None:
    if not name.isprintable() or name != name.rstrip():
        return
    assert parse(f"{scheme}://{name}").canonical == f"{scheme}://{name}"
