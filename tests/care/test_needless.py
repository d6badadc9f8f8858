"""Where the server can skip the columns before it, a wide index makes a narrow one nearly needless: by EXPLAIN."""

from __future__ import annotations

from command import ask, execute, nothing_changes
from examined import advised, examined

NAME = "ix_webhook_event_event_type"
SKIPS = 180000  # the first version whose B-tree scans skip
FLUSHED = "SET synchronous_commit = on"  # VACUUM counts rows as visible to all only once their commit is on disk
EVENTS = """
    INSERT INTO webhook_event (event_type, processed)
    SELECT 'type ' || i % 100, i % 50 <> 0
      FROM generate_series(1, 20000) AS i
"""


def is_needless(url: str) -> bool:
    with nothing_changes(url):
        return f"needless {NAME}" in advised(examined(url, NAME))


def test_the_index_on_event_types_is_nearly_needless_where_the_server_can_skip(head_url):
    assert not is_needless(head_url)  # without rows
    execute(head_url, FLUSHED, EVENTS)
    assert not is_needless(head_url)  # without statistics
    execute(head_url, "VACUUM ANALYZE webhook_event")

    assert is_needless(head_url) == (int(ask(head_url, "SHOW server_version_num")[0][0]) >= SKIPS)


def test_it_is_needed_where_the_wide_index_begins_with_many_values(head_url):
    execute(
        head_url, "ALTER TABLE webhook_event ALTER processed TYPE text", FLUSHED, EVENTS.replace("i % 50 <> 0", "i")
    )
    execute(head_url, "VACUUM ANALYZE webhook_event")

    assert not is_needless(head_url)
