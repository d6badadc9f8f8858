"""How PostgreSQL is filled: a lock keeps other writers out, and the foreign keys of new tables are checked last."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING

from indexer.text import identifier
from sample.sql import Spelling

if TYPE_CHECKING:
    from indexer.migrator import CatalogMigrator

SPELLING = Spelling(
    # OFFSET 0 keeps the planner from computing the chance again for each column.
    numbers="""{name} AS (
        SELECT n, {chance} AS chance
          FROM pg_catalog.generate_series({first}::pg_catalog.int8, {last}) AS n
        OFFSET 0
    )""",
    moment="'1970-01-01'::pg_catalog.timestamp + ({}) * '1 second'::pg_catalog.interval",
    json="({})::pg_catalog.json",
    digits="pg_catalog.lpad(pg_catalog.to_hex({}), 16, '0')",
    parameter="%({})s",
    percent="%%",
)

FOREIGN_KEYS = """
    SELECT c.relname,
           k.conname,
           pg_catalog.pg_get_constraintdef(k.oid)
      FROM pg_catalog.pg_constraint AS k
      JOIN pg_catalog.pg_class AS c ON c.oid = k.conrelid
      JOIN pg_catalog.pg_namespace AS n ON n.oid = c.relnamespace
     WHERE n.nspname = %(schema)s
       AND c.relname = ANY (%(tables)s::pg_catalog.text[])
       AND k.contype = 'f'
     ORDER BY c.relname, k.conname
"""

CONTINUE = """
    SELECT pg_catalog.setval(sequence, %(last)s)
      FROM pg_catalog.pg_get_serial_sequence(pg_catalog.format('%%I.%%I', %(schema)s, %(table)s), 'id') AS sequence
     WHERE sequence IS NOT NULL
"""


@contextmanager
def writing(migrator: CatalogMigrator, rows: Mapping[str, int], new: bool) -> Iterator[None]:
    """Lock the tables in a transaction, at whose end the ids that the database gives continue after these rows.

    Foreign keys of new tables are dropped and added again: a million activities take 11 s instead of 42 s.
    """
    database, place = migrator.database, {"schema": migrator.schema, "tables": list(rows)}
    with database.atomic():
        names = ", ".join(map(migrator.qualified, rows))
        migrator.execute_text(f"LOCK TABLE {names} IN SHARE ROW EXCLUSIVE MODE")
        # What a definition names without its schema is on the search path, which is PostgreSQL's own.
        keys = database.execute_sql(FOREIGN_KEYS, place).fetchall() if new else []
        for table, key, _ in keys:
            migrator.execute_text(f"ALTER TABLE {migrator.qualified(table)} DROP CONSTRAINT {identifier(key)}")
        yield
        for table, key, definition in keys:
            added = f"ADD CONSTRAINT {identifier(key)} {definition}"
            migrator.execute_text(f"ALTER TABLE {migrator.qualified(table)} {added}")
        for table, count in rows.items():  # last, because no rollback takes back what is done to a sequence
            if count:
                database.execute_sql(CONTINUE, {**place, "table": table, "last": count})


def analyze(migrator: CatalogMigrator, names: list[str]) -> None:
    """Vacuum and analyze these tables: queries then find them as they are after some quiet time."""
    migrator.execute_text(f"VACUUM (ANALYZE) {', '.join(names)}")
