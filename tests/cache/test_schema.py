"""Migrations: where they are, what they make, who may run them at once."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from pysqlite3 import dbapi2 as sqlite
from sqlalchemy import Connection, text

from cache.together import run_together
from zooproxy.cache import schema
from zooproxy.cache.database import Database, open_database
from zooproxy.cache.tables import metadata
from zooproxy.errors import CacheError, DatabaseTooNew

OPEN_TOGETHER = """
import asyncio, sys
from zooproxy.cache.database import open_database
from zooproxy.cache.index import Index
import alembic.command

async def main():
    print("ready", flush=True)
    sys.stdin.readline()
    async with open_database(sys.argv[1]) as database:
        print(await Index(database).held("https://example.org/x.pth"))

asyncio.run(main())
"""


@pytest.fixture
def connection() -> Iterator[Connection]:
    engine = sqlalchemy.create_engine("sqlite://", module=sqlite)
    with engine.begin() as connection:
        yield connection
    engine.dispose()


def definitions(connection: Connection) -> set[str]:
    """What SQLite remembers of each table and index, without the spacing."""
    rows = connection.execute(text("SELECT sql FROM sqlite_master WHERE sql NOTNULL AND name != 'alembic_version'"))
    return {"".join(row.sql.split()) for row in rows}


def alembic_config(connection: Connection) -> Config:
    config = Config(attributes={"connection": connection})
    config.set_main_option("script_location", str(schema.migrations_directory()))
    return config


def test_head_told_by_file_names_is_alembic_s_own(connection: Connection) -> None:
    script = ScriptDirectory.from_config(alembic_config(connection))
    chain = [revision.revision for revision in script.walk_revisions()]
    assert list(reversed(chain)) == schema.known_revisions(schema.migrations_directory())
    assert script.get_heads() == chain[:1]


@pytest.mark.parametrize("place", ["site-packages/zooproxy/migrations", "checkout/migrations"])
def test_migrations_are_found_in_a_wheel_and_in_a_checkout(tmp_path: Path, place: str) -> None:
    package = tmp_path / ("site-packages/zooproxy" if place.startswith("site") else "checkout/app/zooproxy")
    package.mkdir(parents=True)
    with pytest.raises(CacheError, match="install zooproxy again"):
        schema.migrations_directory(package)
    (tmp_path / place).mkdir()
    (tmp_path / place / "env.py").touch()
    assert schema.migrations_directory(package) == tmp_path / place


def test_every_file_among_the_migrations_counts_as_one() -> None:
    directory = schema.migrations_directory()
    files = list((directory / "versions").glob("*.py"))
    assert len(files) == len(schema.known_revisions(directory)) == len(set(schema.known_revisions(directory)))


def test_migrated_schema_equals_the_tables(connection: Connection) -> None:
    schema.migrate(connection)
    assert compare_metadata(MigrationContext.configure(connection), metadata) == []


def test_migrated_schema_equals_the_tables_to_the_last_constraint(connection: Connection) -> None:
    metadata.create_all(connection)
    made = definitions(connection)
    metadata.drop_all(connection)
    assert definitions(connection) == set()
    schema.migrate(connection)
    assert definitions(connection) == made


def test_migrations_below_a_path_with_a_percent_sign_are_found(tmp_path: Path, connection: Connection) -> None:
    directory = tmp_path / "100%(sure)s"
    shutil.copytree(schema.migrations_directory(), directory)
    schema.migrate(connection, directory)
    assert schema.is_current(connection)


def test_migrations_down_undo_what_they_did_up(connection: Connection) -> None:
    from alembic import command

    schema.migrate(connection)
    command.downgrade(alembic_config(connection), "base")
    assert definitions(connection) == set()
    schema.migrate(connection)
    assert schema.is_current(connection)


def test_new_database_is_not_current_until_migrated(connection: Connection) -> None:
    assert schema.current_revision(connection) is None
    assert not schema.is_current(connection)
    schema.migrate(connection)
    assert schema.is_current(connection)


def test_database_of_an_earlier_revision_is_not_current(connection: Connection) -> None:
    from alembic import command

    command.upgrade(alembic_config(connection), "0001")
    assert schema.current_revision(connection) == "0001"
    assert not schema.is_current(connection)


async def test_migration_that_fails_leaves_the_database_as_it_was(tmp_path: Path, database: Database) -> None:
    async def migrate_and_fail() -> None:
        async with database.write() as connection:
            for table in reversed(metadata.sorted_tables):
                await connection.execute(text(f"DROP TABLE {table.name}"))
            await connection.execute(text("DELETE FROM alembic_version"))
            await connection.run_sync(schema.migrate)
            await connection.execute(text("INSERT INTO blobs (sha256, size, created_at) VALUES ('short', 1, 1)"))

    async with database.read() as connection:
        before = await connection.run_sync(definitions)
    with pytest.raises(CacheError, match="SQLITE_CONSTRAINT"):
        await migrate_and_fail()
    async with database.read() as connection:
        assert await connection.run_sync(definitions) == before
        assert await connection.run_sync(schema.is_current)


async def test_database_of_a_later_version_is_refused_and_left_alone(database: Database, url: str) -> None:
    async with database.write() as connection:
        await connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(DatabaseTooNew, match="later"):
        async with open_database(url):
            pass
    async with database.read() as connection:
        assert await connection.run_sync(schema.current_revision) == "9999"


async def test_database_below_a_path_with_percent_and_space_is_migrated(tmp_path: Path) -> None:
    async with open_database(f"sqlite:///{tmp_path}/100% of it/zooproxy.sqlite3") as database, database.read() as read:
        assert await read.run_sync(schema.is_current)
    assert (tmp_path / "100% of it" / "zooproxy.sqlite3").is_file()


async def test_four_openings_at_once_in_one_process_all_succeed(url: str) -> None:
    async def start() -> bool:
        async with open_database(url) as database, database.read() as connection:
            return await connection.run_sync(schema.is_current)

    assert await asyncio.gather(*(start() for _ in range(4))) == [True] * 4


def test_two_processes_that_migrate_at_once_both_succeed(url: str) -> None:
    assert run_together(OPEN_TOGETHER, [url], [url]) == ["None\n"] * 2
