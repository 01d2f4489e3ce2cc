from __future__ import annotations

from pathlib import Path

import pytest

from zooproxy.errors import SettingsError
from zooproxy.serving.settings import Settings, read_settings


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
    words = (
        r"^unknown setting ZOOPROXY_OFLINE \(did you mean ZOOPROXY_OFFLINE\?\), ZOOPROXY_X.*; 'zooproxy config example'"
    )
    with pytest.raises(SettingsError, match=words):
        read_settings()


def test_every_wrong_value_is_named_with_what_it_should_be(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOOPROXY_PORT", "none")
    monkeypatch.setenv("ZOOPROXY_OFFLINE", "perhaps")
    with pytest.raises(SettingsError, match=r"ZOOPROXY_PORT: .*integer.*port to listen on.*ZOOPROXY_OFFLINE: "):
        read_settings()


@pytest.mark.parametrize(("name", "way_out"), [("ALLOW_HOSTS", r'\["a", "b"\]'), ("MIRRORS", r'{"name": "value"}')])
def test_a_variable_that_is_no_json_is_refused_with_the_way_out(
    monkeypatch: pytest.MonkeyPatch, name: str, way_out: str
) -> None:
    monkeypatch.setenv(f"ZOOPROXY_{name}", "a,b")
    with pytest.raises(SettingsError, match=f"^ZOOPROXY_{name} is not written as JSON: {way_out}$"):
        read_settings()


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ofline = true\n", r"^unknown setting ofline in zooproxy.toml \(did you mean offline\?\)"),
        ("zzz = true\n", r"^unknown setting zzz in zooproxy.toml; 'zooproxy config example' shows every one$"),
        ("port = 99999\n", r"^port in zooproxy.toml: .*65535 \(port to listen on"),
        ("[s3.default]\nsecret_ky = 'x'\n", r"s3.default.secret_ky in zooproxy.toml \(did you mean secret_key\?\)"),
        ("[s3.default]\nregion = 3\n", r"^s3.default.region in zooproxy.toml: .*string"),
        ("port =\n", r"^zooproxy.toml is no TOML: .*line 1"),
        ("# \udce9\n", r"^zooproxy.toml is no TOML: .*utf-8"),
    ],
)
def test_a_file_that_is_wrong_is_refused_with_the_key_and_what_would_be_right(
    elsewhere: Path, text: str, words: str
) -> None:
    (elsewhere / "zooproxy.toml").write_text(text, "utf-8", "surrogateescape")
    with pytest.raises(SettingsError, match=words):
        read_settings()


def test_a_secret_that_is_wrong_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ZOOPROXY_ADMIN_TOKENS", '{"secret": 1}')
    with pytest.raises(SettingsError, match=r"^ZOOPROXY_ADMIN_TOKENS: .*valid list") as refusal:
        read_settings()
    assert "secret" not in str(refusal.value)


def test_another_file_is_read_in_place_of_the_usual_one(elsewhere: Path) -> None:
    (elsewhere / "zooproxy.toml").write_text("port = 1\n")
    (elsewhere / "other.toml").write_text("port = 2\n")
    assert read_settings(elsewhere / "other.toml").port == 2
    with pytest.raises(SettingsError, match=r"^there is no file none.toml$"):
        read_settings(Path("none.toml"))


def test_workers_share_what_is_limited_for_the_whole_service_and_each_has_at_least_one() -> None:
    settings = Settings(workers=4, transfers=512, fills=8, fills_per_host=2, connections_per_host=9, bandwidth=1000)
    share = settings.share(4)
    assert (share.transfers, share.fills, share.fills_per_host) == (128, 2, 1)
    assert (share.connections_per_host, share.bandwidth) == (2, 250)
    assert Settings(workers=4).share(4).bandwidth == 0
