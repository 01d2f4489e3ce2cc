"""Brings a database to the schema this version knows, at start, however many processes start at once.

alembic is imported only when there is something to migrate, since it costs more than the rest of a start: which
revision is the newest is told by the file names (``0001_create_blobs.py``; a test asks alembic for its opinion).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import sqlalchemy
from sqlalchemy import Connection

from zooproxy.errors import CacheError, DatabaseTooNew

_PACKAGE = Path(__file__).resolve().parent.parent
_REVISION_FILE = re.compile(r"(?P<revision>\d{4})_[a-z0-9_]+\.py\Z")
_VERSION = sqlalchemy.table("alembic_version", sqlalchemy.column("version_num"))


def migrations_directory(package: Path = _PACKAGE) -> Path:
    """``zooproxy/migrations`` in an installed wheel, ``migrations/`` beside ``app/`` in a checkout.

    Raises:
        CacheError: neither is there.
    """
    for candidate in (package / "migrations", package.parent.parent / "migrations"):
        if (candidate / "env.py").is_file():
            return candidate
    raise CacheError("the database's migrations are missing from this installation; install zooproxy again")


def known_revisions(directory: Path) -> Sequence[str]:
    """The revisions in ``directory``, oldest first; the last one is the head."""
    matches = (_REVISION_FILE.match(path.name) for path in (directory / "versions").iterdir())
    return sorted(match["revision"] for match in matches if match)


def current_revision(connection: Connection) -> str | None:
    """The database's own revision; None for a new database."""
    if not sqlalchemy.inspect(connection).has_table(_VERSION.name):
        return None
    return connection.execute(sqlalchemy.select(_VERSION.c.version_num)).scalar_one_or_none()


def is_current(connection: Connection) -> bool:
    """Whether there is nothing to migrate.

    Raises:
        DatabaseTooNew: a later version of zooproxy has migrated this database.
    """
    revisions = known_revisions(migrations_directory())
    current = current_revision(connection)
    if current is not None and current not in revisions:
        raise DatabaseTooNew(
            f"the database has the schema of a later zooproxy, and this one knows it up to revision {revisions[-1]};"
            " start that later version, or give this one a database of its own"
        )
    return current == revisions[-1]


def migrate(connection: Connection, directory: Path | None = None) -> None:
    """Upgrades within the caller's writing transaction: all of it, or none.

    ``directory`` holds the migrations; this version's own if None.
    """
    from alembic import command
    from alembic.config import Config

    config = Config(attributes={"connection": connection})
    # alembic reads its options through ConfigParser, to which a percent sign means something.
    config.set_main_option("script_location", str(directory or migrations_directory()).replace("%", "%%"))
    command.upgrade(config, "head")
