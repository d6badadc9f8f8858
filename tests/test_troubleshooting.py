"""docs/troubleshooting.md explains every message of the program, and no other."""

import ast
import re
from collections.abc import Iterator

import hints
from messages import OTHERS, ROOT, collected, entries, is_message, pattern, plain, spoken

from indexer import errors

PAGE = (ROOT / "docs" / "troubleshooting.md").read_text()
ENTRIES = list(entries(PAGE))
OF_CLICK = {"No such option", "No such command", "Missing argument", "Invalid value for"}
OF_LIBPQ = {
    *("Connection refused", "timeout expired", "no pg_hba.conf entry", "server does not support SSL"),
    *("certificate verify failed", "root certificate file", 'database "…" does not exist', 'role "…" does not exist'),
}
MOST = 8  # messages of one entry: one that fits more says too little to be found


def section(code: int) -> str:
    """Return what the page says of an exit code."""
    (text,) = re.findall(rf"^## Exit code {code}: .*?(?=^## )", PAGE, re.MULTILINE | re.DOTALL)
    return text


def raised() -> Iterator[tuple[str, int]]:
    """Yield the message of each error that the code raises with a string, and its exit code."""
    codes = {name: each.exit_code for name, each in vars(errors).items() if is_error(each)}
    for path in hints.program():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and node.args and isinstance(node.func, ast.Name) and node.func.id in codes:
                text = plain(hints.text_of(node.args[0]))
                if is_message(text):
                    yield text, codes[node.func.id]


def is_error(each: object) -> bool:
    """Return whether this is a class of errors with an exit code; that of an interruption depends on the signal."""
    return isinstance(each, type) and issubclass(each, errors.IndexerError) and each is not errors.Interrupted


def test_every_message_is_explained():
    known = [pattern(each) for each in ENTRIES]
    missing = {text: file for text, file in collected().items() if not any(each.search(text) for each in known)}
    assert missing == {}, (
        "explain each in docs/troubleshooting.md; if it is no message, name it in tests/support/messages.py"
    )


def test_every_explained_message_exists():
    texts = spoken()
    others = OF_CLICK | OF_LIBPQ
    assert [each for each in ENTRIES if each not in others and not any(map(pattern(each).search, texts))] == []


def test_every_text_that_is_called_no_message_exists():
    assert {text for text in spoken() if is_message(text)} >= OTHERS


def test_no_entry_fits_many_messages():
    texts = collected()
    assert [each for each in ENTRIES if len(list(filter(pattern(each).search, texts))) > MOST] == []


def test_an_error_is_explained_under_its_exit_code():
    explained = {code: [pattern(each) for each in entries(section(code))] for code in (1, 2, 4, 5, 6, 7)}
    wrong = {text: code for text, code in raised() if not any(each.search(text) for each in explained[code])}
    assert wrong == {}
