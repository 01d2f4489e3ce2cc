"""Sentences for what is wrong with settings: where it stands, what it is, what would be right. Never a value."""

from __future__ import annotations

import difflib
import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any, Final

from pydantic.fields import FieldInfo

PREFIX: Final = "ZOOPROXY_"
_WAY_OUT: Final = "'zooproxy config example' shows every one"


def variable_of(key: str) -> str:
    return PREFIX + key.upper()


class Faults:
    """``fields`` are the settings by key, ``environ`` the variables of the process, ``file`` where the rest stands."""

    def __init__(self, fields: Mapping[str, FieldInfo], environ: Mapping[str, str], file: Path) -> None:
        self._fields = fields
        self._environ = environ
        self._file = file

    def unknown_variables(self, known: Collection[str]) -> str | None:
        """About variables that are neither a setting's nor ``known``; None where there is none."""
        expected = sorted({variable_of(key) for key in self._fields} | set(known))
        unknown = sorted(
            name for name in self._environ if name.upper().startswith(PREFIX) and name.upper() not in expected
        )
        named = ", ".join(name + _guess(name.upper(), expected) for name in unknown)
        return f"unknown setting {named}; {_WAY_OUT}" if unknown else None

    def about(self, problem: Mapping[str, Any], inner_keys: Collection[str]) -> str:
        """About one of pydantic's problems; ``inner_keys`` are those of the one map that has fixed ones."""
        key, *inner = (str(part) for part in problem["loc"])
        path = ".".join((key, *inner))
        if key not in self._fields:
            return f"unknown setting {key} in {self._file}{_guess(key.lower(), self._fields)}; {_WAY_OUT}"
        is_variable = any(name.upper() == variable_of(key) for name in self._environ)
        where = ".".join((variable_of(key), *inner)) if is_variable else f"{path} in {self._file}"
        if problem["type"] == "extra_forbidden":
            return f"unknown setting {where}{_guess(inner[-1].lower(), inner_keys)}"
        return f"{where}: {problem['msg']} ({self._fields[key].description})"

    def not_json(self) -> str:
        """Which variables of lists and maps hold something else; the library names one, in its own words."""
        kinds = {variable_of(key): field.default for key, field in self._fields.items()}
        wrong = []
        for name, value in self._environ.items():
            try:
                if isinstance(kinds.get(name.upper()), list | dict):
                    json.loads(value)
            except ValueError:
                example = '["a", "b"]' if isinstance(kinds[name.upper()], list) else '{"name": "value"}'
                wrong.append(f"{name} is not written as JSON: {example}")
        return "; ".join(wrong)


def _guess(word: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(word, list(known), n=1)
    return f" (did you mean {near[0]}?)" if near else ""
