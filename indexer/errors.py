"""Every failure a user can meet: what happened, what to type next, and the exit code."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from signal import Signals

from indexer.spec import Difference
from indexer.text import few, shell, shown, visible


class Command(tuple[str, ...]):
    """A command of this tool with its options, each a word without the quotes of a shell."""

    def __new__(cls, name: str, *options: str) -> Command:
        """Return the command."""
        return super().__new__(cls, (name, *options))

    def __str__(self) -> str:
        return " ".join(map(shell, self))


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


class RevisionRefused(IndexerError):
    """A function of a migration file does something else than build or drop the indexes it declares."""


GRANTED = "A superuser, or the owner, gives the rights that are missing:"


class Problem(str):
    """A sentence about what stops a run, with the statements that end it.

    Attributes:
        lead: who executes them, and where; problems with the same lead are solved together.
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
    """Something is missing that the run needs: a table, a column, a right. Nothing was changed."""

    def __init__(self, problems: Sequence[str], hint: str | Hint) -> None:
        listed = "".join(f"\n  - {visible(problem)}" for problem in problems)
        super().__init__(f"Nothing was changed, because:{listed}", lines_of([*_solutions(problems), hint]))
        self.problems = tuple(problems)

    @property
    def summary(self) -> str:
        """The first few problems."""
        return f"Nothing was changed, because {'; '.join(few(self.problems))}."


def _solutions(problems: Sequence[str]) -> list[str]:
    """Return the lines that solve the problems: under each lead its statements, each once."""
    found: dict[str, dict[str, None]] = {}
    for problem in problems:
        if isinstance(problem, Problem) and problem.statements:
            found.setdefault(problem.lead, {}).update(dict.fromkeys(problem.statements))
    return [line for lead, each in found.items() for line in (lead, *(f"  {statement};" for statement in each))]


class StatementFailed(IndexerError):
    """The database refused a statement."""


class IndexFailed(StatementFailed):
    """One index cannot be built; the others can."""


class NoSession(IndexerError):
    """The server gave this run no further session."""


class UsageError(IndexerError):
    """An option, a revision or a URL that cannot be understood."""

    exit_code = 2
    _as_text = staticmethod(visible)


class Different(IndexerError):
    """What stands under a name of ours is something else. Nothing was changed."""

    exit_code = 4

    def __init__(self, message: str, hint: str | Hint, found: dict[str, tuple[Difference, ...]]) -> None:
        super().__init__(message + "".join(_side_by_side(name, parts) for name, parts in found.items()), hint)
        self.found = found
        self._said = message

    @property
    def summary(self) -> str:
        """The first few names, without what stands under them."""
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

    ``can_heal`` says whether waiting may help: the server is starting, or its name is not known yet.
    """

    exit_code = 7
    _as_text = staticmethod(visible)

    def __init__(self, message: str, hint: str | Hint, can_heal: bool = False) -> None:
        super().__init__(message, hint)
        self.can_heal = can_heal


class Held(Unreachable):
    """A SQLite file that another process has locked whole, so that it cannot even be read."""

    def __init__(self, message: str) -> None:
        hint = Hint("Another process holds the file. Wait for it to end: ", Command("wait"))
        super().__init__(message, hint, can_heal=True)


class Blocked(IndexerError):
    """Gave up waiting for a session that blocks."""

    exit_code = 6


class Interrupted(IndexerError):
    """A signal asked the run to end: 129 after SIGHUP, 130 after SIGINT, 143 after SIGTERM."""

    def __init__(
        self, number: Signals, standing: str = "", at_once: bool = False, hint: str | Hint | None = None
    ) -> None:
        again = "Run the same command again"
        if at_once:  # before the first change, or from a command that changes nothing
            super().__init__(f"Interrupted by {number.name}: nothing was changed.", f"{again}.")
        else:
            super().__init__(f"Interrupted by {number.name}{standing}.", hint or f"{again}: it goes on from here.")
        self.number = number
        self.exit_code = 128 + number


def _side_by_side(name: str, parts: Sequence[Difference]) -> str:
    declared_width = max(len("declared"), *(len(part.declared) for part in parts))
    part_width = max(len(part.part) for part in parts)
    rows = [("", "declared", "found"), *(tuple(map(visible, part)) for part in parts)]
    lines = (f"    {part:<{part_width}}  {declared:<{declared_width}}  {found}" for part, declared, found in rows)
    return f"\n  {visible(name)}\n" + "\n".join(lines)
