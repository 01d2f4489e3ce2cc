from __future__ import annotations

import io
import zipfile
from collections.abc import Callable, Mapping

import pytest

from zooproxy.names.catalog import Catalog


@pytest.fixture(scope="session")
def shipped() -> Catalog:
    return Catalog.shipped()


@pytest.fixture
def make_wheel() -> Callable[[Mapping[str, str]], io.BytesIO]:
    """A wheel of these members, dated 2024-02-29, with METADATA for ``name`` 1.2.3."""

    def make(members: Mapping[str, str], name: str = "madeup") -> io.BytesIO:
        file = io.BytesIO()
        metadata = {
            f"{name}-1.2.3.dist-info/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.2.3\n\nWords.\n"
        }
        with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
            for path, text in {**members, **metadata}.items():
                archive.writestr(zipfile.ZipInfo(path, (2024, 2, 29, 12, 0, 0)), text)
        return file

    return make
