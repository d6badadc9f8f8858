"""Hints as the user types them: the commands in them with the program's name and with the options to repeat."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping

from indexer.errors import Command, Hint

DATABASE_URL, SCHEMA = "--database-url", "--schema"
Write = Callable[[str | Hint], str]


class HintWriter:
    """Writes hints for one call of the program.

    Args:
        program: what the user types to start the program, such as ``python cli.py``.
        typed: the options that were typed and that a next command needs as well, with their values for a shell.
        options_of: returns the options that a command has.
    """

    def __init__(
        self,
        program: str,
        typed: Mapping[str, str] | None = None,
        options_of: Callable[[str], Collection[str]] = lambda command: (DATABASE_URL, SCHEMA),
    ) -> None:
        self.program = program
        self.typed = typed or {}
        self.options_of = options_of

    def __call__(self, said: str | Hint) -> str:
        """Return a text with its commands as they are to be typed."""
        if isinstance(said, str):
            return said
        return "".join(self._line(part) if isinstance(part, Command) else part for part in said.parts)

    def with_typed(self, typed: Mapping[str, str]) -> HintWriter:
        """Return the writer that repeats these options, too."""
        return HintWriter(self.program, {**self.typed, **typed}, self.options_of)

    def _line(self, command: Command) -> str:
        """Return a command with the typed options that it takes; none where it is for another database."""
        known = () if DATABASE_URL in command else self.options_of(command[0])
        repeated = (f"{name} {value}" for name, value in self.typed.items() if name in known and name not in command)
        return " ".join((self.program, command.words, *repeated))
