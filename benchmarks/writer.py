"""A process that inserts and updates without pause for long, and notes when each write was sent and answered.

Started by load.py with the database's URL, a file for its notes, and the pause between two writes in seconds. Ends on
SIGTERM, after the write that is under way.
"""

from __future__ import annotations

import random
import signal
import sys
import time
from array import array
from collections.abc import Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import psycopg2

Write = tuple[str, dict[str, Any]]

# In turn: what a webhook brings, and what the application then does about it.
WRITES = (
    """INSERT INTO webhook_event (event_id, event_type, payload, processed, created_at)
       VALUES (%(unique)s, 'message.received', '{"object": {"status": "received"}}', false, now())""",
    """INSERT INTO activity (openphone_id, conversation_id, contact_id, activity_type, direction, body, created_at)
       VALUES (%(unique)s, %(conversation)s, %(contact)s, 'message', 'incoming', 'Hello, I have a question', now())""",
    "UPDATE activity SET activity_type = 'call', updated_at = now() WHERE id = %(activity)s",
    "INSERT INTO contact (first_name, last_name, phone) VALUES ('New', 'Contact', %(phone)s)",
    "UPDATE contact SET phone = %(phone)s WHERE id = %(contact)s",
    "UPDATE webhook_event SET processed = NOT processed, processed_at = now() WHERE id = %(event)s",
)

LAST_IDS = """
    SELECT (SELECT max(id) FROM activity),
           (SELECT max(id) FROM contact),
           (SELECT max(id) FROM conversation),
           (SELECT max(id) FROM webhook_event)
"""


class Stopping:
    """True once SIGTERM came."""

    def __init__(self) -> None:
        self._asked = False
        signal.signal(signal.SIGTERM, self._ask)

    def __bool__(self) -> bool:
        return self._asked

    def _ask(self, number: int, frame: FrameType | None) -> None:
        self._asked = True


def writes(cursor: Any) -> Iterator[Write]:
    """Endless writes, the same in every run."""
    chance = random.Random(10992629)
    rows = _last_ids(cursor)
    number = 0
    while True:
        for statement in WRITES:
            number += 1
            some = {name: chance.randint(1, count) for name, count in rows.items()}
            yield statement, {"unique": f"NEW{number}", "phone": f"+44{number:010}", **some}


def write(url: str, notes: Path, pause: float) -> None:
    """Write until told to stop; then leave the notes: sent, answered, sent, answered, ..."""
    stopping = Stopping()
    connection = psycopg2.connect(url, application_name="writer")
    connection.autocommit = True
    moments = array("d")
    with connection.cursor() as cursor:
        for statement, parameters in writes(cursor):
            sent = time.monotonic()
            cursor.execute(statement, parameters)
            moments.extend((sent, time.monotonic()))
            if stopping:
                break
            time.sleep(pause)
    connection.close()
    notes.write_bytes(moments.tobytes())


def _last_ids(cursor: Any) -> dict[str, int]:
    cursor.execute(LAST_IDS)
    return dict(zip(("activity", "contact", "conversation", "event"), cursor.fetchone(), strict=True))


if __name__ == "__main__":
    write(sys.argv[1], Path(sys.argv[2]), float(sys.argv[3]))
