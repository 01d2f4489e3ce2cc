from __future__ import annotations

import contextlib
import io
import tomllib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from zooproxy.digest import Sha256
from zooproxy.errors import BadReference, MalformedLock
from zooproxy.names import lock as lock_module
from zooproxy.names.lock import Lock, Locked, read_lock, write_lock

A, B = Sha256("a" * 64), Sha256("b" * 64)
URL = "https://download.pytorch.org/models/resnet50-0676ba61.pth"
NET = Locked("torchvision://resnet50", URL, A, 5)
TEXT = f"""\
# weights.lock: what each reference to weights is. Made by `zooproxy lock`; check it in.
format = 1

[weights."cluster:s3://bucket/größe \\"1\\".pth"]
url = "cluster:s3://bucket/größe \\"1\\".pth"
sha256 = "{B}"
size = 7

[weights."torchvision://resnet50"]
url = "{URL}"
sha256 = "{A}"
size = 5
"""
OBJECT = Locked('cluster:s3://bucket/größe "1".pth', 'cluster:s3://bucket/größe "1".pth', B, 7)


def read(text: str | bytes) -> Lock:
    return read_lock(io.BytesIO(text.encode() if isinstance(text, str) else text))


def test_a_lock_has_one_text_whatever_the_order_it_was_made_in() -> None:
    assert write_lock(Lock([NET, OBJECT])).decode() == write_lock(Lock([OBJECT, NET])).decode() == TEXT
    assert read(TEXT) == Lock([NET, OBJECT])
    assert hash(read(TEXT)) == hash(Lock([NET, OBJECT]))
    assert read(TEXT).entries == (OBJECT, NET)
    assert read(write_lock(Lock())) == Lock()


def test_a_lock_is_toml() -> None:
    weights = tomllib.loads(TEXT)["weights"]
    assert weights["torchvision://resnet50"] == {"url": URL, "sha256": A, "size": 5}
    assert weights[OBJECT.ref]["url"] == OBJECT.url


def test_an_entry_is_found_by_its_text_its_canonical_spelling_and_its_sources_url() -> None:
    lock = read(TEXT)
    for ref in (NET.ref, "modelzoo://resnet50", URL, "HTTPS://Download.PyTorch.org:443/models/resnet50-0676ba61.pth"):
        assert lock.of(ref) == NET
    assert lock.of('cluster:petrel://bucket/größe "1".pth') == OBJECT
    assert lock.of("torchvision://resnet18") is None
    assert (lock.of_url(URL), lock.of_url("x"), lock.of_digest(B)) == (NET, None, OBJECT)
    assert NET.ref in lock
    assert URL not in lock
    with pytest.raises(BadReference):
        lock.of("resnet50")


def test_several_references_to_one_source_are_kept_as_they_were_written() -> None:
    names = ["torchvision://resnet50", "modelzoo://resnet50", URL]
    lock = Lock(Locked(name, URL, A, 5) for name in names)
    assert [entry.ref for entry in read(write_lock(lock)).entries] == sorted(names)
    assert [entry.url for entry in lock.sources()] == [URL]


@pytest.mark.parametrize(
    ("entries", "words"),
    [
        ([NET, NET], "two entries are of"),
        ([NET, Locked(URL, URL, B, 5)], "one source and not one digest"),
        ([NET, Locked("modelzoo://resnet50", "https://h.example/x", B, 5)], "one name and not one digest"),
        ([NET, Locked("https://h.example/x", "https://h.example/x", A, 6)], "one digest and not one size"),
        ([Locked("resnet50", URL, A, 5)], "is no reference"),
        ([Locked("torchvision://a\nb", URL, A, 5)], "is no reference"),
        ([Locked(NET.ref, "torchvision://resnet50", A, 5)], "the url of"),
        ([Locked(NET.ref, "https://DOWNLOAD.pytorch.org/x", A, 5)], "canonical"),
        ([Locked(NET.ref, "x" * 3000, A, 5)], "the url of"),
        ([Locked(NET.ref, "nonsense", A, 5)], "the url of"),
        ([Locked(NET.ref, URL, A, -1)], "the size of"),
        ([Locked(NET.ref, URL, A, 2**63)], "the size of"),
    ],
)
def test_entries_that_cannot_be_are_refused_by_name(entries: list[Locked], words: str) -> None:
    with pytest.raises(MalformedLock, match=words):
        Lock(entries)


def test_a_sites_own_file_is_a_source() -> None:
    mine = Locked("openmmlab://mine", "local://-/models/mine.pth", A, 5)
    assert read(write_lock(Lock([mine]))).entries == (mine,)


def changed(old: str, new: str) -> str:
    assert old in TEXT
    return TEXT.replace(old, new, 1)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "does not begin as a lock"),
        ("{}\n", "does not begin as a lock"),
        ("\n\n\n", "does not begin as a lock"),
        (TEXT[:-1], "middle of a line"),
        (TEXT.replace("\n", "\r\n"), "carriage return"),
        (b"\xff" + TEXT.encode(), "no UTF-8 from byte 0"),
        (changed("format = 1", "format = 2"), "of format 2, and this zooproxy reads format 1"),
        (changed("# weights", "# Weights"), "does not begin as a lock"),
        (changed("size = 7\n\n", "size = 7\n"), "line 8 should be empty"),
        (TEXT + "\n", "line 14 should be"),
        (TEXT + "# a word\n", "line 13 should be empty"),
        (changed("size = 7", "size = 07"), "line 7 should be size"),
        (changed("size = 7", "size = -7"), "line 7 should be size"),
        (changed("size = 7", "size = 7 # seven"), "line 7 should be size"),
        (changed("size = 7", "size = \N{ARABIC-INDIC DIGIT SEVEN}"), "line 7 should be size"),
        (changed("size = 7", f"size = {2**63}"), "the size of"),
        (changed("size = 5\n", ""), "line 12 should be size"),
        (changed(A, A.upper()), "line 11 should be sha256"),
        (changed(A, A[:8]), "line 11 should be sha256"),
        (changed(f'url = "{URL}"', f"url = '{URL}'"), "line 10 should be url"),
        (changed(f'url = "{URL}"', f'url =  "{URL}"'), "line 10 should be url"),
        (changed(f'url = "{URL}"', 'url = "\\u0041"'), "line 10 should be url"),
        (changed(f'url = "{URL}"', 'url = "\\"'), "line 10 should be url"),
        (changed('[weights."torch', '[ weights."torch'), "line 9 should be"),
        (changed("torchvision://resnet50", "torchvision://resnet50\0"), "is no reference"),
        (changed("torchvision://resnet50", "a://resnet50"), "line 9: 'a://resnet50' stands after"),
        (
            changed('cluster:s3://bucket/größe \\"1\\".pth"]', 'torchvision://resnet50"]'),
            "each reference has one block",
        ),
        (changed("[weights", "<<<<<<< ours\n[weights"), "line 4 is left from a merge"),
    ],
)
def test_what_no_lock_is_written_as_is_refused_with_the_line(text: str | bytes, words: str) -> None:
    with pytest.raises(MalformedLock, match=words):
        read(text)


def test_a_file_beyond_every_lock_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock_module, "MAX_BYTES", 100)
    file = io.BytesIO(TEXT.encode())
    with pytest.raises(MalformedLock, match="more than 100 bytes"):
        read_lock(file)
    assert file.tell() == 101


def test_more_entries_than_a_lock_has_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lock_module, "MAX_ENTRIES", 1)
    with pytest.raises(MalformedLock, match="1 entries at most"):
        read(TEXT)


_names = st.text(st.characters(codec="utf-8"), min_size=1, max_size=30).filter(
    lambda text: text.isprintable() and not text.isspace() and text == text.strip()
)
_refs = st.builds("{}://{}".format, st.sampled_from(["mmdet", "torchvision", "s3://b"]), _names).map(
    lambda ref: ref.replace("s3://b://", "s3://b/")
)


@given(st.dictionaries(_refs, st.tuples(st.binary(max_size=4), st.sampled_from([URL, None])), max_size=8))
def test_every_lock_is_read_back_as_it_was(made: dict[str, tuple[bytes, str | None]]) -> None:
    entries = []
    for number, (ref, (data, url)) in enumerate(made.items()):
        body = b"" if url else data
        entries.append(Locked(ref, url or f"https://h.example/{number}", Sha256.of(body), len(body)))
    text = write_lock(Lock(entries))
    assert read(text) == Lock(entries)
    assert write_lock(read(text)) == text
    assert tomllib.loads(text.decode()).get("weights", {}).keys() == made.keys()


@given(st.binary(max_size=400))
def test_any_bytes_after_the_head_are_a_lock_or_refused(tail: bytes) -> None:
    data = write_lock(Lock()) + tail
    with contextlib.suppress(MalformedLock):
        assert write_lock(read(data)) == data
