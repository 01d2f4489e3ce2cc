"""The example file is true: every key stands in it, and what it says of them is what the service does."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

from zooproxy.serving.configuration import example, shown
from zooproxy.serving.settings import Settings, read_settings

FILE = Path(__file__).parents[2] / "zooproxy.example.toml"


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_example_file_is_what_the_command_prints() -> None:
    assert FILE.read_text() == example(), "run: zooproxy config example > zooproxy.example.toml"


def test_every_setting_stands_in_the_example_file_under_its_description() -> None:
    told = re.findall(r"^((?:# .+\n)+)(?:#([a-z_0-9]+) = .+|# ([a-z_0-9]+) has no default\.)$", example(), re.MULTILINE)
    assert sorted(name or other for _, name, other in told) == sorted(Settings.model_fields)
    assert all(len(words) > 10 for words, _, _ in told)


def test_the_example_file_as_it_is_changes_nothing() -> None:
    assert tomllib.loads(example()) == {}
    assert read_settings(FILE) == read_settings()


def test_defaults_in_the_example_file_are_the_services_own(elsewhere: Path) -> None:
    (elsewhere / "all.toml").write_text(re.sub(r"^#(?=[a-z_0-9]+ = )", "", example(), flags=re.MULTILINE))
    told = tomllib.loads((elsewhere / "all.toml").read_text())
    assert set(told) == {key for key, field in Settings.model_fields.items() if field.default is not None}
    assert read_settings(elsewhere / "all.toml") == read_settings()


def test_examples_are_values_that_the_service_takes(elsewhere: Path) -> None:
    uncommented = re.findall("^# for example: (.+)$", example(), re.MULTILINE)
    assert len(uncommented) > 4
    (elsewhere / "examples.toml").write_text("\n".join(uncommented))
    read_settings(elsewhere / "examples.toml")


def test_what_is_shown_is_toml_with_origins_and_without_secrets(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (elsewhere / "zooproxy.toml").write_text(
        'allow_hosts = ["a\\"b"]\n[s3.default]\naccess_key = "k"\nsecret_key = "canary-1"\n'
    )
    monkeypatch.setenv("ZOOPROXY_ADMIN_TOKENS", '["canary-2"]')
    monkeypatch.setenv("ZOOPROXY_PARENT_TOKEN", "canary-4")
    monkeypatch.setenv("ZOOPROXY_MIRRORS", '{"zoo.example": ["https://user:canary-3@mirror.lan/zoo"]}')
    lines = list(shown())
    assert "canary" not in "\n".join(lines)
    assert r'allow_hosts = ["a\"b"]  # zooproxy.toml' in lines
    assert 'admin_tokens = ["********"]  # ZOOPROXY_ADMIN_TOKENS' in lines
    assert 'parent_token = "********"  # ZOOPROXY_PARENT_TOKEN' in lines
    assert "port = 8765  # default" in lines
    assert 'mirrors = { "zoo.example" = ["https://mirror.lan/zoo"] }  # ZOOPROXY_MIRRORS' in lines
    assert "# database_url: none  # default" in lines
    told = tomllib.loads("\n".join(lines))
    assert told["s3"]["default"] == {
        "region": "us-east-1",
        "access_key": "k",
        "secret_key": "********",
        "path_style": True,
    }
