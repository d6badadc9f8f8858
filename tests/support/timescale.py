"""A stand-in for TimescaleDB, which is not installed here: the rows that its catalog has, and a chunk that inherits.

Only a superuser can make it, because it writes into PostgreSQL's own catalog as CREATE EXTENSION does.
"""

from __future__ import annotations

from command import execute

EXTENSION = (
    "CREATE SCHEMA _timescaledb_catalog",
    "CREATE SCHEMA _timescaledb_internal",
    "CREATE TABLE _timescaledb_catalog.hypertable (id int PRIMARY KEY, schema_name name, table_name name)",
    "GRANT USAGE ON SCHEMA _timescaledb_catalog TO PUBLIC",
    "GRANT SELECT ON _timescaledb_catalog.hypertable TO PUBLIC",
    """
    INSERT INTO pg_extension (oid, extname, extowner, extnamespace, extrelocatable, extversion)
    VALUES (999999, 'timescaledb', 10, 'public'::regnamespace, false, '2.17.2')
    """,
    """
    INSERT INTO pg_depend (classid, objid, objsubid, refclassid, refobjid, refobjsubid, deptype)
    VALUES ('pg_class'::regclass, '_timescaledb_catalog.hypertable'::regclass, 0,
            'pg_extension'::regclass, 999999, 0, 'e')
    """,
)


def pretend_timescale(superuser_url: str) -> None:
    """Make the extension known, without any of its code."""
    execute(superuser_url, *EXTENSION)


def pretend_hypertable(superuser_url: str, table: str, schema: str = "public") -> None:
    """Let a table be known as a hypertable with one chunk."""
    chunk = f"_timescaledb_internal._hyper_1_1_chunk_{table}"
    execute(
        superuser_url,
        f"CREATE TABLE {chunk} () INHERITS ({schema}.{table})",
        f"INSERT INTO _timescaledb_catalog.hypertable SELECT count(*) + 1, '{schema}', '{table}'"
        " FROM _timescaledb_catalog.hypertable",
    )
