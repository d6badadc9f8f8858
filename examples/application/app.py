"""A small web application that uses the CRM's tables: it answers what an incoming call needs to know.

    GET /calls?phone=+12025550123    the contact, whether it has opted out, and its conversations
    GET /healthz                     whether the database answers

It does not look at the indexes: start.py starts it once they are in place. Its configuration is DATABASE_URL and PORT.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Callable, Iterable, Mapping
from typing import Any
from urllib.parse import parse_qs

from peewee import OperationalError
from playhouse.db_url import connect
from waitress import create_server

import models
import queries

JSON = ("Content-Type", "application/json")


def application(environment: Mapping[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """Answer one request, as PEP 3333 says."""
    try:
        with models.database.connection_context():
            status, answer = answer_to(environment["PATH_INFO"], parse_qs(environment["QUERY_STRING"]))
    except OperationalError:
        status, answer = "503 Service Unavailable", {"error": "The database does not answer."}
    start_response(status, [JSON])
    return [json.dumps(answer).encode() + b"\n"]


def answer_to(path: str, asked: Mapping[str, list[str]]) -> tuple[str, Any]:
    """Return the status and the answer for a path and the parameters of its query."""
    if path == "/healthz":
        models.database.execute_sql("SELECT 1")
        return "200 OK", {"database": "answers"}
    if path != "/calls" or "phone" not in asked:
        return "404 Not Found", {"paths": ["/calls?phone=...", "/healthz"]}
    contact = queries.contact_by_phone(asked["phone"][0])
    if contact is None:
        return "404 Not Found", {"error": "No contact has this number."}
    return "200 OK", {
        "contact": f"{contact.first_name} {contact.last_name}",
        "opted_out": queries.has_opted_out(contact.id),
        "conversations": [each.openphone_id for each in queries.conversations_of(contact.id)],
    }


def main() -> None:
    """Serve until a signal comes."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())  # which ends run()
    models.database.initialize(connect(os.environ["DATABASE_URL"]))
    host, port = os.environ.get("HOST", "127.0.0.1"), int(os.environ.get("PORT", "8000"))
    server = create_server(application, host=host, port=port, ident=None)
    print(f"The application listens on http://{host}:{port}", flush=True)
    server.run()
    sys.exit(143)


if __name__ == "__main__":
    main()
