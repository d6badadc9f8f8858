"""Alembic's own record of the same database: it tells who applied what, and is kept in step with our runs.

A run moves Alembic's version table only if that holds exactly the revision that the run starts from.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from enum import Enum
from functools import cached_property
from shlex import quote
from typing import TYPE_CHECKING, Any

from peewee import CharField, Model, Select, Value, fn

from indexer.catalog import ORDINARY, Table
from indexer.errors import GRANTED, Command, Detail, Hint, Problem, UsageError
from indexer.options import DEFAULTS, VERSION_TABLE, Options
from indexer.records.table import Home, bind
from indexer.text import identifier
from indexer.tuples import NamedTuple

if TYPE_CHECKING:
    from indexer.revisions.chain import Chain
    from indexer.revisions.revision import Revision


class Position(Enum):
    """Where Alembic is, seen from one of our revisions."""

    BELOW = "below"
    AT = "at"
    PAST = "past"


class InAlembic(NamedTuple):
    """What Alembic has to do with one of our revisions.

    Attributes:
        position: where Alembic is, seen from the revision; None if it has no such revision or no version table.
        follows: whether a run keeps Alembic's version table in step with the revision.
    """

    position: Position | None = None
    follows: bool = False

    @property
    def has_run(self) -> bool:
        """Whether Alembic says that the revision is applied."""
        return self.position in (Position.AT, Position.PAST)

    @property
    def stays(self) -> bool:
        """Whether Alembic goes on saying so once ``down`` has reverted the revision."""
        return self.position is Position.PAST or (self.position is Position.AT and not self.follows)


NOT_IN_ALEMBIC = InAlembic()


class AlembicState(NamedTuple):
    """What Alembic's version table says.

    Attributes:
        name: the table, as the user named it.
        known: the revisions of our chain, in order; any other one is taken for a later one.
        is_kept: whether the user lets runs keep the table in step.
        rows: the revisions it holds: one as a rule, several after a fork, none at Alembic's base. None without a table.
        obstacle: why it cannot be read or updated, as part of a sentence.
        is_hidden: whether it may well be Alembic's and cannot be read.
    """

    name: str
    known: tuple[str, ...]
    is_kept: bool = True
    rows: tuple[str, ...] | None = None
    obstacle: str | None = None
    is_hidden: bool = False

    def place(self, revision: Revision) -> InAlembic:
        """Return what Alembic has to do with a revision."""
        if not revision.in_alembic:
            return NOT_IN_ALEMBIC
        return InAlembic(self._position(revision), self.is_kept and self.rows is not None and self.obstacle is None)

    def moves(self, revision: Revision, direction: str) -> bool:
        """Return whether recording a revision would move the table."""
        start, _ = ends(revision, direction)
        return self.place(revision).follows and self.rows == start

    def after(self, revisions: Sequence[Revision], direction: str) -> AlembicState:
        """Return the state once a run of these revisions has ended."""
        state = self
        for revision in revisions:
            if state.moves(revision, direction):
                state = state._replace(rows=ends(revision, direction)[1])
        return state

    def why_not_moved(self, revision: Revision, direction: str) -> str | Hint | None:
        """Return why a run that has ended with this revision has not moved the table; None if it has, or need not."""
        start, end = ends(revision, direction)
        if self.obstacle and self.rows in (None, start):
            instead = Hint(f"{self.name} is not updated. To see why, run: ", Command("status"))
            return Hint(Detail(f"{self.name} is not updated, because {self.obstacle}.", instead))
        if self.rows is None or self.rows in (start, end):
            return None
        return f"{self.name} is not updated, because it {self._content(start)}."

    def later_than(self, revisions: Sequence[Revision]) -> list[str]:
        """Return a problem for each revision later than these, the last one first, that Alembic is or may be at."""
        first = next((revision for revision in revisions if revision.in_alembic), None)
        if first is None:
            return []
        last = revisions[0].id
        is_past = self._position(first) is Position.PAST
        later = [row for row in self.rows or () if is_past and row != first.id]
        problems = [f"Alembic is at {row}, which {self._order(row, last)}" for row in later]
        if self.is_kept and self.is_hidden:
            problems.append(f"{self.name} cannot be read, and may hold a later revision than {last}: {self.obstacle}")
        return problems

    def _position(self, revision: Revision) -> Position | None:
        if self.rows is None:
            return None
        if self.rows == (revision.id,):
            return Position.AT
        before = self.known[: self.known.index(revision.id)]
        return Position.BELOW if not self.rows or any(row in before for row in self.rows) else Position.PAST

    def _order(self, later: str, last: str) -> str:
        return f"comes after {last}" if later in self.known else assumed_later(last)

    def _content(self, start: tuple[str, ...]) -> str:
        held = ", ".join(self.rows or ())
        if not held:
            return "is empty"
        if len(self.rows or ()) > 1:
            return f"holds several revisions: {held}"
        if held not in self.known:
            return f"holds {held}, unknown to this version"
        return f"holds {held} instead of {start[0]}" if start else f"holds {held} already"


class Version(Model):
    """The one column of Alembic's table."""

    version_num = CharField(32, primary_key=True)


class AlembicTable:
    """Alembic's version table: the one that the user names, else ``alembic_version`` in the schema of our tables."""

    def __init__(self, home: Home, chain: Chain, options: Options = DEFAULTS) -> None:
        self.home = home
        self.chain = chain
        self.is_kept = options.alembic
        self.label = options.version_table
        self._schema, self.name = split_name(options.version_table)

    @property
    def schema(self) -> str | None:
        """The schema of the table."""
        return self._schema or self.home.schema

    @property
    def names(self) -> list[str]:
        """Its name, if it is to be looked for among our own tables."""
        return [self.name] if self.schema == self.home.schema else []

    def read(self, tables: Mapping[str, Table]) -> AlembicState:
        """Return what the table says, which is among the tables if it exists in our schema.

        Raises:
            UsageError: the table that the user named does not exist.
        """
        state = AlembicState(self.label, self.chain.ids, self.is_kept)
        table = self._find(tables)
        if table is None:
            return state
        flaw = table.trust.flaw or ("" if table.kind == ORDINARY else f"is a {table.kind}")
        if flaw:
            obstacle = ": ".join(filter(None, (f"it {flaw}", table.trust.unhiding)))
            return state._replace(obstacle=obstacle, is_hidden=table.kind == ORDINARY)
        obstacle = (
            f"role {table.role} may not read and update it: {'; '.join(self._grants(table))};"
            " after that, stamp updates it"
        )
        if not table.readable:
            return state._replace(obstacle=obstacle, is_hidden=True)
        return state._replace(rows=_rows(self._model), obstacle=None if table.updatable else obstacle)

    def missing_rights(self, tables: Mapping[str, Table]) -> list[Problem]:
        """Return the rights that our role lacks to keep the table in step."""
        table = self._find(tables) if self.is_kept else None
        if table is None or table.trust.flaw or (table.readable and table.updatable):
            return []
        problem = f"role {table.role} may not read and update {self.label}, where Alembic records its revision"
        return [Problem(problem, GRANTED, self._grants(table))]

    def left_alone(self, state: AlembicState, revisions: Sequence[Revision], direction: str) -> list[str | Hint]:
        """Return why a run of these revisions does not keep Alembic's record in step, a sentence for each table."""
        shared = [revision for revision in revisions if revision.in_alembic]
        if not shared or not self.is_kept:
            return []
        after = state.after(shared, direction)
        sentences = (self._other_table(after), after.why_not_moved(shared[-1], direction))
        return [sentence for sentence in sentences if sentence]

    def move(self, revision: Revision, direction: str) -> Any:
        """Return the statement that moves Alembic over a revision, if that is the only one it is at."""
        model, other = self._model, self._model.alias()
        start, end = ends(revision, direction)
        if not start:
            alone = ~fn.EXISTS(other.select())
            return model.insert_from(Select((), [Value(revision.id)]).where(alone), [model.version_num])
        alone = ~fn.EXISTS(other.select().where(other.version_num != start[0]))
        statement = model.update(version_num=end[0]) if end else model.delete()
        return statement.where(model.version_num == start[0], alone)

    @cached_property
    def _model(self) -> Any:
        return bind(Version, self.home, self.schema, self.name)

    def _find(self, tables: Mapping[str, Table]) -> Table | None:
        """Return the table, if one of its name has Alembic's column."""
        table = (tables if self.names else self.home.catalog.tables_in(self.schema, [self.name])).get(self.name)
        if table is None and self.label != VERSION_TABLE:
            raise UsageError(
                f"There is no table {self.label}.", "Name Alembic's version table with --version-table [SCHEMA.]NAME."
            )
        return table if table and Version.version_num.name in table.columns else None

    def _grants(self, table: Table) -> list[str]:
        role, schema = identifier(table.role), identifier(self.schema or "")
        use = [] if self.names else [f"GRANT USAGE ON SCHEMA {schema} TO {role}"]
        return [*use, f"GRANT SELECT, UPDATE ON {schema}.{identifier(self.name)} TO {role}"]

    def _other_table(self, state: AlembicState) -> str | None:
        """Return a sentence about another version table that holds a revision of our chain, where ours holds none."""
        if any(row in self.chain.ids for row in state.rows or ()):
            return None
        for schema, name in self.home.catalog.version_tables(self.schema, self.name):
            table = self.home.catalog.tables_in(schema, [name]).get(name)
            if table is None or table.trust.flaw or not table.readable:
                continue
            held = [row for row in _rows(bind(Version, self.home, schema, name)) if row in self.chain.ids]
            if held:
                label = join_name(None if schema == self.home.schema else schema, name)
                option = f"--version-table {quote(label)}"
                return f"{label} is not updated, although it holds {', '.join(held)}: to keep it in step, add {option}"
        return None


def ends(revision: Revision, direction: str) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return what Alembic's table holds where a run of a revision starts, and where it ends: nothing at its base."""
    ends = (revision.down_revision,) if revision.down_revision else (), (revision.id,)
    return ends if direction == "up" else ends[::-1]


def assumed_later(last: str) -> str:
    """Return how the order of an unknown revision and the last one is described, as the end of a sentence."""
    return f"is unknown to this version and assumed to be later than {last}"


def split_name(name: str) -> tuple[str | None, str]:
    """Return schema and name of a table, split at a dot outside of quotes; case matters without quotes as well.

    Raises:
        UsageError: the name cannot be split.
    """
    found = re.fullmatch(r'(?:("(?:[^"]|"")+"|[^".]+)\.)?("(?:[^"]|"")+"|[^".]+)', name)
    if found is None:
        raise UsageError(
            f"{name!r} is not the name of a table.", "Write NAME or SCHEMA.NAME; a name with a dot in double quotes."
        )
    schema, table = (part and re.sub(r'^"(.*)"$', r"\1", part).replace('""', '"') for part in found.groups())
    return schema, table


def join_name(schema: str | None, name: str) -> str:
    """Return a name that ``split_name`` splits again."""
    parts = [schema, name] if schema else [name]
    return ".".join(part if re.fullmatch(r'[^".]+', part) else '"{}"'.format(part.replace('"', '""')) for part in parts)


def _rows(model: Any) -> tuple[str, ...]:
    rows = model.select(model.version_num).order_by(model.version_num).tuples()
    return tuple(row for (row,) in rows if row is not None)  # the table may have been created without its key
