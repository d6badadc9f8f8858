"""Real corruption: what an upgrade of the system, a lost write or a bad disk leaves, made by hand."""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import pytest
from command import connect, execute, file_of

# Four kinds of text, each in a column that one of the ten B-trees sorts. Only the order of the last two is the same in
# bytes and in English: all of their characters are digits or of one case.
KINDS = {
    "ix_activity_openphone_id": "mixed-case base64",
    "ix_webhook_event_event_type": "event names with . _ - and capitals",
    "ix_campaign_membership_campaign_status": "AC and lower-case hex",
    "ix_activity_type": "phone numbers",
}
UNSORTED = {"ix_activity_openphone_id", "ix_webhook_event_event_type"}
ROWS = (
    """
    INSERT INTO activity (openphone_id, activity_type)
    SELECT encode(decode(md5(n::text), 'hex'), 'base64'), '+1' || (2125550000 + n * 7919 % 100000)::text
      FROM generate_series(1, 3000) AS n
    """,
    """
    INSERT INTO webhook_event (event_type, processed)
    SELECT (ARRAY ['call.completed', 'Call.completed', 'call_completed', 'call-completed', 'callcompleted',
                   'message.received', 'Message.received', 'message_received', 'message-received', 'messageReceived',
                   'contact.updated', 'Contact-updated'])[n % 12 + 1], n % 50 = 0
      FROM generate_series(1, 3000) AS n
    """,
    """
    INSERT INTO campaign_membership (campaign_id, contact_id, status)
    SELECT NULL, NULL, 'AC' || md5(n::text) FROM generate_series(1, 3000) AS n
    """,
)

FORGE = """
    UPDATE pg_index
       SET indcollation = replace(indcollation::text, '100', '{collation}')::oidvector
     WHERE indexrelid = '{index}'::regclass
"""
# The column, too: otherwise the index would have another definition than the declared one.
FORGE_COLUMNS = """
    UPDATE pg_attribute AS a
       SET attcollation = {collation}
      FROM pg_index AS i
     WHERE i.indexrelid = '{index}'::regclass
       AND a.attcollation = 100
       AND (a.attrelid = i.indexrelid OR a.attrelid = i.indrelid AND a.attnum = ANY (i.indkey))
"""


def sort_by(superuser_url: str, collation: str, *indexes: str) -> None:
    """Tell the catalog that indexes sort text by another collation than they were built with, as an upgrade does."""
    [(oid,)] = execute(superuser_url, f"SELECT oid FROM pg_collation WHERE collname = '{collation}'")
    for index in indexes:
        execute(
            superuser_url,
            FORGE.format(collation=oid, index=index),
            FORGE_COLUMNS.format(collation=oid, index=index),
        )


def lose_writes(superuser_url: str, index: str, *statements: str) -> None:
    """Execute statements while nothing is written to an index."""
    ready = f"UPDATE pg_index SET indisready = {{}} WHERE indexrelid = '{index}'::regclass"
    execute(superuser_url, ready.format("false"))
    execute(superuser_url, *statements)
    execute(superuser_url, ready.format("true"))


def damage(file: Path, block: int, offset: int, content: bytes) -> None:
    """Write bytes into a page of a file of a server that is stopped."""
    with file.open("r+b") as opened:
        opened.seek(block * 8192 + offset)
        opened.write(content)


def lack_amcheck(superuser_url: str) -> bool:
    """Install amcheck; return whether this server has none."""
    if not execute(superuser_url, "SELECT 1 FROM pg_available_extensions WHERE name = 'amcheck'"):
        return True
    execute(superuser_url, "CREATE EXTENSION IF NOT EXISTS amcheck SCHEMA public")
    return False


def need_amcheck(superuser_url: str, role: str | None = None) -> None:
    """Install amcheck and let a role call it; skip the test where the server has none."""
    if lack_amcheck(superuser_url):
        pytest.skip("the server has no amcheck (postgresql-contrib)")
    if role:
        execute(superuser_url, f"GRANT EXECUTE ON FUNCTION public.bt_index_check(regclass, boolean) TO {role}")


def change_sqlite(url: str, index: str, old: str, new: str) -> None:
    """Change the definition of an index that SQLite keeps, and not the index."""
    with closing(connect(url)) as connection:
        connection.execute("PRAGMA writable_schema = ON")
        connection.execute("UPDATE sqlite_master SET sql = replace(sql, ?, ?) WHERE name = ?", (old, new, index))
    assert new in str(execute(url, "SELECT sql FROM sqlite_master WHERE name = '" + index + "'")), file_of(url)
