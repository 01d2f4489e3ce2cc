from __future__ import annotations

import pytest

from zooproxy.errors import UnknownScheme
from zooproxy.names.local_files import contained, local_file
from zooproxy.names.reference import parse


@pytest.mark.parametrize("path", ["x.pth", "models/x.pth", "./a//b.pth", "a b ü%.pth", "a:b/..c.pth"[4:]])
def test_file_inside_survives_being_a_url(path: str) -> None:
    file = contained(path)

    assert file is not None
    assert local_file(file.canonical) == file
    assert file.canonical.isascii()


@pytest.mark.parametrize(
    "path", ["", ".", "/etc/passwd", "../x", "a/../../x", "a/..", "..\\x", "\\\\h\\x", "C:/x", "a\n"]
)
def test_path_that_is_absolute_or_climbs_is_none(path: str) -> None:
    assert contained(path) is None


def test_other_urls_are_no_local_files_and_no_reference_is_one() -> None:
    assert local_file("https://-/x.pth") is None
    with pytest.raises(UnknownScheme):
        parse("local://-/x.pth")
