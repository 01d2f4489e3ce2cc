"""Names from untrusted files, made fit for a message: short, one line, nothing but printable characters."""

from __future__ import annotations

_SHOWN = 80


def quoted(name: str) -> str:
    shown = "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in name[:_SHOWN])
    return f"'{shown}…'" if len(name) > _SHOWN else f"'{shown}'"
