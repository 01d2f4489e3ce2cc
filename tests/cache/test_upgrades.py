"""Every revision of the schema, up and down, with data in it: what both sides can hold is kept."""

from __future__ import annotations

import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy
from alembic import command
from alembic.config import Config
from pysqlite3 import dbapi2 as sqlite
from sqlalchemy import Connection, event, text

from zooproxy.cache import schema
from zooproxy.cache.database import open_database
from zooproxy.cache.index import Index
from zooproxy.cache.inventory import Inventory
from zooproxy.digest import Sha256

BLOB, OTHER = Sha256.of(b"some weights"), Sha256.of(b"other weights")
URL = "https://zoo.example/x.pth"

#: What each revision can hold and those before it cannot, as a statement; empty for one that holds no more.
DATA = {
    "0001": f"INSERT INTO blobs (sha256, size, created_at) VALUES ('{BLOB}', 12, 100), ('{OTHER}', 13, 50)",
    "0002": f"INSERT INTO sources (url, sha256, filled_at) VALUES ('{URL}', '{BLOB}', 101)",
    "0003": f"INSERT INTO tensor_indexes (sha256, reader_version, document) VALUES ('{BLOB}', 3, x'00ff')",
    "0004": "INSERT INTO site_names (zoo, name, url, sha256, details, put_at)"
    f" VALUES ('openmmlab', 'ours', '{URL}', '{BLOB}', '{{}}', 102)",
    "0005": "INSERT INTO fills (url, owner, fence, beat, partial, length, resumable, durable, boot, done, cancelled,"
    f" touched_at) VALUES ('https://zoo.example/y.pth', NULL, 3, 4, '{'a' * 32}', 99, 1, 50, 'boot', 50, 0, 103)",
    "0006": f"INSERT INTO trust (url, sha256, since, accepted_at) VALUES ('{URL}', '{BLOB}', 101, 102)",
    "0007": f"UPDATE uses SET count = 7, last_at = 104, priority = 9.5 WHERE sha256 = '{BLOB}'",
    "0008": f"INSERT INTO cache_pins (url, ref, since) VALUES ('{URL}', 'mmdet://x', 105)",
    "0009": f"INSERT INTO departures (sha256, size, since) VALUES ('{'c' * 64}', 14, 106)",
    "0010": "INSERT INTO tokens (id, secret_sha256, scope, note, created_at)"
    f" VALUES ('abcdefabcdef', '{'d' * 64}', 'admin', 'ours', 107)",
    "0011": f"UPDATE blobs SET verified_at = 108 WHERE sha256 = '{BLOB}'",
    "0012": "INSERT INTO sightings (url, state, since, checked_at, detail, candidates)"
    f" VALUES ('{URL}', 'same', 109, 110, '', '[]')",
    "0013": "INSERT INTO hosts (host, addresses, addresses_since, problem, since, checked_at)"
    " VALUES ('zoo.example', '[]', 111, '', 112, 113)",
}

REVISIONS = sorted(DATA)
HEAD = REVISIONS[-1]

Contents = dict[str, list[dict[str, Any]]]


@contextmanager
def connected(path: Path) -> Iterator[Connection]:
    """With foreign keys enforced, as the service has them."""
    engine = sqlalchemy.create_engine(f"sqlite:///{path}", module=sqlite)
    event.listen(engine, "connect", lambda raw, _: raw.execute("PRAGMA foreign_keys=ON"))
    with engine.connect() as connection:
        yield connection
    engine.dispose()


def config(connection: Connection) -> Config:
    made = Config(attributes={"connection": connection})
    made.set_main_option("script_location", str(schema.migrations_directory()))
    return made


@pytest.fixture(scope="module")
def in_use(tmp_path_factory: pytest.TempPathFactory) -> Mapping[str, Path]:
    """By revision: a database that was upgraded step by step up to there, and in use all the time."""
    folder = tmp_path_factory.mktemp("databases")
    made = {}
    with connected(folder / "growing.db") as connection:
        for revision, statement in DATA.items():
            command.upgrade(config(connection), revision)
            if statement:
                connection.execute(text(statement))
            connection.commit()
            made[revision] = folder / f"{revision}.db"
            shutil.copy(folder / "growing.db", made[revision])
    return made


@pytest.fixture
def connection(request: pytest.FixtureRequest, in_use: Mapping[str, Path], tmp_path: Path) -> Iterator[Connection]:
    """To a copy of the database of the test's revision, or of the newest."""
    revision = getattr(request, "param", HEAD)
    shutil.copy(in_use[revision], tmp_path / "zooproxy.db")
    with connected(tmp_path / "zooproxy.db") as connection:
        yield connection


def contents(connection: Connection) -> Contents:
    tables = [name for name in sqlalchemy.inspect(connection).get_table_names() if name != "alembic_version"]
    return {
        table: [dict(row) for row in connection.execute(text(f"SELECT * FROM {table} ORDER BY 1")).mappings()]
        for table in tables
    }


def shared(one: Contents, other: Contents) -> Contents:
    """Of ``one``, the tables and columns that ``other`` has as well."""
    return {
        table: [{name: value for name, value in row.items() if name in other[table][0]} for row in rows]
        for table, rows in one.items()
        if other.get(table)
    }


def test_every_revision_has_data_of_its_own() -> None:
    assert schema.known_revisions(schema.migrations_directory()) == REVISIONS


def test_every_table_has_a_row_when_all_revisions_are_filled(connection: Connection) -> None:
    assert all(contents(connection).values())


@pytest.mark.parametrize("connection", REVISIONS, indirect=True)
def test_upgrade_from_each_revision_keeps_all_of_its_data(connection: Connection) -> None:
    before = contents(connection)
    command.upgrade(config(connection), "head")
    after = contents(connection)
    assert set(before) <= set(after)
    assert shared(after, before) == before
    assert connection.execute(text("PRAGMA foreign_key_check")).all() == []
    assert connection.execute(text("PRAGMA integrity_check")).scalar_one() == "ok"


def test_downgrade_to_each_revision_keeps_what_it_can_hold(connection: Connection) -> None:
    before = contents(connection)
    for revision in reversed(REVISIONS[:-1]):
        command.downgrade(config(connection), revision)
        connection.commit()
        down = contents(connection)
        assert schema.current_revision(connection) == revision
        assert all(down.values())
        assert down == shared(before, down)
        assert connection.execute(text("PRAGMA foreign_key_check")).all() == []
    command.upgrade(config(connection), "head")
    assert shared(contents(connection), down) == down


def test_downgrade_to_nothing_with_data_in_it_leaves_nothing(connection: Connection) -> None:
    command.downgrade(config(connection), "base")
    assert contents(connection) == {}


@pytest.mark.parametrize("revision", ["0002", "0006"])
async def test_service_opens_a_database_in_use_since_an_early_revision(
    tmp_path: Path, in_use: Mapping[str, Path], revision: str
) -> None:
    shutil.copy(in_use[revision], tmp_path / "zooproxy.db")
    async with open_database(f"sqlite:///{tmp_path}/zooproxy.db") as database:
        index = Index(database)
        held = await index.held(URL)
        assert held is not None
        assert (held.sha256, held.size) == (BLOB, 12)
        assert await Inventory(database, index.uses).blobs() == {BLOB: 12, OTHER: 13}
        assert await index.publish(URL, OTHER, 13) == await index.held(URL)
