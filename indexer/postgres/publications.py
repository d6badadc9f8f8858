"""Publications that would publish a new table at once, to subscribers that do not have it."""

FOR_ALL_TABLES = """
    SELECT p.pubname::pg_catalog.text AS publication,
           'FOR ALL TABLES' AS kind
      FROM pg_catalog.pg_publication AS p
     WHERE p.puballtables
"""

FOR_TABLES_IN_SCHEMA = """
     UNION ALL
    SELECT p.pubname::pg_catalog.text,
           'FOR TABLES IN SCHEMA'
      FROM pg_catalog.pg_publication_namespace AS s
      JOIN pg_catalog.pg_publication AS p ON p.oid = s.pnpubid
     WHERE s.pnnspid = %(namespace)s
"""

IN_ORDER = """
     ORDER BY publication
"""

SINCE = 150000  # the version of the server that has FOR TABLES IN SCHEMA

SUBSCRIPTIONS = """
    SELECT s.slot_name::pg_catalog.text AS slot
      FROM pg_catalog.pg_replication_slots AS s
     WHERE s.plugin = 'pgoutput'
       AND s.database = pg_catalog.current_database()
       AND NOT s.temporary
     ORDER BY s.slot_name
"""


def query_for(version: int) -> str:
    """Return the query for the publications of a server of this version."""
    return FOR_ALL_TABLES + (FOR_TABLES_IN_SCHEMA if version >= SINCE else "") + IN_ORDER
