from __future__ import annotations

from pathlib import Path

import pytest

from zooproxy.errors import SettingsError
from zooproxy.serving.settings import read_settings


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory without anybody's zooproxy.toml, and an environment without anybody's variables."""
    import os

    for name in list(os.environ):
        if name.startswith("ZOOPROXY"):
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_defaults_need_nothing() -> None:
    settings = read_settings()
    assert (settings.port, settings.offline, settings.mirrors) == (8765, False, {})
    assert settings.database == f"sqlite:///{Path.cwd()}/.zooproxy/zooproxy.db"


def test_the_environment_outranks_the_file(elsewhere: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (elsewhere / "zooproxy.toml").write_text('port = 1\nallow_hosts = ["a"]\n[mirrors]\n"zoo.example" = ["http://m"]\n')
    monkeypatch.setenv("ZOOPROXY_PORT", "2")
    settings = read_settings()
    assert settings.port == 2
    assert settings.allow_hosts == ["a"]
    assert settings.mirrors == {"zoo.example": ["http://m"]}


def test_every_unknown_variable_is_named_and_the_clients_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ZOOPROXY", "ZOOPROXY_TOKEN", "ZOOPROXY_LOCK", "ZOOPROXY_CACHE_DIR", "ZOOPROXY_OFLINE", "ZOOPROXY_X"):
        monkeypatch.setenv(name, "1")
    with pytest.raises(SettingsError, match=r"^unknown setting ZOOPROXY_OFLINE, ZOOPROXY_X; known are .*ZOOPROXY_PORT"):
        read_settings()


def test_every_wrong_value_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOOPROXY_PORT", "none")
    monkeypatch.setenv("ZOOPROXY_OFFLINE", "perhaps")
    with pytest.raises(SettingsError, match=r"ZOOPROXY_PORT: .*ZOOPROXY_OFFLINE: "):
        read_settings()


def test_a_list_that_is_no_json_is_refused_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOOPROXY_ALLOW_HOSTS", "a,b")
    with pytest.raises(SettingsError, match=r"allow_hosts.*written as JSON"):
        read_settings()


@pytest.mark.parametrize(
    ("text", "words"), [("ofline = true\n", "unknown setting ofline"), ("port =\n", "zooproxy.toml")]
)
def test_a_file_that_is_wrong_is_refused(elsewhere: Path, text: str, words: str) -> None:
    (elsewhere / "zooproxy.toml").write_text(text)
    with pytest.raises(SettingsError, match=words):
        read_settings()
