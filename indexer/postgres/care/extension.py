"""The functions of extensions, called only where they can be trusted."""

from __future__ import annotations

from indexer.postgres.session.reader import CatalogReader
from indexer.tuples import NamedTuple

# Everybody can create a function of this name: only that of the extension counts, in C, whose number is 13.
FUNCTION = """
    SELECT e.extname IS NOT NULL AS is_installed,
           n.nspname AS schema,
           COALESCE(pg_catalog.has_schema_privilege(n.oid, 'USAGE'), false) AS sees_schema,
           COALESCE(pg_catalog.has_function_privilege(p.oid, 'EXECUTE'), false) AS may_execute,
           CURRENT_USER::pg_catalog.text AS role
      FROM (SELECT 1) AS one
      LEFT JOIN pg_catalog.pg_extension AS e ON e.extname = %(extension)s
      LEFT JOIN (
           pg_catalog.pg_depend AS d
           JOIN pg_catalog.pg_proc AS p ON p.oid = d.objid
           JOIN pg_catalog.pg_namespace AS n ON n.oid = p.pronamespace)
        ON d.classid = 'pg_catalog.pg_proc'::pg_catalog.regclass
       AND d.refclassid = 'pg_catalog.pg_extension'::pg_catalog.regclass
       AND d.refobjid = e.oid
       AND d.deptype = 'e'
       AND p.proname = %(function)s
       AND p.prolang = 13
       AND pg_catalog.oidvectortypes(p.proargtypes) = %(arguments)s
"""


class ExtensionFunction(NamedTuple):
    """A function of an extension as our role sees it.

    Attributes:
        is_installed: whether the extension is.
        schema: of the function; None where there is no such function.
        role: our role.
    """

    is_installed: bool
    schema: str | None
    sees_schema: bool
    may_execute: bool
    role: str

    @property
    def is_callable(self) -> bool:
        """Whether our role may call it."""
        return self.schema is not None and self.sees_schema and self.may_execute


def function_of(reader: CatalogReader, extension: str, function: str, arguments: str) -> ExtensionFunction:
    """Return a function of an extension of this database; ``arguments`` are its types, with ", " between them."""
    (row,) = reader.rows(FUNCTION, extension=extension, function=function, arguments=arguments)
    return ExtensionFunction(**row)
