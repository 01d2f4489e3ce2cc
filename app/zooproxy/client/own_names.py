"""The names that a node knows without asking: mmengine's maps as shipped, and the user's own."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Optional

from zooproxy.names.sections import shipped_sections

_USERS = "open_mmlab.json"


def shipped_models(zoo: str) -> dict[str, Optional[str]]:
    """Name to URL, None where a name has no weights; mmengine's map of this zoo."""
    return {name: url for section in shipped_sections() if section.zoo == zoo for name, url in section.models.items()}


def shipped_aliases(zoo: str) -> dict[str, str]:
    """Deprecated names and what mmengine says replaced them; the proxy repairs the two that lead nowhere."""
    return {old: new for section in shipped_sections() if section.zoo == zoo for old, new in section.aliases.items()}


def users_models(home: str) -> Mapping[str, str]:
    """What the user's ``open_mmlab.json`` in mmengine's home says: a name to a URL, or to a path below the home.

    Raises:
        AssertionError: it is no mapping (mmengine's own error).
    """
    path = Path(home) / _USERS
    if not path.exists():
        return {}
    models = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(models, dict):
        raise AssertionError(f"{_USERS} is no mapping of names to URLs or paths")
    return models
