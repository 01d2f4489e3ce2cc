from __future__ import annotations

from pathlib import Path

import pytest

from zooproxy.errors import SettingsError
from zooproxy.names.sections import Section, section_to_json
from zooproxy.provide.site_catalog import site_sections

SECTION = Section("mmdet", {"package": "mmdet"}, {"a": "https://h/a.pth"})


def write(path: Path, text: str) -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text, encoding="utf-8")


def test_data_directory_without_files_has_no_layers(tmp_path: Path) -> None:
    assert list(site_sections(tmp_path)) == []
    assert list(site_sections(tmp_path / "nowhere")) == []


def test_synced_sections_and_site_names_are_layers_of_their_own(tmp_path: Path) -> None:
    write(tmp_path / "catalog" / "mmdet.json", section_to_json(SECTION))
    write(
        tmp_path / "open_mmlab.json",
        '{"mine": "HTTPS://H.org:443/x.pth", "near": "models/x.pth", "object": "s3://b/k.pth", "none": null}',
    )

    synced, site = site_sections(tmp_path)

    assert (synced.zoo, synced.layer, synced.models) == ("mmdet", "synced", {"a": "https://h/a.pth"})
    assert (site.zoo, site.layer) == ("openmmlab", "site")
    assert site.models == {
        "mine": "https://h.org/x.pth",
        "near": "local://-/models/x.pth",
        "object": "s3://b/k.pth",
        "none": None,
    }


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        "{}",
        '{"zoo": "mmdet"}',
        section_to_json(Section("mmseg", {}, {})),
        section_to_json(Section("nowhere", {}, {})),
        section_to_json(SECTION).replace('"records": {}', '"records": {"a": {"colour": 1}}'),
        section_to_json(SECTION).replace('"records": {}', '"records": []'),
        "[" * 100_000,
    ],
)
def test_synced_file_that_is_no_section_is_refused_by_name(tmp_path: Path, text: str) -> None:
    write(tmp_path / "catalog" / "mmdet.json", text)

    with pytest.raises(SettingsError, match=r"mmdet\.json is no section .* catalog sync"):
        list(site_sections(tmp_path))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "is no JSON"),
        ("[]", "map names to URLs or paths"),
        ('{"a": 1}', "'a' leads neither"),
        ('{"a": "/etc/passwd"}', "'a' leads neither"),
        ('{"a": "x/../../y"}', "'a' leads neither"),
        ('{"a": ""}', "'a' leads neither"),
        ('{"a": "ftp://h/x"}', "the URL of 'a' is refused"),
        ('{"a": "local://-/x"}', "the URL of 'a' is refused"),
        ('{"a": "torchvision://"}', "the URL of 'a' is refused"),
    ],
)
def test_site_names_that_lead_nowhere_are_refused_by_name(tmp_path: Path, text: str, words: str) -> None:
    write(tmp_path / "open_mmlab.json", text)

    with pytest.raises(SettingsError, match=words):
        list(site_sections(tmp_path))


def test_site_names_that_are_no_text_are_refused(tmp_path: Path) -> None:
    (tmp_path / "open_mmlab.json").write_bytes(b"\xff")

    with pytest.raises(SettingsError, match="UTF-8"):
        list(site_sections(tmp_path))
