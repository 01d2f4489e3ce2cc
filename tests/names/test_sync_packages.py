from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from zooproxy.errors import UnreadablePackage
from zooproxy.names.sync.packages import MAX_MEMBER_BYTES, Installation, Wheel, installations, package_name

MakeWheel = Callable[..., io.BytesIO]


def test_stamp_of_a_wheel_is_the_same_each_time(make_wheel: MakeWheel) -> None:
    file = make_wheel({"madeup/x.py": "x = 1"})
    wheel = Wheel(file)

    assert wheel.stamp("Apache-2.0").to_json() == {
        "package": "madeup",
        "version": "1.2.3",
        "licence": "Apache-2.0",
        "wheel_sha256": hashlib.sha256(file.getvalue()).hexdigest(),
        "date": "2024-02-29",
        "extractor": 2,
    }
    assert wheel.stamp("Apache-2.0") == wheel.stamp("Apache-2.0")


def test_text_of_a_member_is_read_after_the_stamp_too(make_wheel: MakeWheel) -> None:
    wheel = Wheel(make_wheel({"madeup/x.py": "x = 'ü'"}))
    wheel.stamp("MIT")

    assert wheel.text("madeup/x.py") == "x = 'ü'"


def test_wheel_that_is_no_zip_is_unreadable() -> None:
    with pytest.raises(UnreadablePackage, match="not a zip archive"):
        Wheel(io.BytesIO(b"<html>"))


def test_stamp_of_a_zip_without_metadata_is_unreadable() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("deeper/x-1.dist-info/METADATA", "Name: x\nVersion: 1\n")

    with pytest.raises(UnreadablePackage, match="no METADATA"):
        Wheel(file).stamp("MIT")


def test_text_of_an_absent_member_is_unreadable(make_wheel: MakeWheel) -> None:
    with pytest.raises(UnreadablePackage, match=r"no member madeup/y\.py"):
        Wheel(make_wheel({})).text("madeup/y.py")


def test_text_that_is_no_utf8_is_unreadable() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("x.py", b"\xff\xfe")

    with pytest.raises(UnreadablePackage, match=r"x\.py cannot be read"):
        Wheel(file).text("x.py")


def test_text_of_a_damaged_member_is_unreadable(make_wheel: MakeWheel) -> None:
    file = make_wheel({"x.py": "x = 1\n" * 100})
    content = bytearray(file.getvalue())
    content[40:50] = bytes(10)

    with pytest.raises(UnreadablePackage, match=r"x\.py cannot be read"):
        Wheel(io.BytesIO(content)).text("x.py")


def test_text_of_a_decompression_bomb_is_refused_unread(make_wheel: MakeWheel) -> None:
    file = make_wheel({"x.py": "#" * (MAX_MEMBER_BYTES + 1)})

    with pytest.raises(UnreadablePackage, match="more than 4,194,304 bytes"):
        Wheel(file).text("x.py")


@pytest.fixture
def site_packages(make_wheel: MakeWheel, tmp_path: Path) -> Path:
    """A directory into which the wheel of a package was unpacked, with the RECORD that pip writes."""
    wheel = make_wheel({"made_up/x.py": "x = 'ü'"}, name="made_up")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)
    record = "made_up/x.py,,\nmade_up-1.2.3.dist-info/METADATA,,\n../../bin/made-up,,\n/etc/passwd,,\ngone.py,,\n"
    (tmp_path / "made_up-1.2.3.dist-info" / "RECORD").write_text(record)
    return tmp_path


def test_installation_has_the_members_of_its_record_within_site_packages(site_packages: Path) -> None:
    (found,) = installations(site_packages)
    name, installation = found

    assert name == package_name(installation) == "made-up"
    assert set(installation.names()) == {"made_up/x.py", "made_up-1.2.3.dist-info/METADATA", "gone.py"}
    assert installation.text("made_up/x.py") == "x = 'ü'"


def test_installation_is_stamped_with_the_digest_of_its_record(site_packages: Path) -> None:
    record = (site_packages / "made_up-1.2.3.dist-info" / "RECORD").read_bytes()

    assert Installation(site_packages, "made_up-1.2.3.dist-info").stamp("MIT").to_json() == {
        "package": "made_up",
        "version": "1.2.3",
        "licence": "MIT",
        "record_sha256": hashlib.sha256(record).hexdigest(),
        "extractor": 2,
    }


@pytest.mark.parametrize(
    ("name", "words"), [("elsewhere.py", "no file"), ("gone.py", "cannot be read"), ("/etc/passwd", "no file")]
)
def test_text_that_an_installation_does_not_have_is_unreadable(site_packages: Path, name: str, words: str) -> None:
    with pytest.raises(UnreadablePackage, match=words):
        Installation(site_packages, "made_up-1.2.3.dist-info").text(name)


def test_text_of_an_installed_file_too_long_is_refused_unread(site_packages: Path) -> None:
    with (site_packages / "made_up" / "x.py").open("r+b") as file:
        file.truncate(MAX_MEMBER_BYTES + 1)

    with pytest.raises(UnreadablePackage, match="more than 4,194,304 bytes"):
        Installation(site_packages, "made_up-1.2.3.dist-info").text("made_up/x.py")


def test_installations_without_a_record_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "broken-1.dist-info").mkdir()

    assert list(installations(tmp_path)) == []


def test_installations_of_what_is_no_directory_are_unreadable(tmp_path: Path) -> None:
    with pytest.raises(UnreadablePackage, match="site-packages"):
        list(installations(tmp_path / "nowhere"))


def test_package_without_a_version_has_no_name() -> None:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("x-1.dist-info/METADATA", "Name: x\n")

    with pytest.raises(UnreadablePackage, match="name and version"):
        package_name(Wheel(file))
