"""The types of the columns of tables that are still to be created, found by the names that models give."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from typing import Any

from indexer.postgres.expression.explain import NotUnderstood
from indexer.postgres.expression.names import chosen, missing
from indexer.postgres.expression.tokens import folded
from indexer.postgres.session.reader import CatalogReader
from indexer.text import qualified

# is_trusted: another role could give its own type the name of an extension's, and run code with it.
TYPES = """
    SELECT t.typname AS name,
           n.nspname AS schema,
           pg_catalog.has_schema_privilege(n.oid, 'USAGE') AS may_use,
           CURRENT_USER::pg_catalog.text AS role,
           n.nspname OPERATOR(pg_catalog.=) 'pg_catalog'
           OR pg_catalog.pg_has_role(t.typowner, 'USAGE')
           OR EXISTS (
              SELECT 1
                FROM pg_catalog.pg_depend AS d
               WHERE d.classid OPERATOR(pg_catalog.=) 'pg_catalog.pg_type'::pg_catalog.regclass
                 AND d.objid OPERATOR(pg_catalog.=) t.oid
                 AND d.deptype OPERATOR(pg_catalog.=) 'e') AS is_trusted
      FROM pg_catalog.pg_type AS t
      JOIN pg_catalog.pg_namespace AS n ON n.oid OPERATOR(pg_catalog.=) t.typnamespace
     WHERE t.typname OPERATOR(pg_catalog.=) %(name)s::pg_catalog.text
     ORDER BY n.nspname
"""
NAME = r"(?:\"[^\"]+\"|[^\W\d]\w*)"
WRITTEN = re.compile(rf"\s*(?:(?P<schema>{NAME})\s*\.\s*)?(?P<name>{NAME})(?P<rest>.*)", re.DOTALL)

# The first words of PostgreSQL's own types; the catalog has some of them under other names or not at all.
OWN = frozenset(
    """
    bigint bigserial bit boolean bytea char character date dec decimal double float int integer interval json jsonb
    national nchar numeric real serial serial2 serial4 serial8 smallint smallserial text time timestamp timestamptz uuid
    varchar
    """.split()  # noqa: SIM905  a list would be twenty lines
)


def column_types(catalog: CatalogReader, models: Sequence[Any], known: dict[str, str]) -> dict[str, str]:
    """Return how to write the field types of models that are no types of PostgreSQL, each with its schema.

    Args:
        known: the field types that peewee writes in another way.
    """
    types: dict[str, str] = {}
    for field in (field for model in models for field in model._meta.sorted_fields):
        with suppress(NotUnderstood):  # which preflight reports
            types[field.field_type] = _resolved(catalog, known.get(field.field_type, field.field_type))
    return types


def unknown_types(catalog: CatalogReader, models: Sequence[Any], known: dict[str, str]) -> Iterator[str]:
    """Yield a sentence for each column of a model whose type cannot be had; the arguments are as for column_types."""
    for field in (field for model in models for field in model._meta.sorted_fields):
        reason = _obstacle(catalog, known.get(field.field_type, field.field_type))
        if reason:
            yield f"{qualified(field.model._meta.table_name, field.column_name)} needs {reason}"


def _obstacle(catalog: CatalogReader, declared: str) -> NotUnderstood | None:
    try:
        _resolved(catalog, declared)
    except NotUnderstood as reason:
        return reason
    return None


def _resolved(catalog: CatalogReader, declared: str) -> str:
    """Return a type as SQL names it on any search path.

    Raises:
        NotUnderstood: there is none of that name, more than one, or only another role's.
    """
    written = WRITTEN.fullmatch(declared)
    if not written:
        return declared
    name = folded(written["name"])
    if name in OWN and not written["schema"]:
        return declared
    rows = catalog.recall((TYPES, name), lambda: catalog.rows(TYPES, name=name))
    if written["schema"]:
        schema = folded(written["schema"])
        if not any(row["schema"] == schema for row in rows):
            raise NotUnderstood(f"type {name}, which schema {schema} does not have")
        return declared
    if not rows:
        raise NotUnderstood(missing("type", name))
    trusted = [row for row in rows if row["is_trusted"]]
    if not trusted:
        raise NotUnderstood(
            f"type {name}, which another role has made in schema {rows[0]['schema']}: write that before it"
        )
    sql = chosen(catalog, "type", trusted)
    return f"{sql}{written['rest']}" if "." in sql else declared
