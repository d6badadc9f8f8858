"""The extension amcheck: where its function is, whether our role may call it, and what lets it."""

from __future__ import annotations

from indexer.postgres.session.reader import CatalogReader
from indexer.text import identifier, qualified
from indexer.tuples import NamedTuple

FUNCTION_NAME = "bt_index_check"
ARGUMENTS = "regclass, boolean"  # since version 1.1 of the extension

# Only the extension's own function counts, in C: everybody can create another one of this name. 13 is the language C.
FUNCTION = """
    SELECT e.extname IS NOT NULL AS is_installed,
           n.nspname AS schema,
           COALESCE(pg_catalog.has_schema_privilege(n.oid, 'USAGE'), false) AS sees_schema,
           COALESCE(pg_catalog.has_function_privilege(p.oid, 'EXECUTE'), false) AS may_execute,
           CURRENT_USER::pg_catalog.text AS role
      FROM (SELECT 1) AS one
      LEFT JOIN pg_catalog.pg_extension AS e ON e.extname = 'amcheck'
      LEFT JOIN (
           pg_catalog.pg_depend AS d
           JOIN pg_catalog.pg_proc AS p ON p.oid = d.objid
           JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace)
        ON d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass
       AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass
       AND d.refobjid = e.oid
       AND d.deptype = 'e'
       AND p.proname = 'bt_index_check'
       AND p.prolang = 13
       AND p.pronargs = 2
       AND p.proargtypes[0] = 'pg_catalog.regclass'::pg_catalog.regtype
       AND p.proargtypes[1] = 'pg_catalog.bool'::pg_catalog.regtype
"""


class Amcheck(NamedTuple):
    """The extension as our role sees it.

    Attributes:
        schema: of its function; None where there is no such function.
        role: our role.
    """

    is_installed: bool
    schema: str | None
    sees_schema: bool
    may_execute: bool
    role: str

    @property
    def is_callable(self) -> bool:
        """Whether our role may call bt_index_check."""
        return self.schema is not None and self.sees_schema and self.may_execute

    def advice(self, schema: str, is_standby: bool) -> str:
        """Return why it cannot be called, and what an administrator runs; ``schema`` is where it can be installed."""
        lack = f"role {self.role} may not call amcheck" if self.is_installed else "amcheck is not installed"
        statements = " ".join(f"{statement};" for statement in self._statements(schema))
        only = f"Only sampled rows were looked up, because {lack}."
        where = " on the primary" if is_standby else ""
        return f"{only} To check whole B-trees, run as a superuser{where}: {statements}"

    def _statements(self, schema: str) -> list[str]:
        if self.is_installed and self.schema is None:
            return ["ALTER EXTENSION amcheck UPDATE"]
        where, role = self.schema or schema, identifier(self.role)
        create = [] if self.is_installed else [f"CREATE EXTENSION amcheck SCHEMA {identifier(where)}"]
        usage = [f"GRANT USAGE ON SCHEMA {identifier(where)} TO {role}"] if self.schema and not self.sees_schema else []
        function = f"{qualified(where, FUNCTION_NAME)}({ARGUMENTS})"
        return [*create, *usage, f"GRANT EXECUTE ON FUNCTION {function} TO {role}"]


def amcheck(reader: CatalogReader) -> Amcheck:
    """Return the extension of this database."""
    return Amcheck(**reader.rows(FUNCTION)[0])
