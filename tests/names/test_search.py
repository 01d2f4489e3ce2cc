from __future__ import annotations

import pytest

from zooproxy.errors import BadRequest, UnknownName, UnknownZoo
from zooproxy.names.catalog import Catalog
from zooproxy.names.listing import Query
from zooproxy.names.records import Record, Result
from zooproxy.names.reference import ZooReference, parse
from zooproxy.names.search import MAX_WORDS, WordIndex, pieces, words_of
from zooproxy.names.sections import SITE_FILE, Section, Synonym


def refs(catalog: Catalog, words: str = "", limit: int = 20, **filters: str) -> list[str]:
    return [listed.ref for listed in catalog.search(Query(words, **filters), limit).models]


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("Faster R-CNN", ["faster", "r", "cnn", "rcnn"]),
        ("a_b", ["a", "b", "ab"]),
        ("中文", ["中文"]),
        ("--", []),
    ],
)
def test_pieces_are_words_and_what_punctuation_divides(text: str, found: list[str]) -> None:
    assert pieces(text) == found


def test_words_of_a_query_are_folded_few_and_different() -> None:
    assert words_of("ResNet-50 resnet") == ("resnet", "50")
    assert len(words_of(" ".join(map(str, range(100))))) == MAX_WORDS
    assert words_of("-- _") == ()


def test_word_found_whole_is_better_than_at_the_beginning_and_that_than_inside() -> None:
    index = WordIndex({name: ((1.0, (name,)),) for name in ("net", "network", "resnet", "other")})

    scores = index.search(("net",))

    assert set(scores) == {"net", "network", "resnet"}
    assert scores["net"] > scores["network"] > scores["resnet"]


def test_every_word_must_be_found_and_a_short_one_not_inside_of_others() -> None:
    index = WordIndex({"ab": ((1.0, ("alpha beta",)),), "a": ((1.0, ("alpha",)),)})

    assert set(index.search(("alpha", "beta"))) == {"ab"}
    assert set(index.search(("alp",))) == {"ab", "a"}
    assert set(index.search(("be",))) == {"ab"}
    assert index.search(("et",)) == index.search(("gamma", "alpha")) == {}
    assert index.search(()) == {"ab": 0.0, "a": 0.0}


@pytest.mark.parametrize(
    ("words", "first"),
    [
        ("resnet50", "torchvision://resnet50"),
        ("faster rcnn coco", "mmdet://faster-rcnn_r50_fpn_1x_coco"),
        ("pspnet cityscapes r101", "mmseg://pspnet_r101-d8_4xb2-40k_cityscapes-769x769"),
        ("raft", "torchvision://raft_large.c_t_v1"),
    ],
)
def test_search_puts_the_nearest_name_first(shipped: Catalog, words: str, first: str) -> None:
    assert refs(shipped, words)[0] == first


def test_search_finds_what_the_paper_and_the_synonym_say(shipped: Catalog) -> None:
    assert refs(shipped, "Deep Residual Learning", zoo="torchvision")
    assert refs(shipped, "pointpillars_kitti-3class") == ["mmdet3d://pointpillars_hv_secfpn_8xb6-160e_kitti-3d-3class"]
    assert "openmmlab://detectron/resnet50_caffe" in refs(shipped, "resnet50_caffe")


def test_search_filters_by_zoo_task_and_dataset(shipped: Catalog) -> None:
    found = shipped.search(Query("resnet", task="instance SEG", dataset="coco"), 500).models

    assert found
    assert {listed.zoo for listed in shipped.search(Query("resnet", zoo="mmseg"), 500).models} == {"mmseg"}
    for listed in found:
        assert listed.record is not None
        assert any("instance seg" in task.lower() for task in listed.record.tasks)
        assert any("coco" in dataset.lower() for dataset in listed.record.datasets)


@pytest.mark.parametrize("query", [Query(), Query("resnet"), Query("r50", zoo="mmdet")])
def test_pages_put_together_are_the_whole_in_order(shipped: Catalog, query: Query) -> None:
    whole = shipped.search(query, 10_000)
    cursor, pages = None, []
    while True:
        page = shipped.search(query, 97, cursor)
        assert page.total == whole.total
        pages += page.models
        cursor = page.next
        if cursor is None:
            break

    assert tuple(pages) == whole.models
    assert whole.next is None


def test_page_after_a_cursor_is_the_same_when_names_came_and_went() -> None:
    names = {f"net{digit}": f"https://h/{digit}.pth" for digit in "13579"}
    before = Catalog([Section("mmdet", {}, names)])
    after = before.layered([Section("mmdet", {}, {"net0": "https://h/0.pth", "net6": "https://h/6"}, layer=SITE_FILE)])

    cursor = before.search(Query("net"), 2).next

    assert [listed.name for listed in before.search(Query("net"), 9, cursor).models] == ["net5", "net7", "net9"]
    assert [listed.name for listed in after.search(Query("net"), 9, cursor).models] == ["net5", "net6", "net7", "net9"]


def test_page_that_is_exactly_full_is_the_last() -> None:
    catalog = Catalog([Section("mmdet", {}, {"a": None, "b": None})])

    assert catalog.search(Query(), 2).next is None


@pytest.mark.parametrize("cursor", ["", "x", "W10", "bnVsbA", "WzEsMiwzLDRd", "\u2028", "W" * 4000])
def test_cursor_that_no_page_gave_is_a_bad_request(shipped: Catalog, cursor: str) -> None:
    with pytest.raises(BadRequest, match="cursor"):
        shipped.search(Query(), 1, cursor)


def test_cursor_of_another_query_is_a_bad_request(shipped: Catalog) -> None:
    cursor = shipped.search(Query("resnet"), 1).next

    with pytest.raises(BadRequest, match="another query"):
        shipped.search(Query("resnet", zoo="mmdet"), 1, cursor)


def test_search_keeps_what_it_is_told_to(shipped: Catalog) -> None:
    url = "https://download.pytorch.org/models/resnet50-0676ba61.pth"
    page = shipped.search(Query(), 10, keep=lambda candidate: candidate == url)

    assert [listed.ref for listed in page.models] == ["torchvision://resnet50", "torchvision://resnet50.imagenet1k_v1"]


def test_search_of_an_unknown_zoo_suggests_the_nearest(shipped: Catalog) -> None:
    with pytest.raises(UnknownZoo) as caught:
        shipped.search(Query(zoo="mmdett"), 1)

    assert "mmdet" in caught.value.suggestions


def test_listed_name_tells_its_synonyms_and_what_is_known() -> None:
    record = Record("https://h/a.pth", results=(Result("Detection", "COCO", {}),))
    section = Section("mmdet", {}, {"a": "https://h/a.pth"}, {"old": "a"}, {"b": Synonym("a")}, {"a": record})
    reference = parse("mmdet://b")
    assert isinstance(reference, ZooReference)

    listed = Catalog([section]).listed(reference)

    assert (listed.ref, listed.layer, listed.record, listed.synonyms) == ("mmdet://a", "shipped", record, ("b", "old"))


def test_listed_unknown_name_suggests_the_nearest(shipped: Catalog) -> None:
    reference = parse("torchvision://resnet51")
    assert isinstance(reference, ZooReference)

    with pytest.raises(UnknownName, match="did you mean"):
        shipped.listed(reference)


@pytest.mark.parametrize(("digits", "found"), [("0676ba61", True), ("0676ba61" + "0" * 56, True), ("0676ba62", False)])
def test_naming_digits_tells_the_names_whose_hint_agrees(shipped: Catalog, digits: str, found: bool) -> None:
    names = [ref for ref, _ in shipped.naming_digits(digits)]

    assert names == (["torchvision://resnet50", "torchvision://resnet50.imagenet1k_v1"] if found else [])


def test_naming_digits_knows_the_corrected_ones(shipped: Catalog) -> None:
    assert "torchvision://efficientnet_b0" in [ref for ref, _ in shipped.naming_digits("7f5810bc")]
    assert shipped.naming_digits("3dd342df") == ()
