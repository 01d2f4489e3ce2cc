"""What a lock is to be of: references as they are given, and those that configs mention."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from zooproxy.cli.config_references import config_files, references_in
from zooproxy.errors import SettingsError, UnreadableConfig
from zooproxy.names.mentions import mentions


def subjects(arguments: Iterable[str]) -> Mapping[str, str]:
    """References in the order in which they are met, and where each stands first (``file:line``; empty: it was given).

    Plain paths that configs mention are files of some machine, and nothing that a lock can list.

    Raises:
        SettingsError: there is no such file, or one is no config.
    """
    found: dict[str, str] = {}
    for argument in arguments:
        if "://" in argument:
            found.setdefault(argument, "")
        else:
            for ref, place in _mentioned(Path(argument)):
                found.setdefault(ref, place)
    return found


def _mentioned(path: Path) -> Iterator[tuple[str, str]]:
    for file in config_files([path]):
        try:
            mentioned = mentions(file.name, file.read_bytes())
        except UnreadableConfig as error:
            raise SettingsError(f"the config {file} cannot be read: {error}") from error
        except OSError as error:
            raise SettingsError(f"the config {file} cannot be read: {error.strerror}") from error
        yield from ((mention.text, f"{file}:{mention.line}") for mention in mentioned if not mention.is_path)
    if path.suffix == ".py":
        yield from ((ref, str(path)) for ref in references_in(path))  # its bases may lie anywhere
