"""A process that inserts and updates, with a short pause between two writes, and notes when each was sent and answered.

load.py starts it with the URL of the database, a file for its notes, and the pause in seconds. It ends on SIGTERM,
after the write that is under way.
"""

from __future__ import annotations

import random
import signal
import sys
import time
from array import array
from collections.abc import Iterator
from pathlib import Path
from threading import Event
from typing import Any

import psycopg2

Write = tuple[str, dict[str, Any]]

# In turn, what the application writes for a webhook.
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


def writes(cursor: Any) -> Iterator[Write]:
    """Yield writes without end, the same in every run."""
    chance = random.Random(10992629)
    cursor.execute(LAST_IDS)
    rows = dict(zip(("activity", "contact", "conversation", "event"), cursor.fetchone(), strict=True))
    number = 0
    while True:
        for statement in WRITES:
            number += 1
            some = {name: chance.randint(1, count) for name, count in rows.items()}
            yield statement, {"unique": f"NEW{number}", "phone": f"+44{number:010}", **some}


def write(url: str, notes: Path, pause: float) -> None:
    """Write until SIGTERM, then leave the notes: sent, answered, sent, answered, ..."""
    stopping = Event()
    signal.signal(signal.SIGTERM, lambda number, frame: stopping.set())
    connection = psycopg2.connect(url, application_name="writer")
    connection.autocommit = True
    moments = array("d")
    with connection.cursor() as cursor:
        for statement, parameters in writes(cursor):
            sent = time.monotonic()
            cursor.execute(statement, parameters)
            moments.extend((sent, time.monotonic()))
            if stopping.is_set():
                break
            time.sleep(pause)
    connection.close()
    notes.write_bytes(moments.tobytes())


if __name__ == "__main__":
    write(sys.argv[1], Path(sys.argv[2]), float(sys.argv[3]))
