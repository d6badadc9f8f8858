"""The tools that are compared, each with the files that it needs and the commands that run it.

All build the same ten indexes, those of INDEXES in the migration. Each is run as its user would run it: as a process,
from the start of the interpreter to its end.
"""

from __future__ import annotations

import shlex
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.process import Commands
from indexer import Index, Variant
from migrate_10992629d68e import INDEXES, down_revision, revision

NAMES = [index.name for index in INDEXES]
PSQL, SQLITE3, DBMATE = map(shutil.which, ("psql", "sqlite3", "dbmate"))

# Instead of psql: the statements one by one, in autocommit.
STATEMENT_BY_STATEMENT = """\
import sys
import psycopg2

connection = psycopg2.connect(sys.argv[1])
connection.autocommit = True
for statement in open(sys.argv[2]).read().split(";"):
    if statement.strip():
        connection.cursor().execute(statement)
"""

# Instead of the sqlite3 shell.
SQLITE_SCRIPT = """\
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.executescript(open(sys.argv[2]).read())
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

DBMATE_OPTIONS = ("--migrations-dir", "migrations", "--no-dump-schema")

PLAYHOUSE_REVISION = """\
atomic = {atomic}


def up(migrator, db):
    migrator.migrate({up})


def down(migrator, db):
    migrator.migrate({down})
"""


Prepare = Callable[[Path, str], Commands]


class Contestant(NamedTuple):
    """A way to build the ten indexes and to drop them.

    ``prepare`` writes what the tool needs into an empty folder, and returns its commands for a database URL.
    """

    name: str
    title: str
    prepare: Prepare


def _creations(concurrently: bool = False, tolerant: bool = False, on_postgresql: bool = True) -> list[str]:
    """Return ten CREATE INDEX; ``tolerant`` means IF NOT EXISTS."""
    modifiers = (" CONCURRENTLY" if concurrently else "") + (" IF NOT EXISTS" if tolerant else "")
    return [f"CREATE INDEX{modifiers} {_definition(index, on_postgresql)}" for index in INDEXES]


def _definition(index: Index, on_postgresql: bool) -> str:
    variant = index.on_postgresql if on_postgresql else Variant()
    using = "" if variant.using == Variant().using else f" USING {variant.using}"
    where = f" WHERE {variant.where}" if variant.where else ""
    return f"{index.name} ON {index.table}{using} ({', '.join(map(str, index.key))}){where}"


def _drops(concurrently: bool = False, tolerant: bool = False) -> list[str]:
    """Return ten DROP INDEX, the last index first; ``tolerant`` means IF EXISTS."""
    modifiers = (" CONCURRENTLY" if concurrently else "") + (" IF EXISTS" if tolerant else "")
    return [f"DROP INDEX{modifiers} {name}" for name in reversed(NAMES)]


def _script(statements: Sequence[str]) -> str:
    return "".join(f"{statement};\n" for statement in statements)


def _write(folder: Path, files: Mapping[str, str]) -> None:
    for name, content in files.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(content)


def _psql(concurrently: bool, schemas: Sequence[str] = ()) -> Prepare:
    each = {"up.sql": _creations(concurrently), "down.sql": _drops(concurrently)}
    scripts = {name: _script(_in_schemas(schemas, statements)) for name, statements in each.items()}

    def prepare(folder: Path, url: str) -> Commands:
        _write(folder, {**scripts, "statements.py": STATEMENT_BY_STATEMENT})
        without = [sys.executable, "statements.py", url]
        shell = [PSQL, "-X", "-q", "-v", "ON_ERROR_STOP=1", "-d", url, "-f"] if PSQL else without
        return Commands([*shell, "up.sql"], [*shell, "down.sql"], folder)

    return prepare


def _in_schemas(schemas: Sequence[str], statements: Sequence[str]) -> list[str]:
    """Return the statements for each schema, or as they are without any."""
    if not schemas:
        return [*statements]
    return [each for schema in schemas for each in (f"SET search_path TO {schema}", *statements)]


def _sqlite_shell(in_transaction: bool) -> Prepare:
    def prepare(folder: Path, url: str) -> Commands:
        up, down = _creations(on_postgresql=False), _drops()
        if in_transaction:
            up, down = (["BEGIN IMMEDIATE", *statements, "COMMIT"] for statements in (up, down))
        _write(folder, {"up.sql": _script(up), "down.sql": _script(down), "run.py": SQLITE_SCRIPT})
        path = url.removeprefix("sqlite:///")
        if SQLITE3:
            shell = [SQLITE3, "-bail", path]
            return Commands([*shell, ".read up.sql"], [*shell, ".read down.sql"], folder)
        without = [sys.executable, "run.py", path]
        return Commands([*without, "up.sql"], [*without, "down.sql"], folder)

    return prepare


def _up(*options: str) -> Prepare:
    def prepare(folder: Path, url: str) -> Commands:
        up, down = ([sys.executable, "cli.py", command, *options] for command in ("up", "down"))
        return Commands(up, down, environment={"DATABASE_URL": url})

    return prepare


def _alembic(upgrade: Sequence[str], downgrade: Sequence[str]) -> Prepare:
    revisions = ((down_revision, None, ["pass"], ["pass"]), (revision, down_revision, upgrade, downgrade))

    def prepare(folder: Path, url: str) -> Commands:
        _write(folder, {"alembic.ini": ALEMBIC_INI, "env.py": ALEMBIC_ENV})
        for name, parent, *calls in revisions:
            up, down = ("\n    ".join(each) for each in calls)
            content = ALEMBIC_REVISION.format(revision=name, down_revision=parent, upgrade=up, downgrade=down)
            _write(folder, {f"versions/{name}.py": content})
        command = [sys.executable, "-m", "alembic"]
        environment = {"ALEMBIC_URL": "postgresql+psycopg2" + url[url.index("://") :]}
        return Commands([*command, "upgrade", "head"], [*command, "downgrade", "-1"], folder, environment)

    return prepare


def _alembic_concurrently() -> Prepare:
    block = "with op.get_context().autocommit_block():"
    creations = [f"    op.create_index({_alembic_index(index)})" for index in INDEXES]
    drops = [
        f"    op.drop_index({index.name!r}, table_name={index.table!r}, postgresql_concurrently=True)"
        for index in reversed(INDEXES)
    ]
    return _alembic([block, *creations], [block, *drops])


def _alembic_index(index: Index) -> str:
    columns = ", ".join(f"sa.text({str(column)!r})" if column.descending else repr(column.name) for column in index.key)
    variant = index.on_postgresql
    where = f", postgresql_where=sa.text({variant.where!r})" if variant.where else ""
    return (
        f"{index.name!r}, {index.table!r}, [{columns}], postgresql_concurrently=True, "
        f"postgresql_using={variant.using!r}{where}"
    )


def _playhouse(concurrently: bool) -> Prepare:
    up, down = (
        ", ".join(_calls("migrator.sql", statements)) for statements in (_creations(concurrently), _drops(concurrently))
    )

    def prepare(folder: Path, url: str) -> Commands:
        content = PLAYHOUSE_REVISION.format(atomic=not concurrently, up=up, down=down)
        _write(folder, {"migrations/0001_indexes.py": content})
        command = [sys.executable, "-m", "playhouse.migrations", url]
        return Commands([*command, "up"], [*command, "down"], folder)

    return prepare


def _yoyo_concurrently(folder: Path, url: str) -> Commands:
    scripts = {"indexes": _creations(concurrently=True), "indexes.rollback": _drops(concurrently=True)}
    header = "-- transactional: false\n"
    _write(folder, {f"migrations/0001.{name}.sql": header + _script(each) for name, each in scripts.items()})
    command, options = [sys.executable, "-m", "yoyo"], ["--batch", "--no-config-file", "--database", url, "migrations"]
    return Commands([*command, "apply", *options], [*command, "rollback", *options], folder)


def _dbmate_concurrently(folder: Path, url: str) -> Commands:
    """One file for each statement: dbmate sends a file as one message, and CONCURRENTLY has to be alone in its own."""
    for number, (up, down) in enumerate(
        zip(_creations(concurrently=True), reversed(_drops(concurrently=True)), strict=True)
    ):
        _write(folder, {f"migrations/{number:03}_index.sql": _dbmate_file([up], [down], " transaction:false")})
    command = [DBMATE or "", "--url", f"{url}?sslmode=disable", *DBMATE_OPTIONS]
    rollbacks = f"for _ in $(seq {len(NAMES)}); do {shlex.join([*command, 'rollback'])} || exit 1; done"
    return Commands([*command, "migrate"], ["sh", "-c", rollbacks], folder)


def _dbmate_on_sqlite(folder: Path, url: str) -> Commands:
    content = _dbmate_file(_creations(on_postgresql=False), _drops())
    _write(folder, {"migrations/001_indexes.sql": content})
    command = [DBMATE or "", "--url", f"sqlite:{url.removeprefix('sqlite:///')}", *DBMATE_OPTIONS]
    return Commands([*command, "migrate"], [*command, "rollback"], folder)


def _dbmate_file(up: Sequence[str], down: Sequence[str], option: str = "") -> str:
    return f"-- migrate:up{option}\n{_script(up)}-- migrate:down{option}\n{_script(down)}"


def _calls(function: str, texts: Sequence[str]) -> list[str]:
    return [f"{function}({text!r})" for text in texts]


SHELL = "psql" if PSQL else "psycopg2, statement by statement"
TOLERANT = [_calls("op.execute", statements) for statements in (_creations(tolerant=True), _drops(tolerant=True))]

ON_POSTGRESQL = (
    Contestant("psql-plain", f"{SHELL}: ten CREATE INDEX", _psql(concurrently=False)),
    Contestant("psql-concurrently", f"{SHELL}: ten CREATE INDEX CONCURRENTLY", _psql(concurrently=True)),
    Contestant("up", "**up**", _up()),
    Contestant("up-jobs-1", "**up --jobs 1**", _up("--jobs", "1")),
    Contestant("up-offline", "**up --offline**", _up("--offline")),
    Contestant("alembic-transactional", "Alembic, one transaction", _alembic(*TOLERANT)),
    Contestant("alembic-concurrently", "Alembic, concurrently", _alembic_concurrently()),
    Contestant("playhouse-plain", "playhouse.migrations, one transaction", _playhouse(concurrently=False)),
    Contestant("playhouse-concurrently", "playhouse.migrations, concurrently", _playhouse(concurrently=True)),
    Contestant("yoyo-concurrently", "yoyo, concurrently", _yoyo_concurrently),
    *([Contestant("dbmate-concurrently", "dbmate, concurrently", _dbmate_concurrently)] if DBMATE else []),
)

ON_SQLITE = (
    Contestant("statements", "ten statements", _sqlite_shell(in_transaction=False)),
    Contestant("transaction", "ten statements in one transaction", _sqlite_shell(in_transaction=True)),
    Contestant("up", "**up**", _up()),
    *([Contestant("dbmate", "dbmate, one transaction", _dbmate_on_sqlite)] if DBMATE else []),
)


def in_schemas(names: Sequence[str], pattern: str) -> Sequence[Contestant]:
    """Return the contestants that build the ten indexes in each of these schemas, whose names match a pattern."""
    return (
        Contestant("psql-concurrently", f"{SHELL}: ten CREATE INDEX CONCURRENTLY in each", _psql(True, names)),
        Contestant("up", "**up --all-schemas**", _up("--all-schemas", pattern)),
    )
