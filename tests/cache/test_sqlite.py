"""Which SQLite is trusted."""

from __future__ import annotations

import sqlite3
import sys
from types import ModuleType

import pytest

from zooproxy.cache.sqlite import OLDEST_SOUND, require_sound, sound_library
from zooproxy.errors import SettingsError


def library(*version: int) -> ModuleType:
    made = ModuleType("some_sqlite")
    made.__dict__.update(sqlite_version_info=version, sqlite_version=".".join(map(str, version)))
    return made


def test_library_found_here_is_sound() -> None:
    assert sound_library().sqlite_version_info >= OLDEST_SOUND


@pytest.mark.parametrize("version", [(3, 51, 3), (3, 53, 0), (4, 0, 0)])
def test_library_without_the_wal_reset_bug_is_taken(version: tuple[int, ...]) -> None:
    sound = library(*version)
    assert require_sound(sound) is sound


@pytest.mark.parametrize("version", [(3, 51, 2), (3, 40, 1), (3, 7, 0)])
def test_library_with_the_wal_reset_bug_is_refused_with_the_way_out(version: tuple[int, ...]) -> None:
    with pytest.raises(SettingsError, match="install the pysqlite3 package"):
        require_sound(library(*version))


def test_pysqlite3_missing_python_s_own_library_is_judged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "pysqlite3.dbapi2", None)
    if sqlite3.sqlite_version_info >= OLDEST_SOUND:
        assert sound_library() is sqlite3
    else:
        with pytest.raises(SettingsError, match=sqlite3.sqlite_version):
            sound_library()
