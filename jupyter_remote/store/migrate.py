"""Brings a database to the newest schema when it is opened.

Up to date is one query. A new file gets the tables at once; only an older one needs Alembic, which
takes half a second to import.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from sqlalchemy.schema import CreateIndex, CreateTable

from jupyter_remote.errors import ProtocolMismatch
from jupyter_remote.store import schema
from jupyter_remote.store.session import Session, text_of

FOLDER = Path(__file__).parent / "migrations"
_VERSION = "SELECT version_num FROM alembic_version"
_TABLES = "SELECT count(*) FROM sqlite_master WHERE type = 'table'"


def bring_up_to_date(connection: sqlite3.Connection, path: str | Path) -> None:
    """Called at open. Raises ProtocolMismatch when a newer program wrote the file."""
    if version_of(connection) == schema.HEAD:
        return
    with Session(connection).transaction():  # two processes may open a new file at once
        if connection.execute(_TABLES).fetchone()[0] == 0:
            _create(connection)
    if version_of(connection) != schema.HEAD:
        upgrade(path)


def version_of(connection: sqlite3.Connection) -> str | None:
    """None for a file without our tables."""
    try:
        row = connection.execute(_VERSION).fetchone()
    except sqlite3.OperationalError as error:
        if "no such table" in str(error):
            return None
        raise
    return None if row is None else str(row[0])


def _create(connection: sqlite3.Connection) -> None:
    for table in schema.metadata.sorted_tables:
        connection.execute(text_of(CreateTable(table)))
        for index in sorted(table.indexes, key=lambda index: str(index.name)):
            connection.execute(text_of(CreateIndex(index)))
    for trigger in schema.TRIGGERS:
        connection.execute(trigger)
    connection.execute(
        "CREATE TABLE alembic_version (version_num VARCHAR(32) NOT NULL, "
        "CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num))"
    )
    connection.execute("INSERT INTO alembic_version VALUES (?)", (schema.HEAD,))


def upgrade(path: str | Path, revision: str = "head") -> None:
    """Run the migrations that are missing, all or nothing."""
    import sqlalchemy
    from alembic import command
    from alembic.config import Config
    from alembic.util import CommandError

    config = Config()
    config.set_main_option("script_location", str(FOLDER).replace("%", "%%"))
    engine = sqlalchemy.create_engine("sqlite://", creator=lambda: _plain(path))
    try:
        with engine.begin() as connection:
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
    except CommandError as error:
        raise ProtocolMismatch(
            f"the database {path} was written by another version: {error}",
            hint="Update jupyter-remote-run, or give it another folder (JUPYTER_REMOTE_HOME).",
        ) from error
    finally:
        engine.dispose()


def _plain(path: str | Path) -> sqlite3.Connection:
    """A connection whose transactions SQLAlchemy begins, for statements of DDL too."""
    connection = sqlite3.connect(path, timeout=30.0, isolation_level=None)
    connection.execute("BEGIN IMMEDIATE")
    return connection
