"""Files that a site keeps beside the proxy, as sources: ``local://-/models/x.pth``.

No reference leads there by itself (``parse`` knows no such scheme), only a name that the site gave; and no host is
called ``-`` (RFC 1123, section 2.1), so allowing this one allows no other.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Final, Optional
from urllib.parse import quote, unquote

SCHEME: Final = "local"
_PREFIX: Final = f"{SCHEME}://-/"


@dataclass(frozen=True)
class LocalFile:
    """A file by its path below the site's own folder."""

    path: PurePosixPath

    @property
    def canonical(self) -> str:
        return _PREFIX + quote(str(self.path))


def local_file(url: str) -> Optional[LocalFile]:
    """The file that ``url`` stands for; None for every other URL."""
    return LocalFile(PurePosixPath(unquote(url[len(_PREFIX) :]))) if url.startswith(_PREFIX) else None


def contained(path: str) -> Optional[LocalFile]:
    """The file at a relative path that stays where it is put; None for one that is absolute or climbs."""
    parts = PurePosixPath(path.replace("\\", "/")).parts
    if not parts or path.startswith(("/", "\\")) or ".." in parts or ":" in parts[0] or not path.isprintable():
        return None
    return LocalFile(PurePosixPath(*parts))
