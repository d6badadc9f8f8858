"""What a revision's functions may do: build or drop the indexes of its INDEXES, each once, and nothing else."""

from __future__ import annotations

from typing import Any

from playhouse.migrate import Operation

from indexer.errors import IndexerError, RevisionRefused
from indexer.revisions.revision import CodeFailed, Revision, running
from indexer.spec import Index

FUNCTIONS = {"up": "upgrade", "down": "downgrade"}
OPERATIONS = {"up": "add_index", "down": "drop_index"}
DECLARE = "Declare it in INDEXES of {file}, or remove it."
ELSEWHERE = "Change tables and rows with the application's own migrations, and remove this from {file}."


def collect(revision: Revision, direction: str) -> tuple[Index, ...]:
    """Call ``upgrade`` or ``downgrade`` of a revision and return its indexes in the order in which it names them.

    The function is given a stand-in for a migrator, which collects what it asks for and executes nothing. So all of it
    is checked before the first statement is sent, however many calls it makes.

    Raises:
        RevisionRefused: it asks for anything else, leaves an index out, or fails.
    """
    function = getattr(revision, FUNCTIONS[direction])
    path = getattr(getattr(function, "__code__", None), "co_filename", revision.file)
    migrator = RevisionMigrator(revision, direction)
    try:
        with running(path):
            function(migrator)
            migrator.finish()
    except CodeFailed as failure:
        cause, place = failure.__cause__, f"{revision.file}{failure.place}: "
        if isinstance(cause, RevisionRefused):
            raise RevisionRefused(f"{place}{cause.message} Nothing was changed.", cause.hint) from cause
        if isinstance(cause, IndexerError):
            raise cause from None
        message = f"{place}{migrator.name} failed: {failure.reason}. Nothing was changed."
        raise RevisionRefused(message, f"Correct {revision.file}.") from cause
    return tuple(migrator.asked)


class IndexRequest(Operation):
    """The playhouse operation that a revision's function gets for one index; running it collects the index."""

    def __init__(self, migrator: RevisionMigrator, index: Index) -> None:
        super().__init__(migrator, None)
        self.index = index

    def run(self) -> None:
        """Collect the index; ``playhouse.migrate.migrate`` calls this."""
        self.migrator.migrate(self)


class RevisionMigrator:
    """The migrator that a revision's functions see; ``asked`` are the indexes that the function has named, in order."""

    def __init__(self, revision: Revision, direction: str) -> None:
        self.name = f"{FUNCTIONS[direction]}() of revision {revision.id}"
        self.asked: list[Index] = []
        self._revision = revision
        self._allowed = OPERATIONS[direction]
        self._refusal: RevisionRefused | None = None

    def add_index(self, *arguments: Any, **named: Any) -> IndexRequest:
        """Return the operation that builds this index."""
        return self._request("add_index", arguments, named)

    def drop_index(self, *arguments: Any, **named: Any) -> IndexRequest:
        """Return the operation that drops this index, unless it existed before ``up``."""
        return self._request("drop_index", arguments, named)

    def migrate(self, *operations: Any) -> None:
        """Collect the indexes of these operations."""
        for operation in operations:
            if not isinstance(operation, IndexRequest) or operation.migrator is not self:
                name = getattr(getattr(operation, "fn", None), "__name__", None)
                raise self._refuse(f"passes {name or type(operation).__name__} to migrate()", ELSEWHERE)
        for operation in operations:
            if operation.index in self.asked:
                raise self._refuse(f"names {operation.index.name} twice", "Remove one of the two from {file}.")
            self.asked.append(operation.index)

    @property
    def database(self) -> Any:
        """An object that refuses every use: a statement would bypass the migrator."""
        return _Refusing(self, "database.")

    def __getattr__(self, name: str) -> Any:
        return getattr(_Refusing(self), name)

    def finish(self) -> None:
        """Check, once the function has returned, that it named every index and nothing was refused.

        Raises:
            RevisionRefused: it did not, or it caught a refusal.
        """
        if self._refusal:
            raise self._refusal
        missing = [index.name for index in self._revision.indexes if index not in self.asked]
        if missing:
            call = f"migrator.migrate(*(migrator.{self._allowed}(index) for index in INDEXES))"
            raise self._refuse(f"leaves out {', '.join(missing)}", f"Name every index of INDEXES in {{file}}: {call}")

    def _request(self, operation: str, arguments: tuple[Any, ...], named: dict[str, Any]) -> IndexRequest:
        given = arguments[0] if len(arguments) == 1 and not named else None
        if operation != self._allowed:
            raise self._refuse(f"calls {operation}", f"Call {self._allowed} instead in {{file}}.")
        if not isinstance(given, Index):
            raise self._refuse(f"calls {operation} with something other than an Index", DECLARE)
        declared = next((index for index in self._revision.indexes if index.name == given.name), None)
        if declared is None or _parts(declared) != _parts(given):
            other = "another definition in INDEXES" if declared else "no entry in INDEXES"
            raise self._refuse(f"calls {operation} with {given.name}, which has {other}", DECLARE)
        return IndexRequest(self, declared)

    def _refuse_use(self, name: str) -> RevisionRefused:
        """Return the refusal of an attribute, which may be a misspelt operation."""
        from difflib import get_close_matches  # slow, and seldom needed

        is_misspelt = get_close_matches(name, [self._allowed])
        return self._refuse(f"uses {name}", f"Call {self._allowed} instead in {{file}}." if is_misspelt else ELSEWHERE)

    def _refuse(self, deed: str, hint: str) -> RevisionRefused:
        """Return the refusal, and keep the first one for ``finish``."""
        allowed = f"it may only call {self._allowed} for each index of its INDEXES"
        refusal = RevisionRefused(f"{self.name} {deed}; {allowed}.", hint.format(file=self._revision.file))
        self._refusal = self._refusal or refusal
        return refusal


class _Refusing:
    """An object that refuses every use of an attribute."""

    def __init__(self, migrator: RevisionMigrator, prefix: str = "") -> None:
        self._migrator = migrator
        self._prefix = prefix

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        raise self._migrator._refuse_use(f"{self._prefix}{name}")


def _parts(index: Index) -> tuple[object, ...]:
    """Return all that an index is, for a comparison by value."""
    return index.postgresql, index.sqlite, index.alembic_name_on_sqlite
