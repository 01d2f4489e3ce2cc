"""Whose coverage is measured."""

from __future__ import annotations

import os
from collections.abc import Mapping


def untraced(environment: Mapping[str, str] = os.environ) -> dict[str, str]:
    """For a process that shows something of other people's code: tracing it would take half as long again."""
    return {name: value for name, value in environment.items() if not name.startswith("COVERAGE")}
