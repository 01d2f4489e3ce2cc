"""What running processes hold: files that come and go while one looks."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path


def open_files(process: int) -> dict[Path, int]:
    """What ``process`` has open, with sizes in bytes."""
    found = {}
    for descriptor in Path(f"/proc/{process}/fd").iterdir():
        with suppress(FileNotFoundError):  # closed meanwhile
            found[descriptor.readlink()] = descriptor.stat().st_size
    return found


def partials(data_dir: Path) -> dict[Path, int]:
    """What is staged, with sizes in bytes; an empty one is a process's sign of life and left out."""
    return {file: size for file, size in _sizes((data_dir / "partial").iterdir()) if size}


def _sizes(files: Iterable[Path]) -> Iterable[tuple[Path, int]]:
    for file in files:
        with suppress(FileNotFoundError):  # published or removed meanwhile
            yield file, file.stat().st_size
