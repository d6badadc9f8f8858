"""The output of a command on several databases or schemas: a line or a document for each, and a total."""

from __future__ import annotations

import json
from collections.abc import Sequence

from indexer.console import output
from indexer.console.hints import DATABASE_URL, SCHEMA, HintWriter
from indexer.console.output import Answer, of_failure
from indexer.errors import Command, Hint
from indexer.text import counted, few, shell, visible
from indexer.tuples import NamedTuple

MOST_NAMES = 10  # that end alike
AGAIN = "To continue, run the same command again."


class Part(NamedTuple):
    """One of several databases or schemas, as the user reads it.

    Attributes:
        place: the places of the database and of the schema, as the user gave them.
        database: the name of the database; empty if there is only one.
        url: what to type for it.
        schema: None if the database has only one.
        opening: the line of a script that connects to the database.
    """

    place: tuple[int, int]
    database: str = ""
    url: str = ""
    schema: str | None = None
    opening: str = ""

    @property
    def name(self) -> str:
        """The name of the database, of the schema, or of both."""
        return "/".join(filter(None, (self.database, self.schema)))

    @property
    def keys(self) -> dict[str, str]:
        """What distinguishes its events and its document from those of others."""
        named = {"name": self.database} if self.database else {}
        return named if self.schema is None else {**named, "schema": self.schema}

    def writing(self, write: HintWriter) -> HintWriter:
        """Return the writer of the commands for this part alone."""
        typed = {DATABASE_URL: self.url, SCHEMA: self.schema}
        return write.with_typed({option: shell(value) for option, value in typed.items() if value})


class Report:
    """Prints the answers as they come, or all of them at the end, in their order.

    Args:
        databases: how many there are; 0 if only one was meant, and there are several schemas.
    """

    def __init__(self, write: HintWriter, databases: int, as_json: bool, as_script: bool) -> None:
        self.write, self.databases, self.as_json, self.as_script = write, databases, as_json, as_script
        self._codes: dict[Part, int] = {}
        self._texts: dict[Part, str] = {}  # to be printed at the end

    def add(self, part: Part, answer: Answer) -> None:
        """Print the answer of a part, or keep what is printed of it later."""
        self._codes[part] = answer.exit_code
        write = part.writing(self.write)
        if self.as_json:
            entry = {**part.keys, "exit_code": answer.exit_code, **answer.document}
            self._texts[part] = json.dumps(entry, default=write)
        elif not self.as_script:
            output.echo_answer(answer, write, part.name, part.keys)
        else:
            self._texts[part] = answer.script or ""
            if answer.error:
                failure = visible(f"{part.name}: {write(of_failure(answer.error).line)}")
                output.echo(failure, err=True, level=output.ERROR, facts=part.keys)

    def finish(self, left: Sequence[Part], stopped_by: Part | None, interruption: int = 0) -> int:
        """Print what comes last, and return the highest exit code.

        Args:
            left: what was not begun.
            stopped_by: what had to end well before anything else was begun, and did not.
            interruption: the exit code of an interruption; 0 without one.
        """
        worst = max([*self._codes.values(), interruption])
        if self.as_json:
            output.echo_document(self._document(left, worst))
            return worst
        if self.as_script:
            output.echo_script("\n".join(self._script()))
        level = output.level_of(worst)
        output.echo(visible(self._total(len(left))), self.as_script, level, {"exit_code": worst})
        for line in self._rest(left, stopped_by):
            output.echo(visible(line), self.as_script, level)
        return worst

    def _document(self, left: Sequence[Part], worst: int) -> str:
        """Return one document; that of each database is in it as that database alone would have had it."""
        parts = sorted(self._texts, key=lambda part: part.place)
        entries = [self._texts[part] for part in parts]
        if self.databases:
            entries = []
            for place in dict.fromkeys(part.place[0] for part in parts):
                of_database = [part for part in parts if part.place[0] == place]
                entries.append(self._entry(of_database))
        rest = json.dumps({"left": [part.name for part in left], "exit_code": worst})
        return f'{{"{"databases" if self.databases else "schemas"}": [{", ".join(entries)}], {rest[1:]}'

    def _entry(self, parts: Sequence[Part]) -> str:
        """Return the document of one of several databases, whose parts these are."""
        if parts[0].schema is None:
            return self._texts[parts[0]]
        code = max(self._codes[part] for part in parts)
        begin = json.dumps({"name": parts[0].database, "exit_code": code})
        return f'{begin[:-1]}, "schemas": [{", ".join(self._texts[part] for part in parts)}]}}'

    def _script(self) -> list[str]:
        """Return the scripts in one, each after what it is for."""
        lines: list[str] = []
        opened = ""
        for part in sorted(self._texts, key=lambda part: part.place):
            if self._texts[part]:
                kind = "database" if part.schema is None else "schema"
                lines.append(f"-- {kind} {visible(part.name)}")
                lines += [part.opening] if part.opening != opened else []
                lines.append(self._texts[part])
                opened = part.opening
        return lines

    def _total(self, left: int) -> str:
        """Return how many ended with which exit code."""
        by_code: dict[int, list[str]] = {}
        for part, code in sorted(self._codes.items()):
            by_code.setdefault(code, []).append(part.name)
        done = len(by_code.pop(0, []))
        failed = "".join(
            f", {len(names)} with exit code {code} ({', '.join(few(names, MOST_NAMES))})"
            for code, names in sorted(by_code.items())
        )
        count = len(self._codes)
        all_of = counted(count + left, "schema" if self._has_schemas else "database")
        of_databases = f" in {counted(self.databases, 'database')}" if self.databases and self._has_schemas else ""
        return f"{f'{count:,} of ' if left else ''}{all_of}{of_databases}: {done} with exit code 0{failed}."

    @property
    def _has_schemas(self) -> bool:
        return not self.databases or any(part.schema is not None for part in self._codes)

    def _rest(self, left: Sequence[Part], stopped_by: Part | None) -> list[str]:
        """Return what was not begun, why, and what to run."""
        if not left:
            return []
        names = ", ".join(few([part.name for part in left], MOST_NAMES))
        if not stopped_by:
            return [f"Not begun: {names}. {AGAIN}"]
        code, write = self._codes[stopped_by], stopped_by.writing(self.write)
        again = f"Run the same command again once {stopped_by.name} ends with 0. To look at it, run: "
        return [
            f"Not begun, because {stopped_by.name} (--first) ended with exit code {code}: {names}.",
            write(Hint(again, Command("status"))),
        ]
