"""The rights that a run needs and that our role lacks, all of them at once, each with the statement that gives it."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from peewee import PeeweeException

from indexer.catalog import META_TABLES, Table
from indexer.errors import GRANTED, Problem
from indexer.postgres.session import Question
from indexer.text import identifier

if TYPE_CHECKING:
    from indexer.postgres.catalog import PostgresCatalog

# owners_below: the owners that are members of our role, as every superuser is. They cannot be granted to it.
# owners_above: those of which our role is a member already. From 16 on each membership says whether it inherits, and a
# second grant that does not say so changes nothing.
RIGHTS = """
    SELECT CURRENT_USER::pg_catalog.text AS role,
           pg_catalog.has_schema_privilege(%(namespace)s::pg_catalog.oid, 'USAGE') AS may_use,
           pg_catalog.has_schema_privilege(%(namespace)s::pg_catalog.oid, 'CREATE') AS may_create,
           pg_catalog.current_setting('server_version_num')::pg_catalog.int4 AS version,
           (
           SELECT r.rolinherit
             FROM pg_catalog.pg_roles AS r
            WHERE r.rolname = CURRENT_USER) AS inherits,
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
             JOIN pg_catalog.pg_roles AS r ON r.oid = d.defaclrole
            WHERE r.rolname = CURRENT_USER
              AND d.defaclnamespace = 0
              AND d.defaclobjtype = 'r'
              AND (
                  SELECT pg_catalog.count(*)
                    FROM pg_catalog.aclexplode(d.defaclacl) AS a
                   WHERE a.grantee = d.defaclrole
                     AND a.privilege_type IN ('SELECT', 'INSERT', 'UPDATE', 'DELETE', 'REFERENCES')) < 5) AS deprived
"""

# Everyone may use the system's catalog, until somebody takes that away from PUBLIC. Granted are only the names that our
# statements use, and the one that the server has just refused.
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
WITHHELD = "A superuser gives the rights on the system's catalog that are missing:"
ADVISED = {"pg_terminate_backend"}  # printed, and not executed

ASK_RIGHTS = Question("indexer_rights", {"namespace": "bigint", "owners": "pg_catalog.text[]"}, RIGHTS)


def missing_rights(
    catalog: PostgresCatalog, tables: Mapping[str, Table], indexed: Collection[str], creating: bool
) -> list[Problem]:
    """Return the rights that a run lacks.

    Args:
        catalog: of the schema.
        tables: the tables there are, by name; those that record revisions are made if they are not among them.
        indexed: the tables on which it makes, renames or drops indexes.
        creating: whether it makes or renames any index or makes any other table.
    """
    foreign = [tables[name] for name in indexed if name in tables and not tables[name].owned]
    (row,) = catalog.ask(ASK_RIGHTS, owners=list({table.owner for table in foreign}))
    making = creating or META_TABLES[0] not in tables
    return [
        *_on_schema(catalog.schema or "", row, making),
        *_on_tablespace(row, making),
        *_on_new_tables(row, META_TABLES[0] not in tables),
        *_on_records(catalog.schema or "", row["role"], tables),
        *_on_tables(catalog.schema or "", row, foreign),
    ]


def missing_rights_to_read(catalog: PostgresCatalog, tables: Mapping[str, Table]) -> list[Problem]:
    """Return the rights that a command lacks that only reads what is recorded."""
    (row,) = catalog.ask(ASK_RIGHTS, owners=[])
    closed = [tables[name] for name in META_TABLES if name in tables and not tables[name].readable]
    names = " and ".join(f"{catalog.schema}.{table.name}" for table in closed)
    grant = record_grant(catalog.schema or "", closed, "SELECT")
    problem = f"role {row['role']} may not read {names} of role {closed[0].owner}, where the revisions are recorded"
    return [*_on_schema(catalog.schema or "", row, making=False), Problem(problem, GRANTED, (grant,))]


def withheld(catalog: PostgresCatalog, said: str) -> list[str]:
    """Return what gives our role the rights on the system's catalog back that somebody has taken away.

    Args:
        catalog: of the schema.
        said: what the server says about the first right that is missing.
    """
    sources = (file.read_text() for file in Path(__file__).parent.glob("*.py"))
    ours = {name for source in sources for name in re.findall(r"pg_catalog\.(\w+)", source)} - ADVISED
    names = [*ours, *re.findall(r"\w+", said)]
    (role,) = catalog.rows("SELECT CURRENT_USER::pg_catalog.text AS role")
    try:
        grants = [row["grant"] for row in catalog.rows(CATALOG_RIGHTS, names=names, said=said)]
    except PeeweeException:  # the tables to look into are themselves withheld
        grants = [f"GRANT SELECT ON pg_catalog.{name}" for name in re.findall(r"\bpg_\w+", said)]
    return [f"{grant} TO {identifier(role['role'])}" for grant in grants]


def _on_schema(schema: str, row: Mapping[str, Any], making: bool) -> Iterable[Problem]:
    lacking = [
        right for right, given in (("USAGE", row["may_use"]), ("CREATE", row["may_create"] or not making)) if not given
    ]
    if lacking:
        doing = "create anything in" if "CREATE" in lacking else "use"
        grant = f"GRANT {', '.join(lacking)} ON SCHEMA {identifier(schema)} TO {identifier(row['role'])}"
        yield Problem(f"role {row['role']} may not {doing} schema {schema}", GRANTED, (grant,))


def _on_tablespace(row: Mapping[str, Any], making: bool) -> Iterable[Problem]:
    tablespace = row["tablespace"]
    if making and tablespace:
        yield Problem(
            f"role {row['role']} may not create anything in tablespace {tablespace}, which default_tablespace names",
            GRANTED,
            (f"GRANT CREATE ON TABLESPACE {identifier(tablespace)} TO {identifier(row['role'])}",),
        )


def _on_new_tables(row: Mapping[str, Any], making_tables: bool) -> Iterable[Problem]:
    if making_tables and row["deprived"]:
        role = identifier(row["role"])
        yield Problem(
            f"default privileges take the rights on new tables from role {row['role']}, which is to make some",
            GRANTED,
            (f"ALTER DEFAULT PRIVILEGES FOR ROLE {role} GRANT ALL ON TABLES TO {role}",),
        )


def _on_records(schema: str, role: str, tables: Mapping[str, Table]) -> Iterable[Problem]:
    """Yield what keeps us from recording; a log that cannot be written is none by itself, but has its grant too."""
    closed = [name for name in META_TABLES if name in tables and not tables[name].writable]
    if META_TABLES[0] in closed:
        yield Problem(
            f"role {role} may not write {schema}.{META_TABLES[0]}, where the revisions are recorded",
            GRANTED,
            (record_grant(schema, [tables[name] for name in closed]),),
        )


def record_grant(schema: str, closed: Collection[Table], rights: str = "SELECT, INSERT, UPDATE, DELETE") -> str:
    """Return the statement that opens tables of records to our role, or to the owner of the indexed tables."""
    names = ", ".join(f"{identifier(schema)}.{identifier(table.name)}" for table in closed)
    table = next(iter(closed))
    grantee = table.trust.main_owner if table.trust.is_ours else table.role
    return f"GRANT {rights} ON {names} TO {identifier(grantee)}"


def _on_tables(schema: str, row: Mapping[str, Any], foreign: Collection[Table]) -> Iterable[Problem]:
    owners = {table.owner for table in foreign} - {*row["owners_below"]}
    for table in foreign:
        trust = table.trust
        heir = trust.main_owner if trust.is_ours or trust.main_owner in owners else row["role"]
        heir = row["role"] if heir == table.owner else heir
        yield Problem(
            f"table {identifier(schema)}.{identifier(table.name)} belongs to role {table.owner}, "
            "and only its owner can index it",
            GRANTED,
            (_belonging(schema, row, table, heir),),
        )


def _belonging(schema: str, row: Mapping[str, Any], table: Table, heir: str) -> str:
    """Return the statement that lets our role index a table: membership of its owner, or another owner of it."""
    role, owner = identifier(row["role"]), identifier(table.owner)
    if table.owner in row["owners_below"]:
        return f"ALTER TABLE {identifier(schema)}.{identifier(table.name)} OWNER TO {identifier(heir)}"
    if row["version"] >= 160000 and (table.owner in row["owners_above"] or not row["inherits"]):
        return f"GRANT {owner} TO {role} WITH INHERIT TRUE"
    if row["inherits"]:
        return f"GRANT {owner} TO {role}"
    return f"GRANT {owner} TO {role}; ALTER ROLE {role} INHERIT"
