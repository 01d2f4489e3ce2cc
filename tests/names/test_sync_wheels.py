from __future__ import annotations

import hashlib
import io
import zipfile
from collections.abc import Callable

import pytest

from zooproxy.errors import UnreadablePackage
from zooproxy.names.sync.wheels import MAX_MEMBER_BYTES, Wheel

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
        "extractor": 1,
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
        archive.writestr("x-1.dist-info/METADATA", "Name: x\n")
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
