"""The messages in the code: errors, warnings, notes and reasons, each of which docs/troubleshooting.md explains.

A message is any string of three words or more that is no SQL, no help of an option, no next step and no result.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from functools import cache

from hints import ROOT, program, texts

WORD = re.compile(r"(?<![-\w.])[A-Za-z][a-z']*(?![-\w(=])")
FEWEST = 3  # words
NO_TEXT = re.compile(
    r"^\W*(SELECT|CREATE|DROP|ALTER|WITH|SET|REINDEX|VACUUM|ANALYZE|CASE|PREPARE|EXECUTE|SAVEPOINT|ROLLBACK|WHERE)\b"
    r"|pg_catalog\.|\n  |\\b|\(\?|^\w+ = \S+$| AS | OR | IN \(|^AND |^\w+, \w+$|^from "  # SQL, expressions, code
    r"|%[a-zA-Z]|^[a-z0-9_ ]{99,}|\$[a-z]|^<|^data:|'none'"  # times, lists of words, templates, HTML
)
VERBS = (
    "add|allow|bring|build|call|cast|change|check|choose|commit|compare|complete|connect|correct|create|declare|delete|"
    "describe|drop|end|fill|fix|free|gather|give|initialise|install|join|leave|make|move|name|open|pass|print|put|raise|"
    "rebuild|remove|rename|repair|replace|review|run|see|set|start|use|write"
)
NEXT_STEP = re.compile(rf"^(\{{\}}|[ .:,;])*({VERBS}|then|to|first|if|or correct|python cli.py)\b", re.IGNORECASE)
NAMES = re.compile(r"\{[^{}]*\}")
HELP = {"help", "show_default", "metavar"}
ENTRY = re.compile(r"^\| (`.*?`) \|", re.MULTILINE)
DIFFERS = "…"


class Spoken(ast.NodeTransformer):
    """Takes the help of options, the patterns of regular expressions and what asserts say out of a file."""

    def visit_Assert(self, node: ast.Assert) -> ast.AST:
        return ast.Pass()

    def visit_keyword(self, node: ast.keyword) -> ast.AST | None:
        return None if node.arg in HELP else self.generic_visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        return ast.Constant(None) if ast.unparse(node.func).startswith("re.") else self.generic_visit(node)


@cache
def spoken() -> dict[str, str]:
    """Return the strings of the program, with {} for what is put into them, each with its file."""
    found: dict[str, str] = {}
    for path in program():
        name = path.relative_to(ROOT).as_posix()
        if not WITHOUT_MESSAGES.match(name):
            strings = texts(Spoken().visit(ast.parse(path.read_text())))
            found |= {plain(text): name for text in strings}
    return found


def plain(text: str) -> str:
    """Return a text in one line, with {} for each name in braces."""
    return " ".join(NAMES.sub("{}", text).split())


def is_message(text: str) -> bool:
    """Return whether a string is a message by its form."""
    return len(WORD.findall(text)) >= FEWEST and not NO_TEXT.search(text) and not NEXT_STEP.search(text)


def collected() -> dict[str, str]:
    """Return the messages of the program, each with its file."""
    return {text: name for text, name in spoken().items() if is_message(text) and text not in OTHERS}


def entries(page: str) -> Iterator[str]:
    """Yield the messages that a page explains."""
    for cell in ENTRY.findall(page):
        yield from re.findall(r"`([^`]+)`", cell)


def pattern(entry: str) -> re.Pattern[str]:
    """Return what finds the texts that an entry explains."""
    return re.compile(".*?".join(map(re.escape, entry.strip(f"{DIFFERS} ").split(DIFFERS))))


WITHOUT_MESSAGES = re.compile(
    r"migrate_|queries\.py|sample/(sql|tables|words|postgres)|indexer/bench/(chart|tables)|indexer/console/tables"
    r"|indexer/service/metrics"
)

# What has the form of a message and is another text: for each kind its texts, one a line.
KINDS = {
    "help of an option or a command": """
        Also show indexes of the tables that no revision declares.
        Read whole indexes where that tells more: pgstattuple, if it is installed.
        Show what would be rebuilt, and change nothing.
        Analyze the tables of all declared indexes, whether they need it or not.
        Also check that the valid indexes, or those named, find the rows of their tables.
        With --deep, also look for rows that a B-tree lacks: reads the whole table.
        sqlite:///file.db or postgresql://user:password@host/name
        Also drop indexes that existed before up.
        Show the traceback of an error.
        Do not wait for another run: exit with 5.
        Go below a later revision: Alembic's, or one unknown to this version.
        Also show SQL, roles, and the names of servers and of the database.
        before the first revision
        the last revision
    """,
    "progress": """
        queries without indexes
        queries with indexes
        without indexes and with
        created and wrote {} rows in {}
        , about {} to go
        about {} expected for {} of {} ({})
        {}: {}; the window closes at {}
        building index: loading tuples in tree
        building index: scanning table
        building index: sorting live tuples
        building index: sorting dead tuples
        index validation: scanning index
        index validation: sorting tuples
        index validation: scanning table
        acquiring sample rows
        acquiring inherited sample rows
        building on the nodes
    """,
    "a result": """
        Done in {}: {} analyzed{}. {}
        Done in {}{}: {} on {}
        recorded as the least size known so far: {}
        reindex would rebuild {} on {}
        less than a second
        up to {} to sort in
        for the indexes
        index writes since {}
        tuples per scan
        {}; nothing to advise.
        Nothing to advise.
        {}{}{}: {} with exit code 0{}.
        , {} with exit code {} ({})
        Everything is as declared.
        The service answers.
        The service has read the database.
        {} {}, and its indexes are as declared.
        Wrote {} with an example, {}.
        ... and the same for {} more partitions: plan --sql prints all
        {} would go from {} to {}:
        Advice{} (does not change the exit code):
        -- {} is being built on {} right now
        -- as {}, who owns {}:
        no index changed
        The query is
        All {} queries are
        has replayed all
        measured in an earlier run
        measured in this run
        none is incomplete
    """,
    "a part of a message": """
        {} is left on {}
        serves the same key
        , of a constraint,
        measured against the build of {}
        measured against its state of {}, the best that was seen
        by reading all of it
        by the statistics of its columns
        when it was measured
        when it was built
        a hash index
        on the {} nodes of the cluster{}
        There is none.
        its build on {}
        its deep check on {}
        when the counters of the database began
        when the server began to count, as it does after a crash
        the distributed table
        database of models.py
        the database object
        are left out
        may be among those counted
        (on the primary)
        (on the primary):
        on the primary
        other text index
        other text indexes
        global pid {} on {}
        'daily 22:00-04:00', or 'mon-fri 22:00-04:00; sat,sun 00:00-24:00 Europe/Vienna'
        the expression {} of {}
        the predicate of {}
        on or off
        one at a time
        a run of the revision, by this tool or by Alembic
        rows of {} by {}
        migrator.migrate(*(migrator.{}(index) for index in INDEXES))
        not an index
    """,
    "a next step": """
        The command itself was carried out. Check the file or device that stdout goes to.
        Wait for it to end, then run the same command again.
        Wait for it to end, or see what it is doing: python cli.py status
        Wait for that to end, then run the same command again.
        Wait for a connection to become free, or ALTER ROLE ... CONNECTION LIMIT.
        Wait for a connection to become free, or ALTER DATABASE ... CONNECTION LIMIT.
        Wait for a connection to become free, or raise max_connections.
        Wait for connections to become free, or raise the limit; then run the same command again.
        Wait a moment and run the same command again.
        Its owner can GRANT CONNECT ON DATABASE {} TO {};
        Read the server's log. Then check the others by name: python cli.py check --deep INDEX
        {} -- if nothing needs it any more; as a superuser or a role with REPLICATION
        SQLite keeps them first in ascending and last in descending order. Use on_sqlite=Variant(columns=...)
        , or declare the index in a revision
        When all nodes answer, run: python cli.py check
    """,
    "what the program looks for in a text of others": """
        Bitmap Index Scan
        Bitmap Heap Scan
        could not open relation
        could not find tuple
        cache lookup failed
        Google Cloud Spanner
        Greenplum Database|Yellowbrick Database
        while executing command on (\\S+:\\d+)
        no such collation sequence
        no such table
        no query solution
        no such index
    """,
    "a part of the page": """
        After a rebuild
        sizes after a rebuild
        not built yet
        since when is not known
        Scans, sizes after a rebuild and queries were read {} ago.
        about the same
        it ends its transaction
        they end their transactions
        All is well
        , a standby {} behind
        served; {} not known
        unknown to this version
        phase not known
        a prepared transaction
        applications may start
        a rebuild would free {}
        all indexes together
        , but not recorded
        not served yet
    """,
    "what only a programmer reads": """
        module {} has no attribute {}
        dbstat has told all there is
    """,
}
OTHERS = {line.strip() for lines in KINDS.values() for line in lines.strip().splitlines()}
