"""The errors that a user can see: what happened, what to do next, and the exit code."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING

from indexer.text import few, shell, shown, visible

if TYPE_CHECKING:
    from signal import Signals

    from indexer.definition import Difference


PROGRAM = "indexer"
PENDING = 3  # exit code: a revision is not applied


class Command(tuple[str, ...]):
    """A command of this tool with its options, each a word without the quotes of a shell."""

    def __new__(cls, name: str, *options: str) -> Command:
        """Return the command."""
        return super().__new__(cls, (name, *options))

    @property
    def words(self) -> str:
        """The command and its options as they are typed after the name of a program."""
        return " ".join(map(shell, self))

    def __str__(self) -> str:
        return f"{PROGRAM} {self.words}"  # the console writes the name of the program that was started


class Hint:
    """A text, such as a next step, with commands of this tool in it, which the console writes as they are to be typed.

    Hint("Replace it: ", Command("up", "--replace"), ". Or rename it.")
    """

    def __init__(self, *parts: str | Command | Hint) -> None:
        self.parts: tuple[str | Command, ...] = tuple(
            each for part in parts for each in (part.parts if isinstance(part, Hint) else (part,)) if each
        )

    def __str__(self) -> str:
        return "".join(map(str, self.parts))

    def __bool__(self) -> bool:
        return bool(self.parts)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Hint) and self.parts == other.parts

    def __hash__(self) -> int:
        return hash(self.parts)

    def with_texts(self, change: Callable[[str], str]) -> Hint:
        """Return the hint with each of its texts changed."""
        return Hint(*(part if isinstance(part, Command) else change(part) for part in self.parts))

    def with_commands(self, change: Callable[[Command], Command]) -> Hint:
        """Return the hint with each of its commands changed."""
        return Hint(*(change(part) if isinstance(part, Command) else part for part in self.parts))


class Detail(str):
    """A part of a text that holds SQL, or the name of a role: the service shows it only where it is to show details.

    Attributes:
        instead: what the service shows in its place.
    """

    instead: Hint

    def __new__(cls, text: str, instead: str | Hint = "") -> Detail:
        """Return the text."""
        detail = super().__new__(cls, text)
        detail.instead = Hint(instead)
        return detail


def statement(sql: str, shown_by: str = "health") -> Detail:
    """Return a statement, or several, as a part of a text; in its place the service names a command that shows it."""
    return Detail(sql, Hint(f"see the statement{'s' if sql.count(';') > 1 else ''} with ", Command(shown_by)))


def without_details(text: str | Hint) -> Hint:
    """Return a text without SQL and without the names of roles."""
    return Hint(*(part.instead if isinstance(part, Detail) else part for part in Hint(text).parts))


def lines_of(hints: Iterable[str | Hint]) -> Hint:
    """Return several hints in one, each on a line."""
    return Hint(*[part for hint in hints if hint for part in ("\n", hint)][1:])


class IndexerError(Exception):
    """A failure that ends the command: one sentence, the next step, and an exit code."""

    exit_code: int = 1
    _as_text: Callable[[str], str] = staticmethod(shown)

    def __init__(self, message: str, hint: str | Hint = "") -> None:
        super().__init__(message)
        self.message = self._as_text(message)
        self.hint = Hint(hint).with_texts(shown)

    @property
    def summary(self) -> str:
        """The message in one line."""
        return " ".join(self.message.split())


class ChainBroken(IndexerError):
    """The migrate_*.py files do not form one line of revisions."""

    _as_text = staticmethod(visible)


class ProjectBroken(IndexerError):
    """A module of the project, such as models.py, cannot be imported, or lacks what the tool needs of it."""

    _as_text = staticmethod(visible)


class RevisionRefused(IndexerError):
    """A function of a revision file does more than create or drop the indexes that the file declares."""


GRANTED = "A superuser or the owner can grant the missing rights:"


class Problem(str):
    """A sentence about what stops a run, with the statements that solve it.

    Attributes:
        lead: who can execute them, and where; problems with the same lead are solved together.
        statements: SQL, each statement without its semicolon.
    """

    lead: str
    statements: tuple[str, ...]

    def __new__(cls, sentence: str, lead: str = "", statements: Sequence[str] = ()) -> Problem:
        """Return the sentence with its statements."""
        problem = super().__new__(cls, sentence)
        problem.lead, problem.statements = lead, tuple(statements)
        return problem


class PreflightFailed(IndexerError):
    """Something that the run needs is missing: a table, a column, a right. Nothing was changed."""

    def __init__(
        self, problems: Sequence[str], hint: str | Hint, heading: str = "Nothing was changed, because"
    ) -> None:
        listed = "".join(f"\n  - {visible(problem)}" for problem in problems)
        super().__init__(f"{heading}:{listed}", lines_of([*_solutions(problems), hint]))
        self.problems = tuple(problems)
        self.heading = heading
        self._after_solutions = hint

    def while_reading(self) -> PreflightFailed:
        """Return the same error for a command that only reads."""
        return PreflightFailed(self.problems, self._after_solutions, "Cannot read the database")

    @property
    def summary(self) -> str:
        """The first few problems."""
        return f"{self.heading}: {'; '.join(few(self.problems))}."


def _solutions(problems: Sequence[str]) -> list[str]:
    """Return the lines that solve the problems: each lead with its statements, without repetitions."""
    found: dict[str, dict[str, None]] = {}
    for problem in problems:
        if isinstance(problem, Problem) and problem.statements:
            found.setdefault(problem.lead, {}).update(dict.fromkeys(problem.statements))
    return [line for lead, each in found.items() for line in (lead, *(f"  {statement};" for statement in each))]


class NotReadable(IndexerError):
    """Our role may not read a table."""


class StatementFailed(IndexerError):
    """The database refused a statement."""


class TableLocked(StatementFailed):
    """A session locks a table so that it cannot even be read."""


class IndexFailed(StatementFailed):
    """One index cannot be built; the others can."""


def together(failures: Sequence[IndexFailed]) -> IndexFailed:
    """Return one failure with the messages and hints of all."""
    if len(failures) == 1:
        return failures[0]
    hints = dict.fromkeys(failure.hint for failure in failures)
    return IndexFailed("\n".join(failure.message for failure in failures), lines_of(hints))


class NoSession(IndexerError):
    """The server refused another session."""


class UsageError(IndexerError):
    """An option, a revision or a URL that cannot be understood."""

    exit_code = 2
    _as_text = staticmethod(visible)


class NoSchema(UsageError):
    """There is no schema of this name, or none that our role may use."""


class Different(IndexerError):
    """Existing objects have the names of declared indexes, or indexes differ. Nothing was changed."""

    exit_code = 4

    def __init__(self, message: str, hint: str | Hint, found: dict[str, tuple[Difference, ...]]) -> None:
        super().__init__(message + "".join(_side_by_side(name, parts) for name, parts in found.items()), hint)
        self.found = found
        self._said = message

    @property
    def summary(self) -> str:
        """The message with the first few names, without the differences."""
        return f"{self._said} {', '.join(few(list(self.found)))}."


class NotServed(IndexerError):
    """A query is served by no index."""

    exit_code = 4


class Locked(IndexerError):
    """Another run holds the lock, and waiting was refused or timed out."""

    exit_code = 5
    _as_text = staticmethod(visible)


class Unreachable(IndexerError):
    """No connection: refused, unknown host or database, wrong password, not a SQLite file.

    Attributes:
        can_heal: whether waiting may help, because the server is starting or its name is not known yet.
    """

    exit_code = 7
    _as_text = staticmethod(visible)

    def __init__(self, message: str, hint: str | Hint, can_heal: bool = False) -> None:
        super().__init__(message, hint)
        self.can_heal = can_heal


class Held(Unreachable):
    """Another process has an exclusive lock on a SQLite file, so that it cannot even be read."""

    def __init__(self, message: str) -> None:
        hint = Hint("Another process has locked the file. To wait for it, run: ", Command("wait"))
        super().__init__(message, hint, can_heal=True)

    def in_vain(self) -> Unreachable:
        """Return the error of a command that has waited for the file."""
        hint = "Another process still has the file locked. End it, or wait longer with a larger --timeout or --wait-db."
        return Unreachable(self.message, hint, can_heal=True)


class ServerFull(Unreachable):
    """The server, the database or the role has no connection free."""


class GateClosed(IndexerError):
    """The gate did not open in time; the exit code is that of ``check``."""

    def __init__(self, message: str, hint: str | Hint, exit_code: int) -> None:
        super().__init__(message, hint)
        self.exit_code = exit_code


class Blocked(IndexerError):
    """Gave up waiting for a session that blocks."""

    exit_code = 6


class Interrupted(IndexerError):
    """A signal asked the run to end: 129 after SIGHUP, 130 after SIGINT, 143 after SIGTERM."""

    def __init__(
        self, number: Signals, standing: str = "", at_once: bool = False, hint: str | Hint | None = None
    ) -> None:
        if at_once:  # before the first change, or from a command that changes nothing
            super().__init__(f"Interrupted by {number.name}: nothing was changed.", "Run the same command again.")
        else:
            hint = hint or "To continue, run the same command again."
            super().__init__(f"Interrupted by {number.name}{standing}.", hint)
        self.number = number
        self.exit_code = 128 + number


def _side_by_side(name: str, parts: Sequence[Difference]) -> str:
    declared_width = max(len("declared"), *(len(part.declared) for part in parts))
    part_width = max(len(part.part) for part in parts)
    rows = [("", "declared", "found"), *(tuple(map(visible, part)) for part in parts)]
    lines = (f"    {part:<{part_width}}  {declared:<{declared_width}}  {found}" for part, declared, found in rows)
    return f"\n  {visible(name)}\n" + "\n".join(lines)
