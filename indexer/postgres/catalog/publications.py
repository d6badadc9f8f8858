"""Logical replication: the publications that a new table joins at once, and the subscriptions to this database."""

from __future__ import annotations

from indexer.postgres.session.reader import CatalogReader

FOR_ALL_TABLES = """
    SELECT p.pubname::pg_catalog.text AS publication,
           'FOR ALL TABLES' AS kind
      FROM pg_catalog.pg_publication AS p
     WHERE p.puballtables
     ORDER BY publication
"""

FOR_TABLES_IN_SCHEMA = """
    SELECT p.pubname::pg_catalog.text AS publication,
           'FOR TABLES IN SCHEMA' AS kind
      FROM pg_catalog.pg_publication_namespace AS s
      JOIN pg_catalog.pg_publication AS p ON p.oid = s.pnpubid
     WHERE s.pnnspid = %(namespace)s
     ORDER BY publication
"""
HAS_SCHEMAS = 150000  # the first version with FOR TABLES IN SCHEMA

SUBSCRIPTIONS = """
    SELECT s.slot_name::pg_catalog.text AS slot
      FROM pg_catalog.pg_replication_slots AS s
     WHERE s.plugin = 'pgoutput'
       AND s.database = pg_catalog.current_database()
       AND NOT s.temporary
     ORDER BY s.slot_name
"""


def publications(catalog: CatalogReader) -> list[str]:
    """Return the publications that a new table in the schema joins at once, each with its kind."""
    queries = [FOR_ALL_TABLES, *([FOR_TABLES_IN_SCHEMA] if catalog.database.server_version >= HAS_SCHEMAS else [])]
    return [f"{row['publication']} ({row['kind']})" for query in queries for row in catalog.rows(query)]


def subscriptions(catalog: CatalogReader) -> list[str]:
    """Return the names of the replication slots: those of the subscriptions, unless a subscription names another."""
    return [row["slot"] for row in catalog.rows(SUBSCRIPTIONS)]
