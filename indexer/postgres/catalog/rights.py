"""The rights that our role lacks for a run, all at once, each with the statement that grants it."""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from peewee import PeeweeException

from indexer.catalog import META_TABLES, Table
from indexer.errors import GRANTED, Problem
from indexer.postgres.session.reader import CatalogReader
from indexer.text import identifier, qualified

if TYPE_CHECKING:
    from indexer.postgres.catalog.catalog import PostgresCatalog

# owners_below: the owners that are members of our role, as every superuser is. They cannot be granted to it.
# owners_above: the owners of which our role is a member already. From PostgreSQL 16 on each membership says whether it
# inherits, and a second grant that does not say so changes nothing.
RIGHTS = """
    SELECT CURRENT_USER::pg_catalog.text AS role,
           pg_catalog.has_schema_privilege(%(namespace)s::pg_catalog.oid, 'USAGE') AS may_use,
           pg_catalog.has_schema_privilege(%(namespace)s::pg_catalog.oid, 'CREATE') AS may_create,
           pg_catalog.current_setting('server_version_num')::pg_catalog.int4 AS version,
           me.rolinherit AS inherits,
           ARRAY (
           SELECT r.rolname::pg_catalog.text
             FROM pg_catalog.pg_roles AS r
            WHERE r.rolname = ANY (%(owners)s::pg_catalog.text[])
              AND pg_catalog.pg_has_role(r.oid, CURRENT_USER, 'MEMBER')) AS owners_below,
           ARRAY (
           SELECT r.rolname::pg_catalog.text
             FROM pg_catalog.pg_roles AS r
            WHERE r.rolname = ANY (%(owners)s::pg_catalog.text[])
              AND pg_catalog.pg_has_role(r.oid, 'MEMBER')) AS owners_above,
           (
           SELECT s.spcname
             FROM pg_catalog.pg_tablespace AS s
             JOIN pg_catalog.pg_database AS d ON d.datname = pg_catalog.current_database()
            WHERE s.spcname = pg_catalog.current_setting('default_tablespace')
              AND s.oid <> d.dattablespace
              AND NOT pg_catalog.has_tablespace_privilege(s.oid, 'CREATE')) AS tablespace,
           EXISTS (
           SELECT 1
             FROM pg_catalog.pg_default_acl AS d
            WHERE d.defaclrole = me.oid
              AND d.defaclnamespace = 0
              AND d.defaclobjtype = 'r'
              AND (
                  SELECT pg_catalog.count(*)
                    FROM pg_catalog.aclexplode(d.defaclacl) AS a
                   WHERE a.grantee = d.defaclrole
                     AND a.privilege_type IN ('SELECT', 'INSERT', 'UPDATE', 'DELETE', 'REFERENCES')) < 5) AS deprived
      FROM pg_catalog.pg_roles AS me
     WHERE me.rolname = CURRENT_USER
"""

# Where it has no right to, the server skips the table with a warning, and the statement succeeds.
NOT_ANALYZED_BY_US = """
    SELECT t.relname AS name
      FROM pg_catalog.pg_class AS t
      JOIN pg_catalog.pg_database AS d ON d.datname = pg_catalog.current_database()
     WHERE t.relnamespace = %(namespace)s
       AND t.relname = ANY (%(tables)s::pg_catalog.text[])
       AND NOT pg_catalog.pg_has_role(t.relowner, 'USAGE')
       AND NOT pg_catalog.pg_has_role(d.datdba, 'USAGE')
"""
NOT_MAINTAINED_BY_US = "       AND NOT pg_catalog.has_table_privilege(t.oid, 'MAINTAIN')\n"
HAS_MAINTAIN = 170000  # the first version with this privilege

# Every role may use the system's catalog, unless a superuser has revoked that from PUBLIC. Granted are only the names
# that our statements use, and the one that the server has just refused.
CATALOG_RIGHTS = """
    SELECT pg_catalog.concat('GRANT SELECT ON pg_catalog.', pg_catalog.quote_ident(c.relname)) AS grant
      FROM pg_catalog.pg_class AS c
     WHERE c.relnamespace = 'pg_catalog'::pg_catalog.regnamespace
       AND c.relkind IN ('r', 'v')
       AND c.relname = ANY (%(names)s::pg_catalog.text[])
       AND NOT pg_catalog.has_table_privilege(c.oid, 'SELECT')
     UNION ALL
    SELECT pg_catalog.concat('GRANT EXECUTE ON FUNCTION pg_catalog.', pg_catalog.quote_ident(p.proname), '(',
                             pg_catalog.pg_get_function_identity_arguments(p.oid), ')')
      FROM pg_catalog.pg_proc AS p
     WHERE p.pronamespace = 'pg_catalog'::pg_catalog.regnamespace
       AND p.proname = ANY (%(names)s::pg_catalog.text[])
       AND NOT pg_catalog.has_function_privilege(p.oid, 'EXECUTE')
     UNION ALL
    SELECT pg_catalog.concat('GRANT USAGE ON TYPE pg_catalog.', pg_catalog.quote_ident(t.typname))
      FROM pg_catalog.pg_type AS t
     WHERE t.typnamespace = 'pg_catalog'::pg_catalog.regnamespace
       AND (t.typname = ANY (%(names)s::pg_catalog.text[])
            OR pg_catalog.strpos(%(said)s::pg_catalog.text, pg_catalog.format_type(t.oid, NULL)) > 0)
       AND NOT pg_catalog.has_type_privilege(t.oid, 'USAGE')
     ORDER BY 1
"""
WITHHELD = "A superuser can grant the missing rights on the system catalog:"
ADVISED = {"pg_terminate_backend"}  # printed, never executed


def missing_rights(
    catalog: CatalogReader, tables: Mapping[str, Table], indexed: Collection[str], creating: bool
) -> list[Problem]:
    """Return the rights that a run lacks.

    Args:
        tables: the existing tables, by name; the run creates those that record revisions if they are missing.
        indexed: the tables on which the run creates, renames or drops indexes.
        creating: whether it creates or renames any index or creates any other table.
    """
    foreign = [tables[name] for name in indexed if name in tables and not tables[name].owned]
    (facts,) = catalog.ask(RIGHTS, owners=list({table.owner for table in foreign}))
    closed = [tables[name] for name in META_TABLES if name in tables and not tables[name].writable]
    stops = any(table.name == META_TABLES[0] for table in closed)  # a log that cannot be written stops no run
    return [
        *_to_create(catalog, facts, creating, META_TABLES[0] not in tables),
        *_to_record(catalog, facts, "write", closed if stops else [], "SELECT, INSERT, UPDATE, DELETE"),
        *_to_index(catalog, facts, foreign),
    ]


def missing_rights_on_partitions(catalog: PostgresCatalog, tables: Sequence[str], is_other: bool) -> list[Problem]:
    """Return the rights that a run lacks to index these partitions of one schema.

    Args:
        is_other: whether that schema is another one than the partitioned table's.
    """
    found = catalog.tables(tables)
    foreign = [table for table in found.values() if not table.owned]
    (facts,) = catalog.ask(RIGHTS, owners=list({table.owner for table in foreign}))
    to_create = _to_create(catalog, facts, creating=True, recording=False) if is_other else []
    return [*to_create, *_to_index(catalog, facts, foreign)]


def missing_rights_to_rebuild(
    catalog: CatalogReader, tables: Mapping[str, Table], indexed: Collection[str]
) -> list[Problem]:
    """Return the rights that a command lacks that rebuilds indexes of these tables: it goes on without records.

    From version 17 on MAINTAIN is enough for a rebuild, but not for the drop of what an interrupted one leaves.
    """
    foreign = [tables[name] for name in indexed if name in tables and not tables[name].owned]
    (facts,) = catalog.ask(RIGHTS, owners=list({table.owner for table in foreign}))
    to_create = _to_create(catalog, facts, creating=False, recording=False)
    return [*to_create, *_to_index(catalog, facts, foreign, "drop what an interrupted rebuild leaves")]


def missing_rights_to_analyze(
    catalog: CatalogReader, tables: Mapping[str, Table], analyzed: Collection[str]
) -> list[Problem]:
    """Return the rights that a command lacks that gathers the statistics of these tables."""
    (facts,) = catalog.ask(RIGHTS, owners=list({table.owner for table in tables.values()}))
    has_maintain = facts["version"] >= HAS_MAINTAIN
    query = NOT_ANALYZED_BY_US + (NOT_MAINTAINED_BY_US if has_maintain else "")
    problems = _to_create(catalog, facts, creating=False, recording=False)
    owners = {table.owner for table in tables.values()} - {*facts["owners_below"]}
    for row in catalog.rows(query, tables=list(analyzed)):
        table, name = tables[row["name"]], qualified(catalog.schema, row["name"])
        maintain = f"GRANT MAINTAIN ON {name} TO {identifier(facts['role'])}"
        sentence = f"table {name} belongs to role {table.owner}, and role {facts['role']} may not analyze it"
        grant = maintain if has_maintain else _membership(facts, table, name, owners)
        problems.append(Problem(sentence, GRANTED, (grant,)))
    return problems


def missing_rights_to_read(catalog: CatalogReader, tables: Mapping[str, Table]) -> list[Problem]:
    """Return the rights that a command lacks that only reads what is recorded."""
    (facts,) = catalog.ask(RIGHTS, owners=[])
    closed = [tables[name] for name in META_TABLES if name in tables and not tables[name].readable]
    return [
        *_to_create(catalog, facts, creating=False, recording=False),
        *_to_record(catalog, facts, "read", closed, "SELECT"),
    ]


def withheld(catalog: CatalogReader, said: str) -> list[str]:
    """Return the statements that give our role the rights on the system's catalog that were revoked from PUBLIC.

    The first that is missing is in what the server ``said``.
    """
    from pathlib import Path

    sources = (file.read_text() for file in Path(__file__).parents[1].rglob("*.py"))
    used = {name for source in sources for name in re.findall(r"pg_catalog\.(\w+)", source)} - ADVISED
    names = [*used, *re.findall(r"\w+", said)]
    (role,) = catalog.rows("SELECT CURRENT_USER::pg_catalog.text AS role")
    try:
        grants = [row["grant"] for row in catalog.rows(CATALOG_RIGHTS, names=names, said=said)]
    except PeeweeException:  # the tables that this query reads are themselves withheld
        grants = [f"GRANT SELECT ON pg_catalog.{name}" for name in re.findall(r"\bpg_\w+", said)]
    return [f"{grant} TO {identifier(role['role'])}" for grant in grants]


def _to_create(catalog: CatalogReader, facts: Mapping[str, Any], creating: bool, recording: bool) -> list[Problem]:
    """Return the rights that are missing on the schema, the tablespace and new tables.

    Args:
        facts: the row of RIGHTS.
        creating: whether an index or a table is created, or an index renamed.
        recording: whether the tables that record revisions are created.
    """
    name, role, tablespace = catalog.schema or "", facts["role"], facts["tablespace"] or ""
    creates = creating or recording
    needed = {"USAGE": facts["may_use"], "CREATE": facts["may_create"] or not creates}
    missing = [right for right, given in needed.items() if not given]
    doing = "create anything in" if "CREATE" in missing else "use"
    to = identifier(role)
    rights = (
        (
            bool(missing),
            f"role {role} may not {doing} schema {name}",
            f"GRANT {', '.join(missing)} ON SCHEMA {identifier(name)} TO {to}",
        ),
        (
            creates and tablespace != "",
            f"role {role} may not create anything in tablespace {tablespace}, which default_tablespace names",
            f"GRANT CREATE ON TABLESPACE {identifier(tablespace)} TO {to}",
        ),
        (
            recording and facts["deprived"],
            f"default privileges deny role {role} its rights on new tables, and it has to create some",
            f"ALTER DEFAULT PRIVILEGES FOR ROLE {to} GRANT ALL ON TABLES TO {to}",
        ),
    )
    return [Problem(sentence, GRANTED, (grant,)) for is_missing, sentence, grant in rights if is_missing]


def _to_record(
    catalog: CatalogReader, facts: Mapping[str, Any], verb: str, closed: Sequence[Table], rights: str
) -> list[Problem]:
    """Return the rights on tables of records that are missing, to be granted to a role that we and others share."""
    if not closed:
        return []
    first = closed[0]
    names = " and ".join(f"{catalog.schema}.{table.name}" for table in closed)
    grantee = first.trust.main_owner if first.trust.is_ours else first.role
    tables = ", ".join(qualified(catalog.schema, table.name) for table in closed)
    grant = f"GRANT {rights} ON {tables} TO {identifier(grantee)}"
    sentence = f"role {facts['role']} may not {verb} {names} of role {first.owner}, where the revisions are recorded"
    return [Problem(sentence, GRANTED, (grant,))]


def _to_index(
    catalog: CatalogReader, facts: Mapping[str, Any], foreign: Sequence[Table], what: str = "index it"
) -> list[Problem]:
    """Return which of these tables belong to another role, and what only that can do, with what lets our role do it."""
    owners = {table.owner for table in foreign} - {*facts["owners_below"]}
    problems = []
    for table in foreign:
        name = qualified(catalog.schema, table.name)
        sentence = f"table {name} belongs to role {table.owner}, and only its owner can {what}"
        problems.append(Problem(sentence, GRANTED, (_membership(facts, table, name, owners),)))
    return problems


def _membership(facts: Mapping[str, Any], table: Table, name: str, owners: Collection[str]) -> str:
    """Return the statement that makes our role a member of a table's owner, or gives the table another owner."""
    role, owner, main_owner = identifier(facts["role"]), identifier(table.owner), table.trust.main_owner
    if table.owner in facts["owners_below"]:
        is_shared = (table.trust.is_ours or main_owner in owners) and main_owner != table.owner
        return f"ALTER TABLE {name} OWNER TO {identifier(main_owner) if is_shared else role}"
    if facts["version"] >= 160000 and (table.owner in facts["owners_above"] or not facts["inherits"]):
        return f"GRANT {owner} TO {role} WITH INHERIT TRUE"
    if facts["inherits"]:
        return f"GRANT {owner} TO {role}"
    return f"GRANT {owner} TO {role}; ALTER ROLE {role} INHERIT"
