"""What a command has changed in a data directory, told to its audit log as the service tells its own changes."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from zooproxy.errors import SettingsError

if TYPE_CHECKING:
    from zooproxy.serving.settings import Settings


def record(settings: Settings, action: str, target: Mapping[str, Any]) -> None:
    """
    Raises:
        SettingsError: the audit log cannot be written.
    """
    from zooproxy.provide.audit import AuditLog, an_entry

    settings.data_dir.mkdir(parents=True, exist_ok=True)
    try:
        AuditLog(settings.data_dir).write(an_entry(f"uid:{os.getuid()}", None, action, target, "done"))
    except OSError as error:
        raise SettingsError(f"it is done, but the audit log in {settings.data_dir} cannot be written") from error
