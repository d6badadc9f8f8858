"""Write the parts of the documentation that the program itself knows: python -m docs.write

A part is between two markers, ``<!-- name: begin -->`` and ``<!-- name: end -->``. The terminal sessions and the keys
of the JSON documents come from runs on a SQLite file and on a PostgreSQL server of the tests. A line of a session is
replaced only if more than its times and sizes differ, so a test can compare the files with a new run.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import asdict
from inspect import cleandoc
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple, get_args

import click

ROOT = Path(__file__).resolve().parent.parent
sys.path.append(str(ROOT / "tests" / "support"))

from command import erase, execute, prepare, run  # noqa: E402
from postgres_server import running_server  # noqa: E402
from roles import as_owner, make_roles, new_database  # noqa: E402
from scenes import open_writer  # noqa: E402

import migrate_10992629d68e as migration  # noqa: E402
from indexer import Index, IndexerError  # noqa: E402
from indexer.bench.result import Growth, QueryTiming, Result, read  # noqa: E402
from indexer.bench.tables import power  # noqa: E402
from indexer.cli.commands import cli  # noqa: E402
from indexer.console.documents import of_failure  # noqa: E402
from indexer.console.text import of_completion, of_new  # noqa: E402
from indexer.errors import Different, Interrupted, PreflightFailed, UsageError  # noqa: E402
from indexer.events import Event  # noqa: E402
from indexer.plans import PENDING  # noqa: E402
from indexer.records.table import current_user  # noqa: E402
from indexer.revisions.scaffold import Written  # noqa: E402
from indexer.signals import SIGNALS  # noqa: E402
from indexer.text import duration, in_bytes  # noqa: E402

PART = re.compile(r"(<!-- ([\w-]+): begin -->\n)(.*?)(<!-- \2: end -->)", re.DOTALL)
SHOWN_URL = "postgresql://crm_owner@db.example.com/crm"
VARIES = (
    (r"\b\d+(\.\d+)? (µs|ms|s)\b", "A TIME"),
    (r"(, )?\b\d+(\.\d+)? (bytes|kB|MB)", ""),
    (r"\b[\d,]+\.\d\d\b", "A COST"),
    (r"\d{4}-\d\d-\d\d \d\d:\d\d UTC", "A MOMENT"),
    (r"(?<=\S) {2,}", " "),  # columns are as wide as their contents
    (r" +$", ""),
)


def main() -> None:
    """Write all files."""
    with running_server() as server:
        make_roles(server)
        with new_database(server) as url:
            for path in files():
                text = written(path, as_owner(url))
                if text != path.read_text():
                    path.write_text(text)
                    print(f"{path.relative_to(ROOT)} is written.")


def files() -> list[Path]:
    """Return the files of the documentation."""
    return [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def written(path: Path, url: str) -> str:
    """Return the text of a file with its parts up to date.

    Args:
        path: a file with or without parts.
        url: the owner's URL of an empty PostgreSQL database for the runs.
    """

    def up_to_date(part: re.Match[str]) -> str:
        begin, name, old, end = part.groups()
        new = PARTS[name](url).strip() + "\n"
        return begin + (with_old_lines(old, new) if name.startswith("session") else new) + end

    return PART.sub(up_to_date, path.read_text())


def with_old_lines(old: str, new: str) -> str:
    """Return a new session with the lines of the old one that differ in no more than times, sizes and spaces."""
    known: dict[str, list[str]] = {}
    for line in old.splitlines():
        known.setdefault(normal(line), []).append(line)
    lines = (known[key].pop(0) if known.get(key := normal(line)) else line for line in new.splitlines())
    return "\n".join(lines) + "\n"


def normal(text: str) -> str:
    """Return text of a session without what differs from run to run and from machine to machine."""
    for pattern, stand_in in VARIES:
        text = re.sub(pattern, stand_in, text, flags=re.MULTILINE)
    return text.strip()


# Markdown -----------------------------------------------------------------------------------------------------------


def table(titles: Iterable[str], rows: Iterable[Iterable[str]]) -> str:
    """Return a table; a title that ends with a colon is that of a column of numbers."""
    titles = list(titles)
    rule = ["---:" if title.endswith(":") else "---" for title in titles]
    rows = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    header, *lines = (f"| {' | '.join(row)} |" for row in ([title.rstrip(":") for title in titles], *rows))
    return "\n".join([header, f"|{'|'.join(rule)}|", *lines])


def code(words: Iterable[str]) -> str:
    """Return words as code, with commas between them."""
    return ", ".join(f"`{word}`" for word in words)


def sentence(text: str | None) -> str:
    """Return the first paragraph of a docstring in one line."""
    words = " ".join((text or "").split("\n\n")[0].replace("``", "`").split())
    return re.sub(r"[\w.]*<\w+>[\w.]*", r"`\g<0>`", words)  # Markdown takes <id> for HTML


# The indexes --------------------------------------------------------------------------------------------------------


def indexes(url: str) -> str:
    """Return the table of the ten indexes."""
    return table(("name", "table", "key", "PostgreSQL", "SQLite", "what for"), map(_of_index, migration.INDEXES))


def _of_index(index: Index) -> list[str]:
    method = {"btree": "B-tree", "hash": "hash"}[index.on_postgresql.using]
    predicate = f" WHERE {index.on_postgresql.where}" if index.on_postgresql.where else ""
    key = ", ".join(map(str, index.key))
    return [f"`{index.name}`", index.table, key, method + predicate, "B-tree", index.purpose]


# Commands and exit codes --------------------------------------------------------------------------------------------

COMMON = ("--database-url", "--schema", "--all-schemas", "--json", "--verbose", "--log-format")
EXIT_CODES = {
    0: "done, or nothing to do",
    1: "error: a table, a column or a right is missing, or a statement failed",
    2: "wrong usage: an option, a revision or a database URL that cannot be understood",
    3: "a revision is pending, or `up` or `reindex` left indexes to a later `--window`",
    4: "the database differs from the revision: an index is missing, broken, different or corrupt, also on a table "
    "that inherits from its table, a query is not served, or `health --strict` has such advice",
    5: "another run holds the lock: `--no-wait` or `--wait-lock` ended the wait, or `check --deep` does not wait",
    6: "gave up waiting for a session that blocks, after `--max-wait`",
    7: "database unreachable: refused, unknown host, role or database, wrong password, not a SQLite file; or a node of "
    "a Citus cluster does not answer",
    129: "interrupted by SIGHUP (the terminal closed), after cleaning up",
    130: "interrupted by SIGINT (Ctrl-C), after cleaning up",
    143: "interrupted by SIGTERM, after cleaning up",
}


def exit_codes(url: str) -> str:
    """Return the table of all exit codes."""
    codes = sorted({0, PENDING, *_codes_of(IndexerError), *(Interrupted(each).exit_code for each in SIGNALS)})
    return table(("code", "meaning"), ((str(code), EXIT_CODES[code]) for code in codes))


def _codes_of(kind: type[IndexerError]) -> set[int]:
    return {kind.exit_code}.union(*map(_codes_of, kind.__subclasses__()))


def commands(url: str) -> str:
    """Return the reference of all commands."""
    found = all_commands()
    summaries = [(f"[`{name}`](#{name})", sentence(command.help)) for name, command in found.items()]
    overview = table(("command", "what it does"), summaries)
    common = {name: each for each in found["up"].params for name in each.opts if name in COMMON}
    shared = table(("option", "meaning", "default"), (_of_option(common[name]) for name in COMMON))
    texts = (overview, f"Options that most commands take:\n\n{shared}", *map(_of_command, found.values()))
    return "\n\n".join(texts)


def all_commands() -> dict[str, click.Command]:
    """Return the commands by name."""
    context = click.Context(cli)
    commands = ((name, cli.get_command(context, name)) for name in cli.list_commands(context))
    return {name: command for name, command in commands if command}


def _of_command(command: click.Command) -> str:
    arguments = [each for each in command.params if isinstance(each, click.Argument)]
    given = [each for each in command.params if isinstance(each, click.Option) and not each.hidden]
    own = [_of_option(each) for each in given if each.opts[0] not in COMMON]
    common = [each.opts[0] for each in given if each.opts[0] in COMMON]
    usage = " ".join(["python cli.py", command.name or "", *map(_placeholder, arguments), "[OPTIONS]"])
    texts = [f"## {command.name}", f"`{usage}`", *map(_paragraph, (command.help or "").split("\n\n"))]
    texts += [table(("option", "meaning", "default"), own)] if own else []
    return "\n\n".join([*texts, f"{'It also takes' if own else 'It takes'} {code(common)}."])


def _paragraph(text: str) -> str:
    """Return a paragraph of a help text; one that Click does not wrap is code."""
    text = cleandoc(text)
    return f"```text\n{text[2:]}\n```" if text.startswith("\b\n") else sentence(text)


def _options(command: click.Command) -> list[str]:
    return [name for each in command.params for name in each.opts]


def _placeholder(argument: click.Argument) -> str:
    values = argument.type.choices if isinstance(argument.type, click.Choice) else ()
    name = argument.metavar or "|".join(values) or (argument.name or "").upper()
    return name if argument.required else f"[{name}]"


def _of_option(option: click.Parameter) -> list[str]:
    assert isinstance(option, click.Option)
    value = "" if option.is_flag else f" {option.metavar or option.type.name.upper()}"
    default = option.show_default if isinstance(option.show_default, str) else option.default
    is_shown = isinstance(default, str | int | float) and not option.is_flag
    return [f"`{option.opts[0]}{value}`", option.help or "", str(default) if is_shown else ""]


# JSON ---------------------------------------------------------------------------------------------------------------


class Objects(NamedTuple):
    """Objects in a list of a document: the key of the list, and the keys of the objects."""

    key: str
    keys: tuple[str, ...]


def documents(url: str) -> str:
    """Return the keys of the document of each command, and those of the objects in its lists."""
    found = dict(_all_documents(url))
    found = {name: found[name] for name, command in all_commands().items() if "--json" in _options(command)}
    objects: dict[Objects, list[str]] = {}
    for name, document in found.items():
        for each in _objects_in(document):
            objects.setdefault(each, []).append(name)
    failures = {
        "an error": of_failure(UsageError("")),
        "an error that preflight finds": of_failure(PreflightFailed((), "")),
        "an error about different indexes": of_failure(Different("", "", {})),
    }
    keys = [(f"`{name}`", code(document)) for name, document in found.items()]
    keys += [(name, code(document)) for name, document in failures.items()]
    rows = [(f"`{each.key}`", code(names), code(each.keys)) for each, names in objects.items()]
    heading = "The objects in the lists of a document have these keys:"
    return "\n\n".join((table(("command", "keys"), keys), heading, table(("list", "of", "keys of each object"), rows)))


def _all_documents(url: str) -> Iterator[tuple[str, Mapping[str, Any]]]:
    """Yield the name and the document of each command, on a database that fills all of its lists."""
    erase(url)
    prepare(url, "base")
    with open_writer(url):
        yield "plan", _document("plan", url=url)
    yield "up", _document("up", url=url)
    yield "reindex", _document("reindex", "ix_activity_type", url=url)
    yield from ((name, _document(name, url=url)) for name in ("verify", "history", "wait"))
    execute(url, *DISORDER)
    yield "analyze", _document("analyze", "activity", url=url)
    yield from ((name, _document(name, url=url)) for name in ("status", "health"))
    yield "check", _document("check", "--deep", url=url)
    with TemporaryDirectory() as folder:
        sqlite = f"sqlite:///{folder}/crm.db"
        yield "seed", _document("seed", "--rows", "20", url=sqlite)
        run("up", url=sqlite)
        yield "stamp", _document("stamp", "head", url=sqlite)
        yield "down", _document("down", url=sqlite)
    yield "bench", asdict(_kept()[0])
    yield "completion", of_completion("", "").document
    yield "new", of_new(Written(*Written._fields)).document


# An index that differs, one that is made redundant, and a table with a row that inherits from an indexed one.
DISORDER = (
    "DROP INDEX ix_conversation_contact_id",
    "CREATE INDEX ix_conversation_contact_id ON conversation (id)",
    "CREATE INDEX by_type ON activity (activity_type)",
    "CREATE TABLE archived () INHERITS (activity)",
    "INSERT INTO archived (id, openphone_id) VALUES (1, 'archived')",
)


def _document(*arguments: str, url: str) -> Mapping[str, Any]:
    document: Mapping[str, Any] = run(*arguments, "--json", url=url).json()
    return document


def _objects_in(document: Mapping[str, Any]) -> Iterator[Objects]:
    """Yield the objects of all lists of a document, those of the lists in them, too."""
    for key, value in document.items():
        items = [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []
        if items:
            yield Objects(key, tuple(dict.fromkeys(name for each in items for name in each)))
            inner = [each for item in items for each in _objects_in(item)]
            yield from dict.fromkeys(inner)


def events(url: str) -> str:
    """Return the table of all events."""
    rows = []
    for event in get_args(Event):
        keys = ["index" if name == "target" else name for name in event._fields]
        rows.append((f"`{event.__name__}`", sentence(event.__doc__), code(keys)))
    return table(("event", "meaning", "keys"), rows)


# Sessions -----------------------------------------------------------------------------------------------------------

ON_SQLITE = ("up", "status", "check", "plan down", "down")
ON_POSTGRESQL = ("seed --rows 10000", "plan", "up --jobs 1", "check", "verify", "history", "down --jobs 1")
SHORTENED = {"up": (4, 3), "status": (7, 1), "plan down": (6, 2), "down": (3, 2)}  # lines at the beginning and the end


def session(url: str) -> str:
    """Return a short session on SQLite, with ... for lines left out."""
    shown = _session(SHORTENED, "sqlite:///{folder}/crm.db", "sqlite:///crm.db")
    return _console((command, _without_middle(output, *SHORTENED[command])) for command, output in shown)


def _without_middle(output: str, first: int, last: int) -> str:
    lines = output.splitlines()
    return "\n".join([*lines[:first], "...", *lines[-last:]])


def session_on_sqlite(url: str) -> str:
    """Return a session on a new SQLite file."""
    return _console(_session(ON_SQLITE, "sqlite:///{folder}/crm.db", "sqlite:///crm.db"))


def session_on_postgresql(url: str) -> str:
    """Return a session on an empty PostgreSQL database."""
    erase(url)
    return _console(_session(ON_POSTGRESQL, url, SHOWN_URL), f"$ export DATABASE_URL={SHOWN_URL}\n\n")


def _session(commands: Iterable[str], url: str, shown: str) -> Iterator[tuple[str, str]]:
    """Run commands one after the other, and yield each with its output.

    Args:
        url: of the database; {folder} in it is the path of a temporary folder.
        shown: the URL to show instead.
    """
    with TemporaryDirectory() as folder:
        url, user = url.format(folder=folder), current_user()
        for command in commands:
            result = run(*command.split(), url=url)
            assert result.exit_code == 0, result
            if command.startswith("seed"):
                vacuum(url)
            output = result.stdout.replace(url, shown).replace(user, "ada@pc".ljust(len(user)))
            yield command, re.sub(r" +$", "", output, flags=re.MULTILINE).rstrip()


UNSEEN = """
    SELECT 1
      FROM pg_class
     WHERE relnamespace = 'public'::regnamespace
       AND relkind = 'r'
       AND relallvisible < relpages
"""


def vacuum(url: str) -> None:
    """Vacuum and analyze before autovacuum does, because a plan depends on it.

    While autovacuum reads a table, its snapshot keeps VACUUM from marking pages as visible to all.
    """
    execute(url, "VACUUM ANALYZE")
    while execute(url, UNSEEN):
        execute(url, "VACUUM ANALYZE")


def _console(commands: Iterable[tuple[str, str]], before: str = "") -> str:
    texts = "\n\n".join(f"$ python cli.py {command}\n{output}" for command, output in commands)
    return f"```console\n{before}{texts}\n```"


# Performance --------------------------------------------------------------------------------------------------------


def builds(url: str) -> str:
    """Return the table of the comparison with other tools, from the last run of ``python -m benchmarks``."""
    run, load = (_benchmarks()[part] for part in ("run", "load"))
    gap = load["columns"].index("longest gap, ms")
    gaps = {row[0]: row[gap] for row in load["rows"]}
    share = run["columns"].index("of psql concurrently")
    titles = ("", "forward, s:", "of psql's ten CONCURRENTLY:", "longest gap of a writer, ms:")
    return table(titles, ((row[0], row[1], row[share], gaps.get(row[0], "")) for row in run["rows"]))


def conditions(url: str) -> str:
    """Return what the comparison was measured on."""
    run, load = (_benchmarks()[part] for part in ("run", "load"))
    gap = load["rows"][0][load["columns"].index("longest gap, ms")]
    on, settings = run["measured_on"], dict(run["settings"])
    server = f"PostgreSQL {settings.pop('server_version')}: " + ", ".join(f"`{k}` {v}" for k, v in settings.items())
    lines = (
        f"{run['conditions']} With no migration the writer's longest gap was {gap} ms.",
        f"{on['date']}; {on['machine']}; {on['versions']}.",
        f"{server}.",
    )
    return "\n\n".join(lines)


MISSED = re.compile(r" \(aim: at most (\S+)\), missed by .*")


def missed(url: str) -> str:
    """Return the goals that the last run of ``python -m benchmarks`` missed, for each of its parts."""
    lines = []
    for part in _benchmarks().values():
        aims = [MISSED.sub(r" (goal: \1)", aim) for aim in part["aims"] if MISSED.search(aim)]
        lines += [f"- {part['title']}: {aim}" for aim in aims]
    return "\n".join(lines) or "None."


def _benchmarks() -> dict[str, Any]:
    results: dict[str, Any] = json.loads((ROOT / "benchmarks" / "results.json").read_text())
    return results


def queries(url: str) -> str:
    """Return the table of the queries before and after, from the kept results of ``bench``."""
    results = _kept()
    titles = [title for each in results for title in (f"{each.product}:", "grows:")]
    columns = [zip(each.rounds[-1].queries, each.growths, strict=True) for each in results]
    rows = []
    for pairs in zip(*columns, strict=True):
        cells = [cell for pair in pairs for cell in _of_query(*pair)]
        rows.append([f"`{pairs[0][0].query}`", *cells])
    return table(["query", *titles], rows)


def costs(url: str) -> str:
    """Return the table of what the indexes cost at the largest size, from the kept results of ``bench``."""
    results = _kept()
    rounds = [each.rounds[-1] for each in results]
    changes = [[writes.change for writes in each.writes] for each in rounds]
    rows = (
        ("creating and writing the rows", *(duration(each.fill_seconds) for each in rounds)),
        ("`up`", *(duration(each.up_seconds) for each in rounds)),
        ("tables and indexes, before", *(in_bytes(each.bytes_before) for each in rounds)),
        ("tables and indexes, after", *(in_bytes(each.bytes_after) for each in rounds)),
        ("rows inserted per second", *(f"{min(each):+.0%} to {max(each):+.0%}" for each in changes)),
    )
    return table(["", *(f"{each.product}:" for each in results)], rows)


def _kept() -> list[Result]:
    paths = (ROOT / "docs" / f"bench-{database}.json" for database in ("postgresql", "sqlite"))
    return [read(json.loads(path.read_text())) for path in paths]


def _of_query(timing: QueryTiming, growth: Growth) -> tuple[str, str]:
    times = f"{duration(timing.before.median)} → {duration(timing.after.median)}"
    return times, f"{power(growth.before)} → {power(growth.after)}"


PARTS: dict[str, Callable[[str], str]] = {
    "indexes": indexes,
    "session": session,
    "session-sqlite": session_on_sqlite,
    "session-postgresql": session_on_postgresql,
    "commands": commands,
    "exit-codes": exit_codes,
    "documents": documents,
    "events": events,
    "builds": builds,
    "missed": missed,
    "conditions": conditions,
    "queries": queries,
    "costs": costs,
}

if __name__ == "__main__":
    main()
