"""The layers of the catalog that a site keeps in its data directory.

* ``catalog/<zoo>.json``: what ``zooproxy catalog sync`` read from packages; the synced layer.
* ``open_mmlab.json``: names of its own for the openmmlab zoo, in mmengine's format: name to URL, or to a path relative
  to ``local/``, where the files lie.
* ``parent/site.json``: what the proxy that this one asks published when it was asked last (``provide.parent_names``).
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from zooproxy.errors import BadReference, SettingsError
from zooproxy.names.local_files import contained
from zooproxy.names.reference import parse
from zooproxy.names.sections import PARENT, SITE_FILE, SYNCED, Section, section_from_json
from zooproxy.names.zoos import OPENMMLAB, SITE, ZOO_OF_SCHEME

SYNCED_FOLDER: Final = "catalog"
SITE_NAMES: Final = "open_mmlab.json"
LOCAL_FOLDER: Final = "local"


def site_sections(data_dir: Path) -> Iterator[Section]:
    """The layers that are there, each by zoo.

    Raises:
        SettingsError: a file is not what it should be; the message names it and says what to do.
    """
    for path in sorted((data_dir / SYNCED_FOLDER).glob("*.json")):
        yield _synced(path)
    path = parents_file(data_dir)
    if path.is_file():
        yield _kept(path)
    path = data_dir / SITE_NAMES
    if path.is_file():
        yield Section(OPENMMLAB, {"file": SITE_NAMES}, dict(_site_names(path)), layer=SITE_FILE)


def parents_file(data_dir: Path) -> Path:
    return data_dir / "parent" / f"{SITE}.json"


def _kept(path: Path) -> Section:
    try:
        return section_from_json(_text(path), PARENT)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise SettingsError(f"{path} cannot be read; remove it: the parent is asked for its names again") from error


def _synced(path: Path) -> Section:
    try:
        section = section_from_json(_text(path), SYNCED)
        known = ZOO_OF_SCHEME.get(section.zoo) == section.zoo == path.stem
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise SettingsError(_unreadable(path)) from error
    if not known:
        raise SettingsError(_unreadable(path))
    return section


def _unreadable(path: Path) -> str:
    return f"{path} is no section of this version's catalog; write it again with 'zooproxy catalog sync', or remove it"


def _site_names(path: Path) -> Iterator[tuple[str, str | None]]:
    try:
        members = json.loads(_text(path))
    except (ValueError, RecursionError) as error:
        raise SettingsError(f"{path} is no JSON") from error
    if not isinstance(members, dict):
        raise SettingsError(f"{path} has to map names to URLs or paths")
    for name, value in members.items():
        yield name, None if value is None else _located(path, name, value)


def _located(path: Path, name: str, value: Any) -> str:
    if isinstance(value, str) and "://" in value:
        try:
            return parse(value).canonical
        except BadReference as error:
            raise SettingsError(f"{path}: the URL of '{name}' is refused: {error}") from error
    file = contained(value) if isinstance(value, str) else None
    if file is None:
        raise SettingsError(
            f"{path}: '{name}' leads neither to a URL nor to a file below {LOCAL_FOLDER}/; a path is relative to that "
            "folder and stays in it"
        )
    return file.canonical


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SettingsError(f"{path} cannot be read as UTF-8 text") from error
