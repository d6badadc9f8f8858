"""Why an index that SQLite creates would be of no use, or would stop the application's next INSERT."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import closing, suppress

from peewee import DatabaseError, Entity, SqliteDatabase

from indexer.definition import Definition, Expression
from indexer.sqlite.catalog import IN_MEMORY
from indexer.sqlite.file import File
from indexer.sqlite.statement import quoted_names

ROWID = {"rowid", "oid", "_rowid_"}  # a predicate can use it, an expression of a key cannot
VALUES = (None, 1, "2000-01-01")  # each branch of an expression is more likely to be taken for one of them
NON_DETERMINISTIC = "non-deterministic"


def misspelled(definition: Definition, columns: Iterable[str]) -> str | None:
    """Return a problem if a name in double quotes is no column: SQLite takes it for a string.

    Args:
        columns: of the table; case does not matter.
    """
    known = {column.lower() for column in columns}
    used = [name for sql in _expressions(definition) for name in quoted_names(sql)]
    used += [name for name in quoted_names(definition.predicate or "") if name.lower() not in ROWID]
    unknown = next((name for name in used if name.lower() not in known), None)
    return unknown and f"no such column: {unknown}; a string is written in single quotes"


def changing(definition: Definition, columns: Iterable[str], application: SqliteDatabase) -> str | None:
    """Return SQLite's refusal of an index whose expressions depend on more than the row: ``date('now')``.

    SQLite notices that only while it evaluates one. It does so here for a few rows of a table in memory, which has the
    columns without their constraints. Any other failure there tells nothing about the real table.
    """
    asked = [*_expressions(definition), *([definition.predicate] if definition.predicate else [])]
    if not asked:
        return None
    names = {column.lower(): column for column in columns}.values()
    with suppress(DatabaseError, UnicodeError), closing(File(IN_MEMORY, application)) as scratch:
        quoted = [scratch.get_sql_context().sql(Entity(name)).query()[0] for name in names]
        scratch.execute_sql(f"CREATE TABLE scratch ({', '.join(quoted)})")
        insert = f"INSERT INTO scratch VALUES ({', '.join('?' * len(quoted))})"  # noqa: S608  no text from outside
        said = (error for sql in asked for error in _errors(scratch, sql, insert, len(quoted)))
        return next((error for error in said if NON_DETERMINISTIC in error), None)
    return None


def _errors(scratch: File, sql: str, insert: str, width: int) -> Iterator[str]:
    """Yield what SQLite says against each row if an expression is indexed; nothing if it cannot be."""
    if _error(scratch, f"CREATE INDEX ix ON scratch (({sql}))"):
        return
    for value in VALUES:
        if error := _error(scratch, insert, [value] * width):
            yield error
    scratch.execute_sql("DROP INDEX ix")


def _error(scratch: File, statement: str, values: Sequence[object] = ()) -> str | None:
    try:
        scratch.execute_sql(statement, values)
    except DatabaseError as error:
        return str(error)
    return None


def _expressions(definition: Definition) -> list[str]:
    return [part.sql for part in definition.key if isinstance(part, Expression)]
