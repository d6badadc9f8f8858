"""What the commands leave in the server's log, which others watch."""

from __future__ import annotations

from command import run
from roles import as_owner, new_database
from scenes import own_server

COMMANDS = {
    ("plan",): 0,
    ("check",): 3,
    ("wait", "--for", "applied", "--timeout", "0"): 3,
    ("up",): 0,
    ("health",): 0,
}


def test_no_command_on_an_empty_database_logs_an_error():
    with own_server() as server, new_database(server.url) as url:
        exit_codes = {command: run(*command, url=as_owner(url)).exit_code for command in COMMANDS}
        assert exit_codes == COMMANDS
        assert not server.has_logged("ERROR")
