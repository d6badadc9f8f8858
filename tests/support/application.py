"""An application at work: writes and reads until SIGTERM, a line on stdout for each round; any failure ends it."""

import signal
import sys

import psycopg2

ROUND = (
    "INSERT INTO contact (first_name, last_name, phone) VALUES ('Ada', 'Lovelace', '+12025550123')",
    "INSERT INTO activity (openphone_id, activity_type, created_at) VALUES (%(round)s, 'call', now())",
    "UPDATE activity SET activity_type = 'message' WHERE id = (SELECT max(id) FROM activity)",
    "INSERT INTO webhook_event (event_id, event_type, processed, payload) VALUES (%(round)s, 'call', false, '{}')",
    "UPDATE contact SET phone = '+12025550124' WHERE id = (SELECT max(id) FROM contact)",
    "SELECT count(*) FROM contact JOIN activity ON activity.contact_id = contact.id",
)


def main(url: str, *settings: str) -> None:
    connection = psycopg2.connect(url)
    connection.autocommit = True
    for setting in settings:
        connection.cursor().execute(f"SET {setting}")
    asked_to_stop = []
    signal.signal(signal.SIGTERM, lambda *_: asked_to_stop.append(True))
    done = 0
    with connection.cursor() as cursor:
        while not asked_to_stop:
            for statement in ROUND:
                cursor.execute(statement, {"round": str(done)})
            done += 1
            print(done, flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
