"""The progress bar: on a terminal only."""

from __future__ import annotations

import io

import pytest

from zooproxy.client.progress import Progress
from zooproxy.errors import TransferCorrupt


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_progress_on_a_terminal_ends_full_and_on_a_line_of_its_own() -> None:
    terminal = Terminal()
    with Progress("torchvision://resnet50\x1b[2J", 4 << 20, terminal) as progress:
        for _ in range(4):
            progress.advance(1 << 20)
    last = terminal.getvalue().split("\r")[-1]
    assert last.startswith("torchvision://resnet50[2J [" + "#" * 30 + "] 100% of 4 MB")
    assert last.endswith("\n")
    assert terminal.getvalue().count("\r") < 5


def test_progress_of_a_failed_transfer_shows_how_far_it_came() -> None:
    terminal = Terminal()

    def fail_after_a_quarter() -> None:
        with Progress("ref", 4 << 20, terminal) as progress:
            progress.advance(1 << 20)
            raise TransferCorrupt

    with pytest.raises(TransferCorrupt):
        fail_after_a_quarter()
    assert " 25% " in terminal.getvalue().split("\r")[-1]


def test_progress_elsewhere_is_silent() -> None:
    stream = io.StringIO()
    with Progress("ref", 4 << 20, stream) as progress:
        progress.advance(4 << 20)
    assert stream.getvalue() == ""


def test_progress_of_a_small_transfer_is_silent() -> None:
    terminal = Terminal()
    with Progress("ref", 100, terminal) as progress:
        progress.advance(100)
    assert terminal.getvalue() == ""


def test_progress_without_a_standard_error_is_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.stderr", None)  # as under pythonw
    with Progress("ref", 4 << 20) as progress:
        progress.advance(4 << 20)
