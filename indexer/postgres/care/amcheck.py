"""The extension amcheck: where its function is, whether our role may call it, and what lets it."""

from __future__ import annotations

from indexer.postgres.care.extension import ExtensionFunction, function_of
from indexer.postgres.session.reader import CatalogReader
from indexer.text import identifier, literal, qualified
from indexer.tuples import NamedTuple

FUNCTION_NAME = "bt_index_check"
ARGUMENTS = "regclass, boolean"  # since version 1.1 of the extension


class Amcheck(NamedTuple):
    """The extension as our role sees it: its function that checks a B-tree."""

    function: ExtensionFunction

    @property
    def is_callable(self) -> bool:
        """Whether our role may call it."""
        return self.function.is_callable

    @property
    def schema(self) -> str | None:
        """The schema of the function; None where there is no such function."""
        return self.function.schema

    def advice(self, schema: str, is_standby: bool, in_cluster: bool = False) -> str:
        """Return why it cannot be called, and what an administrator runs.

        Args:
            schema: where it can be installed.
            in_cluster: whether it is to be granted on all nodes of a Citus cluster, which creates extensions on all of
                them, and makes no grant on the functions of these.
        """
        lack = (
            f"role {self.function.role} may not call amcheck"
            if self.function.is_installed
            else "amcheck is not installed"
        )
        given = self._statements(schema)
        if in_cluster:
            given = [_on_all_nodes(statement) if statement.startswith("GRANT") else statement for statement in given]
        statements = " ".join(f"{statement};" for statement in given)
        only = f"Only sampled rows were looked up, because {lack}."
        where = " on the primary" if is_standby else ""
        return f"{only} To check whole B-trees, run as a superuser{where}: {statements}"

    def _statements(self, schema: str) -> list[str]:
        if self.function.is_installed and self.schema is None:
            return ["ALTER EXTENSION amcheck UPDATE"]
        where, role = self.schema or schema, identifier(self.function.role)
        create = [] if self.function.is_installed else [f"CREATE EXTENSION amcheck SCHEMA {identifier(where)}"]
        usage = (
            [f"GRANT USAGE ON SCHEMA {identifier(where)} TO {role}"]
            if self.schema and not self.function.sees_schema
            else []
        )
        function = f"{qualified(where, FUNCTION_NAME)}({ARGUMENTS})"
        return [*create, *usage, f"GRANT EXECUTE ON FUNCTION {function} TO {role}"]


def _on_all_nodes(statement: str) -> str:
    return f"SELECT pg_catalog.run_command_on_all_nodes({literal(statement)})"


def amcheck(reader: CatalogReader) -> Amcheck:
    """Return the extension of this database."""
    return Amcheck(function_of(reader, "amcheck", FUNCTION_NAME, ARGUMENTS))
