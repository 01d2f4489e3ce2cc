from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from end_to_end.proxy_process import clean_environment
from zooproxy.cli import main


def config(folder: Path, *arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "zooproxy", "config", *arguments],
        cwd=folder,
        env=clean_environment(**settings),
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_settings_that_are_right_are_said_to_be(tmp_path: Path) -> None:
    (tmp_path / "zooproxy.toml").write_text('[pins]\n"torchvision://resnet50" = "' + "0" * 64 + '"\n')
    done = config(tmp_path, "check", port="0")
    assert (done.returncode, done.stdout, done.stderr) == (0, "the settings are right\n", "")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("ofline = true\n", "unknown setting ofline in new.toml (did you mean offline?)"),
        ('[pins]\n"torchvision://resnet5O" = "0"\n', "PINS: the entry 'torchvision://resnet5O' is refused"),
        ('[mirrors]\n"zoo.example" = ["ftp://a"]\n', "MIRRORS: the entries of 'zoo.example'"),
    ],
)
def test_settings_that_are_wrong_are_refused_before_a_proxy_is_started_with_them(
    tmp_path: Path, text: str, words: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "new.toml").write_text(text)
    assert main(["config", "check", "new.toml"]) == 1
    assert capsys.readouterr().err.startswith(f"zooproxy: settings refused: {words}")


def test_show_tells_values_and_origins_and_masks_secrets(tmp_path: Path) -> None:
    done = config(tmp_path, "show", port="1", admin_tokens='["canary"]')
    assert done.returncode == 0
    assert "port = 1  # ZOOPROXY_PORT\n" in done.stdout
    assert "canary" not in done.stdout


def test_example_can_be_started_with(tmp_path: Path) -> None:
    (tmp_path / "zooproxy.toml").write_text(config(tmp_path, "example").stdout)
    assert config(tmp_path, "check").returncode == 0
