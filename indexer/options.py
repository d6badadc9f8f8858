"""The options of a run, as the user gave them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from indexer.errors import Blocked, Command, Locked
from indexer.tuples import NamedTuple

if TYPE_CHECKING:
    from indexer.pace.window import Window

VERSION_TABLE = "alembic_version"
PACED = ("up", "reindex")  # the commands that may have to wait for a window or for replicas
AGAIN = "Wait for it to end, then run the same command again."


class Options(NamedTuple):
    """What the user asks of a run. Durations are in seconds; None means without limit.

    Attributes:
        max_wait: how long a build may wait for other sessions before it is cancelled and tried again.
        retries: how often a cancelled build is tried again.
        wait_lock: how long to wait for another run that makes no progress; 0 does not wait at all.
        jobs: how many builds run at once; None lets the load of the server decide.
        offline: build without CONCURRENTLY, which is faster and blocks writers: for a maintenance window.
        adopt_renamed: rename an identical index that has another name, instead of building one.
        replace: replace an index that has the declared name and another definition.
        include_adopted: drop also the indexes that existed before ``up``.
        below_later: revert a revision below a later one, of Alembic or unknown to this version.
        alembic: keep Alembic's version table in step.
        version_table: the name of that table, NAME or SCHEMA.NAME.
        published: create tables although a publication sends their rows to subscribers at once.
        window: when a change may begin.
        max_replica_lag: wait before each index while a standby or a replication slot is further behind.
        replicas: URLs of further standbys that count for it, such as those of a standby.
    """

    max_wait: float | None = None
    retries: int = 3
    wait_lock: float | None = None
    jobs: int | None = None
    offline: bool = False
    adopt_renamed: bool = False
    replace: bool = False
    include_adopted: bool = False
    below_later: bool = False
    alembic: bool = True
    version_table: str = VERSION_TABLE
    published: bool = False
    window: Window | None = None
    max_replica_lag: float | None = None
    replicas: tuple[str, ...] = ()

    def words(self, command: str) -> tuple[str, ...]:
        """Return the options that allow as much to ``up``, ``down`` or ``stamp``, each option and each value a word.

        Options that the command does not have are left out, and so are those about waiting for sessions.
        """
        given = {
            "--adopt-renamed": self.adopt_renamed and command == "up",
            "--replace": self.replace and command == "up",
            "--include-adopted": self.include_adopted and command == "down",
            "--below-later": self.below_later and command == "down",
            "--no-alembic": not self.alembic,
            "--published": self.published,
        }
        values = {
            "--version-table": self.version_table if self.version_table != VERSION_TABLE else None,
            "--window": str(self.window) if self.window and command in PACED else None,
            "--max-replica-lag": f"{self.max_replica_lag:g}" if self.max_replica_lag and command in PACED else None,
        }
        named = [word for name, value in values.items() if value for word in (name, value)]
        named += ["--replica", "URL"] * len(self.replicas) if command in PACED else []  # it may contain a password
        return (*(option for option, is_given in given.items() if is_given), *named)

    def command(self, name: str, to: str | None = None) -> Command:
        """Return the command of this name that allows as much, up or down to a revision if one is given."""
        return Command(name, *(("--to", to) if to else ()), *self.words(name))

    def check_wait(self, waited: float, why: str) -> None:
        """Give up waiting for another process to release a SQLite file, if this was too long.

        Args:
            why: what is waited for, as a sentence without its full stop.

        Raises:
            Locked: the limit for another run is reached.
            Blocked: the limit for any other session is reached.
        """
        if self.wait_lock is not None and waited >= self.wait_lock:
            raise Locked(f"{why}.", AGAIN)
        if self.max_wait is not None and waited >= self.max_wait:
            raise Blocked(f"Gave up after {waited:.0f} s: {why}.", AGAIN)


DEFAULTS = Options()
