"""The settings written down: the example file with every key, and what a proxy would run with."""

from __future__ import annotations

import json
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel, SecretStr

from zooproxy.masking import masked
from zooproxy.serving.settings import FILE, RELOADED, Settings, read_settings, where_set

_WIDTH = 118
_MASK = "********"
_HEAD = f"""\
# Every setting of zooproxy, with its default. Copy this to {FILE} in the directory that `zooproxy serve` is started
# in, and uncomment what is to differ; the environment variable ZOOPROXY_<NAME> (lists and maps as JSON) outranks it.
# `zooproxy config check` tells whether all is right. A running proxy takes over what is marked so when it gets SIGHUP,
# all of it or, where something is wrong, nothing; the rest needs a restart. `zooproxy config example` prints this file.
"""


def example() -> str:
    """A settings file with every key: what it means, an example where one helps, its default commented out."""
    return "\n".join((_HEAD, *_described()))


def _described() -> Iterator[str]:
    for key, field in Settings.model_fields.items():
        if field.title is not None:
            yield f"\n# -- {field.title.lower()} {'-' * (_WIDTH - 6 - len(field.title))}\n"
        reloads = " (taken over on SIGHUP)" if key in RELOADED else ""
        yield textwrap.fill(f"{field.description}{reloads}", _WIDTH, initial_indent="# ", subsequent_indent="# ")
        for one in field.examples or ():
            yield f"# for example: {key} = {_toml(one)}"
        yield f"#{key} = {_toml(field.default)}\n" if field.default is not None else f"# {key} has no default.\n"


def shown(file: Path | None = None) -> Iterator[str]:
    """Each setting and where it comes from, as lines of TOML; secrets masked.

    Raises:
        SettingsError: as ``read_settings``.
    """
    settings, places = read_settings(file), where_set(file)
    for key in Settings.model_fields:
        value, origin = getattr(settings, key), places.get(key, "default")
        line = f"# {key}: none" if value is None else f"{key} = {_toml(value)}"
        yield f"{line}  # {origin}"


def _toml(value: Any) -> str:
    """One value on one line. JSON's strings, numbers and lists are TOML's too."""
    if isinstance(value, SecretStr):
        return json.dumps(_MASK)
    if isinstance(value, BaseModel):
        return _toml({name: one for name, one in vars(value).items() if one is not None})
    if isinstance(value, dict):
        members = ", ".join(f"{json.dumps(str(name))} = {_toml(one)}" for name, one in value.items())
        return f"{{ {members} }}" if members else "{}"
    if isinstance(value, list | tuple):
        return f"[{', '.join(map(_toml, value))}]"
    return json.dumps(value if isinstance(value, int | float) else masked(str(value)), ensure_ascii=False)
