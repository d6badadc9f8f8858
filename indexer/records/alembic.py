"""Alembic's own record of the same database: read to tell who made what, moved only if it is one revision away."""

from __future__ import annotations

import re
from functools import cached_property
from shlex import quote
from typing import Any, NamedTuple

from peewee import CharField, Model, fn

from indexer.catalog import ORDINARY, Table
from indexer.errors import GRANTED, Problem, UsageError
from indexer.migrator import CatalogMigrator
from indexer.options import DEFAULTS, VERSION_TABLE, Options
from indexer.records.table import bound
from indexer.revisions.chain import Chain, Revision
from indexer.text import identifier

COLUMN = "version_num"
AT, PAST, BELOW = "at", "past", "below"


class Versions(NamedTuple):
    """The revisions that Alembic says the database is at: one as a rule, several after a fork, none at its base.

    ``rows`` is None where there is no such table. ``known`` are the revisions of our own chain, in order; any other
    is taken for a later one. ``obstacle`` is what keeps us from the table, such as a right that we lack;
    ``is_hidden`` where it may well be Alembic's and cannot be read. ``name`` is that of the table, for people.
    """

    rows: tuple[str, ...] | None
    known: tuple[str, ...]
    obstacle: str | None = None
    is_hidden: bool = False
    name: str = VERSION_TABLE

    def place(self, revision: Revision) -> str | None:
        """Where Alembic stands, seen from a revision: at it, past it or below; None where it has nothing to say."""
        if self.rows is None or not revision.in_alembic:
            return None
        if self.rows == (revision.id,):
            return AT
        before = self.known[: self.known.index(revision.id)]
        return BELOW if not self.rows or any(row in before for row in self.rows) else PAST

    def later_than(self, revision: Revision) -> tuple[str, ...]:
        """The revisions beyond this one that Alembic stands at."""
        if self.place(revision) != PAST:
            return ()
        return tuple(row for row in self.rows or () if row != revision.id)

    @property
    def can_be_moved(self) -> bool:
        """Is there a table, and may we change it?"""
        return self.rows is not None and self.obstacle is None

    def is_at(self, revision: str) -> bool:
        """Does Alembic stand at this revision and no other?"""
        return self.rows == (revision,)

    def left_alone(self, start: str, end: str) -> str | None:
        """Why a move of ours is not recorded with Alembic, as a sentence; None if it is, or need not be."""
        if self.obstacle and self.rows in (None, (start,)):
            return f"{self.name} is left as it is, because {self.obstacle}."
        if self.rows is None or self.rows in ((start,), (end,)):
            return None
        return f"{self.name} is left as it is, because it {self._reason()}."

    def _reason(self) -> str:
        held = ", ".join(self.rows or ())
        if not held:
            return "is empty"
        if len(self.rows or ()) > 1:
            return f"holds several revisions: {held}"
        place = "is not the one next to this move" if held in self.known else "this version does not know"
        return f"holds {held}, which {place}"


class AlembicVersion:
    """The version table: the one that the user names, else ``alembic_version`` in the schema of our tables."""

    def __init__(self, migrator: CatalogMigrator, chain: Chain, options: Options = DEFAULTS) -> None:
        self.migrator = migrator
        self.chain = chain
        self.is_kept = options.alembic
        self.was_named = options.version_table != VERSION_TABLE
        self.label = options.version_table
        self._schema, self.name = parts_of(options.version_table)

    @property
    def schema(self) -> str | None:
        """The schema of the table."""
        return self._schema or self.migrator.schema

    @property
    def names(self) -> list[str]:
        """Its name, if it is to be looked for among our own tables."""
        return [self.name] if self.schema == self.migrator.schema else []

    def _model_of(self, schema: str | None, name: str) -> Any:
        class AlembicVersion(Model):
            version_num = CharField(32, primary_key=True)

        model = bound(AlembicVersion, name, self.migrator)
        model._meta.schema = schema
        return model

    @cached_property
    def _model(self) -> Any:
        return self._model_of(self.schema, self.name)

    def _table(self, tables: dict[str, Table]) -> Table | None:
        """Return the table, if there is one with Alembic's column; one of that name without it is somebody else's."""
        found = tables if self.names else self.migrator.tables_in(self.schema, [self.name])
        table = found.get(self.name)
        if table is None and self.was_named:
            raise UsageError(
                f"There is no table {self.label}.", "Name Alembic's version table with --version-table [SCHEMA.]NAME."
            )
        return table if table and COLUMN in table.columns else None

    def read(self, tables: dict[str, Table]) -> Versions:
        """What the table holds.

        Raises:
            UsageError: the table that the user named does not exist.
        """
        nothing = Versions(None, self.chain.ids, name=self.label)
        table = self._table(tables)
        if table is None:
            return nothing
        flaw = table.trust.flaw or ("" if table.kind == ORDINARY else f"is a {table.kind}")
        if flaw:
            obstacle = ": ".join(filter(None, (f"it {flaw}", table.trust.unhiding)))
            return nothing._replace(obstacle=obstacle, is_hidden=table.kind == ORDINARY)
        grants = self._grants(table)
        obstacle = (
            f"role {table.role} may not read and update it: {'; '.join(grants)}; after the run stamp brings it in step"
        )
        if not table.readable:
            return nothing._replace(obstacle=obstacle, is_hidden=True)
        held = self._held(self._model)
        return nothing._replace(rows=held, obstacle=None if table.updatable else obstacle)

    def _held(self, model: Any) -> tuple[str, ...]:
        rows = model.select(model.version_num).order_by(model.version_num).tuples()
        return tuple(row for (row,) in rows if row is not None)  # the table may have been made without its key

    def _grants(self, table: Table) -> list[str]:
        role, schema = identifier(table.role), identifier(self.schema or "")
        use = [] if self.names else [f"GRANT USAGE ON SCHEMA {schema} TO {role}"]
        return [*use, f"GRANT SELECT, UPDATE ON {schema}.{identifier(self.name)} TO {role}"]

    def missing_rights(self, tables: dict[str, Table]) -> list[Problem]:
        """Return the rights that our role lacks to keep the table in step."""
        table = self._table(tables) if self.is_kept else None
        if table is None or table.trust.flaw or (table.readable and table.updatable):
            return []
        problem = f"role {table.role} may not read and update {self.label}, where Alembic records its revision"
        return [Problem(problem, GRANTED, self._grants(table))]

    def elsewhere(self, versions: Versions) -> str | None:
        """Return a sentence about another version table that holds a revision of our chain, where ours holds none."""
        if not self.is_kept or any(row in self.chain.ids for row in versions.rows or ()):
            return None
        for schema, name in self.migrator.version_tables(self.schema, self.name):
            table = self.migrator.tables_in(schema, [name]).get(name)
            if table is None or table.trust.flaw or not table.readable:
                continue
            held = [row for row in self._held(self._model_of(schema, name)) if row in self.chain.ids]
            if held:
                label = spelt(None if schema == self.migrator.schema else schema, name)
                option = f"--version-table {quote(label)}"
                return (
                    f"{label} is left as it is, although it holds {', '.join(held)}: to keep it in step, add {option}"
                )
        return None

    def move(self, start: str, end: str) -> Any:
        """The statement that moves Alembic from one revision to the other, if it stands there and nowhere else."""
        other = self._model.alias()
        elsewhere = fn.EXISTS(other.select().where(other.version_num != start))
        return self._model.update(version_num=end).where(self._model.version_num == start, ~elsewhere)


def parts_of(name: str) -> tuple[str | None, str]:
    """Return schema and name of a table, taken apart at a dot outside of quotes; without quotes case matters as well.

    Raises:
        UsageError: the name cannot be taken apart.
    """
    found = re.fullmatch(r'(?:("(?:[^"]|"")+"|[^".]+)\.)?("(?:[^"]|"")+"|[^".]+)', name)
    if found is None:
        raise UsageError(
            f"{name!r} is not the name of a table.", "Write NAME or SCHEMA.NAME; a name with a dot in double quotes."
        )
    schema, table = (part and re.sub(r'^"(.*)"$', r"\1", part).replace('""', '"') for part in found.groups())
    return schema, table


def spelt(schema: str | None, name: str) -> str:
    """Return a name that ``parts_of`` takes apart again."""
    parts = [schema, name] if schema else [name]
    return ".".join(part if re.fullmatch(r'[^".]+', part) else '"{}"'.format(part.replace('"', '""')) for part in parts)
