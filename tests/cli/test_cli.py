from __future__ import annotations

import subprocess
import sys

import pytest

import zooproxy
from end_to_end.proxy_process import clean_environment
from zooproxy.cli import main


def command(*arguments: str, **settings: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "zooproxy", *arguments],
        env=clean_environment(**settings),
        capture_output=True,
        text=True,
        timeout=60,
    )


def test_version_is_the_packages() -> None:
    assert command("--version").stdout.strip() == zooproxy.__version__


def test_no_command_is_misuse_with_a_usage_line() -> None:
    done = command()
    assert (done.returncode, done.stderr.splitlines()[0][:6]) == (2, "usage:")


def test_healthy_without_a_proxy_is_refused_with_its_url() -> None:
    done = command("healthy", port="1")
    assert (done.returncode, done.stderr) == (
        1,
        "zooproxy: not ready: http://127.0.0.1:1/readyz does not answer\n",
    )


def test_serve_without_the_servers_parts_says_how_to_install_them(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    assert main(["serve"]) == 1
    assert "pip install 'zooproxy[server]'" in capsys.readouterr().err
