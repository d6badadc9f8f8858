"""The tools that are compared, each with the files that it needs and the commands that run it.

All build the same ten indexes, those of the migration. Each is run as its user would run it: as a process, from the
start of the interpreter to its end.
"""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import statements
from benchmarks.process import Commands
from indexer import Index
from migrate_10992629d68e import INDEXES, down_revision, revision

PROJECT = Path(__file__).resolve().parent.parent

# Runs the same statements without psql, one by one, in autocommit.
STATEMENT_BY_STATEMENT = """\
import sys
import psycopg2

connection = psycopg2.connect(sys.argv[1])
connection.autocommit = True
for statement in open(sys.argv[2]).read().split(";"):
    if statement.strip():
        connection.cursor().execute(statement)
"""

ALEMBIC_INI = """\
[alembic]
script_location = .
"""

ALEMBIC_ENV = """\
import os
from alembic import context
from sqlalchemy import create_engine, pool

engine = create_engine(os.environ["ALEMBIC_URL"], poolclass=pool.NullPool)
with engine.connect() as connection:
    context.configure(connection=connection)
    with context.begin_transaction():
        context.run_migrations()
"""

ALEMBIC_REVISION = """\
import sqlalchemy as sa
from alembic import op

revision = {revision!r}
down_revision = {down_revision!r}


def upgrade():
    {upgrade}


def downgrade():
    {downgrade}
"""

PLAYHOUSE_REVISION = """\
atomic = {atomic}


def up(migrator, db):
    migrator.migrate({up})


def down(migrator, db):
    migrator.migrate({down})
"""


Prepare = Callable[[Path, str], Commands]


@dataclass(frozen=True)
class Contestant:
    """A way to build the ten indexes and to drop them.

    ``prepare`` writes what the tool needs into an empty folder, and returns its commands for a database URL.
    """

    name: str
    title: str
    prepare: Prepare


def _psql(concurrently: bool) -> Prepare:
    def prepare(folder: Path, url: str) -> Commands:
        (folder / "up.sql").write_text(statements.script(statements.creations(concurrently)))
        (folder / "down.sql").write_text(statements.script(statements.drops(concurrently)))
        if shutil.which("psql"):
            shell = ["psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", url, "-f"]
        else:
            (folder / "statements.py").write_text(STATEMENT_BY_STATEMENT)
            shell = [sys.executable, "statements.py", url]
        return Commands([*shell, "up.sql"], [*shell, "down.sql"], folder, {})

    return prepare


def _up(*options: str) -> Prepare:
    def prepare(folder: Path, url: str) -> Commands:
        def command(direction: str) -> list[str]:
            return [sys.executable, "cli.py", direction, *options]

        return Commands(command("up"), command("down"), PROJECT, {"DATABASE_URL": url})

    return prepare


def _alembic_transactional(folder: Path, url: str) -> Commands:
    upgrade = _calls("op.execute", statements.creations(tolerant=True))
    downgrade = _calls("op.execute", statements.drops(tolerant=True))
    return _alembic(folder, url, upgrade, downgrade)


def _alembic_concurrently(folder: Path, url: str) -> Commands:
    def block(calls: Sequence[str]) -> list[str]:
        return ["with op.get_context().autocommit_block():", *(f"    {call}" for call in calls)]

    upgrade = [f"op.create_index({_alembic_index(index)})" for index in INDEXES]
    downgrade = [
        f"op.drop_index({index.name!r}, table_name={index.table!r}, postgresql_concurrently=True)"
        for index in reversed(INDEXES)
    ]
    return _alembic(folder, url, block(upgrade), block(downgrade))


def _alembic_index(index: Index) -> str:
    columns = ", ".join(f"sa.text({str(column)!r})" if column.descending else repr(column.name) for column in index.key)
    variant = index.on_postgresql
    where = f", postgresql_where=sa.text({variant.where!r})" if variant.where else ""
    return (
        f"{index.name!r}, {index.table!r}, [{columns}], postgresql_concurrently=True, "
        f"postgresql_using={variant.using!r}{where}"
    )


def _alembic(folder: Path, url: str, upgrade: Sequence[str], downgrade: Sequence[str]) -> Commands:
    versions = folder / "versions"
    versions.mkdir()
    (folder / "alembic.ini").write_text(ALEMBIC_INI)
    (folder / "env.py").write_text(ALEMBIC_ENV)
    for name, parent, up, down in (
        (down_revision, None, ["pass"], ["pass"]),
        (revision, down_revision, upgrade, downgrade),
    ):
        text = ALEMBIC_REVISION.format(
            revision=name, down_revision=parent, upgrade="\n    ".join(up), downgrade="\n    ".join(down)
        )
        (versions / f"{name}.py").write_text(text)
    command = [sys.executable, "-m", "alembic"]
    environment = {"ALEMBIC_URL": "postgresql+psycopg2" + url[url.index("://") :]}
    return Commands([*command, "upgrade", "head"], [*command, "downgrade", "-1"], folder, environment)


def _playhouse(concurrently: bool) -> Prepare:
    def prepare(folder: Path, url: str) -> Commands:
        up = _calls("migrator.sql", statements.creations(concurrently))
        down = _calls("migrator.sql", statements.drops(concurrently))
        text = PLAYHOUSE_REVISION.format(atomic=not concurrently, up=", ".join(up), down=", ".join(down))
        (folder / "migrations").mkdir()
        (folder / "migrations" / "0001_indexes.py").write_text(text)
        command = [sys.executable, "-m", "playhouse.migrations", url]
        return Commands([*command, "up"], [*command, "down"], folder, {})

    return prepare


def _yoyo_concurrently(folder: Path, url: str) -> Commands:
    migrations = folder / "migrations"
    migrations.mkdir()
    header = "-- transactional: false\n"
    (migrations / "0001.indexes.sql").write_text(header + statements.script(statements.creations(concurrently=True)))
    (migrations / "0001.indexes.rollback.sql").write_text(
        header + statements.script(statements.drops(concurrently=True))
    )

    def command(direction: str) -> list[str]:
        return [sys.executable, "-m", "yoyo", direction, "--batch", "--no-config-file", "--database", url, "migrations"]

    return Commands(command("apply"), command("rollback"), folder, {})


def _calls(function: str, texts: Sequence[str]) -> list[str]:
    return [f"{function}({text!r})" for text in texts]


PSQL_PLAIN = "psql-plain"
PSQL_CONCURRENTLY = "psql-concurrently"
BASELINES = (PSQL_PLAIN, PSQL_CONCURRENTLY)
SHELL = "psql" if shutil.which("psql") else "psycopg2, statement by statement"

CONTESTANTS = (
    Contestant(PSQL_PLAIN, f"{SHELL}: ten CREATE INDEX", _psql(concurrently=False)),
    Contestant(PSQL_CONCURRENTLY, f"{SHELL}: ten CREATE INDEX CONCURRENTLY", _psql(concurrently=True)),
    Contestant("up", "**up**", _up()),
    Contestant("up-jobs-1", "**up --jobs 1**", _up("--jobs", "1")),
    Contestant("up-offline", "**up --offline**", _up("--offline")),
    Contestant("alembic-transactional", "Alembic, one transaction", _alembic_transactional),
    Contestant("alembic-concurrently", "Alembic, concurrently", _alembic_concurrently),
    Contestant("playhouse-plain", "playhouse.migrations, one transaction", _playhouse(concurrently=False)),
    Contestant("playhouse-concurrently", "playhouse.migrations, concurrently", _playhouse(concurrently=True)),
    Contestant("yoyo-concurrently", "yoyo, concurrently", _yoyo_concurrently),
)
NAMES = tuple(contestant.name for contestant in CONTESTANTS)


def chosen(only: Sequence[str] | None) -> list[Contestant]:
    """Return the contestants of these names, or all, always with the two baselines."""
    wanted = {*(only or NAMES), *BASELINES}
    return [contestant for contestant in CONTESTANTS if contestant.name in wanted]
