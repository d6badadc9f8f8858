"""What a server says of replication: how far it is behind as a standby, and which standbys and slots follow it."""

from __future__ import annotations

import re
from collections.abc import Iterator

from indexer.errors import Command, Detail, Hint
from indexer.text import duration, few, identifier, in_bytes, literal
from indexer.tuples import NamedTuple

NOTICEABLE = 1.0  # seconds of lag after which a commit that waits for a standby is worth a warning
MUCH = 16 * 1024 * 1024  # bytes of WAL, likewise

CHANGING = frozenset({"up", "down", "stamp", "reindex", "analyze", "seed"})  # the commands that a standby refuses
CHANGE = r"(?:ALTER|ANALYZE|CREATE|DROP|GRANT|REINDEX|VACUUM)\b"
STATEMENT = rf"(?<!primary)(?<!primary\)): (?={CHANGE})"
BEFORE_A_COMMAND = r"(?<!primary\)): $"
ON_THE_PRIMARY = " (on the primary): "


class Standby(NamedTuple):
    """How far a standby has replayed the changes of its primary.

    Attributes:
        bytes: of WAL that have reached it and are not replayed; None where that is not known.
        seconds: how long ago the last transaction that it has replayed was committed, by the clocks of both servers; 0
            where it has replayed all that it has received, and is connected; None where that is not known.
        is_connected: whether it is receiving WAL now.
        is_paused: whether its replay is paused.
        delay: recovery_min_apply_delay; "" without one.
        sender: host and port of the server that sends it WAL, the primary or another standby; None where our role may
            not see that.
    """

    bytes: int | None
    seconds: float | None
    is_connected: bool
    is_paused: bool
    delay: str = ""
    sender: str | None = None

    @property
    def is_behind(self) -> bool:
        """Whether runs of the primary may be missing here, or be there in part."""
        return self.bytes != 0 or not self.is_connected or self.is_paused

    @property
    def lag(self) -> str:
        """How far it is behind, as a clause."""
        since = None if self.seconds is None else f"it shows the primary as it was {duration(self.seconds)} ago"
        if not self.is_connected:
            return f"it receives no WAL now, so how far it is behind cannot be told{f'; {since}' if since else ''}"
        if self.bytes == 0:
            return "it has replayed all WAL that it has received"
        if self.bytes is None:
            return f"how many bytes it is behind cannot be told; {since}" if since else "its lag cannot be told"
        return f"{in_bytes(self.bytes)} of WAL are not replayed yet" + (f"; {since}" if since else "")

    @property
    def remark(self) -> Hint:
        """What to know of it, in sentences."""
        parts = [f"This server is a standby (in recovery): {self.lag}."]
        if self.sender:
            parts.append(f" It receives WAL from {self.sender}.")
        if self.is_paused:
            resume = Detail(" A superuser can resume it here: SELECT pg_wal_replay_resume();")
            parts += [" Its replay is paused.", resume]
        if self.delay:
            parts.append(f" It replays each commit {self.delay} late (recovery_min_apply_delay).")
        if self.is_behind:
            parts.append(" A run on the primary that is not replayed whole looks like an interrupted one here.")
        return Hint(*parts, " Run on the primary what changes the database.")

    def __str__(self) -> str:
        return str(self.remark)


class Follower(NamedTuple):
    """A standby that is connected to this server.

    Attributes:
        name: its application name and its address.
        state: such as "streaming" and "catchup"; None where our role may not see it, and then all else is None.
        sync: "sync" or "quorum" where commits wait for it, else "async" or "potential".
        bytes: of WAL that it has not replayed.
        seconds: how long it has lately taken to replay; None where it was idle.
        commit_bytes, commit_seconds: the same for what a commit waits for, as synchronous_commit says.
    """

    name: str
    state: str | None
    sync: str | None
    bytes: int | None
    seconds: float | None
    commit_bytes: int | None
    commit_seconds: float | None

    @property
    def delays_commits(self) -> bool:
        """Whether every commit waits for it, and noticeably."""
        waits = self.sync in ("sync", "quorum")
        return waits and ((self.commit_seconds or 0) >= NOTICEABLE or (self.commit_bytes or 0) >= MUCH)

    @property
    def lag(self) -> str:
        """How far it is behind."""
        if self.state is None:
            return "how far it is behind is not visible to this role"
        if self.bytes is None:
            return "cannot tell how far it is behind"
        if self.bytes == 0:
            return "has replayed all"
        return f"{in_bytes(self.bytes)} behind" + (f", {duration(self.seconds)}" if self.seconds is not None else "")

    def __str__(self) -> str:
        known = ", ".join(filter(None, (self.state, self.sync)))
        return f"standby {self.name}" + (f" ({known})" if known else "") + f": {self.lag}"


class Slot(NamedTuple):
    """A replication slot of this server.

    Attributes:
        kind: "physical slot" or "logical slot".
        is_active: whether anything is connected to it.
        is_lost: whether the WAL that it needs is gone.
        bytes: of WAL that it keeps on this server; None where it has reserved none.
    """

    name: str
    kind: str
    is_active: bool
    is_lost: bool
    bytes: int | None

    @property
    def is_abandoned(self) -> bool:
        """Whether nothing uses it, and it keeps WAL all the same."""
        return not self.is_active and (self.is_lost or self.bytes is not None)

    @property
    def drop(self) -> str:
        """The statement that drops it."""
        return drop_slot(self.name)

    def __str__(self) -> str:
        use = "" if self.is_active else ", which is not in use"
        kept = "keeps no WAL" if self.bytes is None else f"keeps {in_bytes(self.bytes)} of WAL"
        return f"{self.kind} {self.name}{use}: {'has lost its WAL' if self.is_lost else kept}"


class Replication(NamedTuple):
    """What follows a primary, as far as our role can see it.

    Attributes:
        commit: synchronous_commit, where synchronous_standby_names makes commits wait; else "".
        hidden_from: our role, where it cannot see how far the standbys are; else "".
        is_readable: whether the server shows all of that; some hosts do not.
    """

    standbys: tuple[Follower, ...] = ()
    slots: tuple[Slot, ...] = ()
    commit: str = ""
    hidden_from: str = ""
    is_readable: bool = True

    def warnings(self) -> Iterator[str]:
        """Yield what is not visible, which standbys delay commits, and which slots keep WAL for nothing."""
        if not self.is_readable:
            yield "Which standbys and replication slots follow this server cannot be told: it does not show them."
        if self.hidden_from:
            role = identifier(self.hidden_from)
            yield (
                f"How far the standbys are behind is not visible to role {role}."
                f" To show it: GRANT pg_read_all_stats TO {role};"
            )
        for each in self.standbys:
            if each.delays_commits:
                behind = in_bytes(each.commit_bytes or 0)
                late = f", {duration(each.commit_seconds)}" if each.commit_seconds is not None else ""
                yield (
                    f"Every commit waits for standby {each.name}, which is {behind}{late} behind"
                    f" (synchronous_commit = {self.commit})."
                )
        abandoned = [each.name for each in self.slots if each.is_abandoned]
        if abandoned:
            yield f"Not in use, and keeping all WAL from now on, that of a run too: {', '.join(few(abandoned))}."


def drop_slot(name: str) -> str:
    """Return the statement that drops a replication slot, and the condition under which to execute it."""
    statement = f"SELECT pg_catalog.pg_drop_replication_slot({literal(name)});"
    return f"{statement}  -- if nothing needs it any more; as a superuser or a role with REPLICATION"


def for_the_primary(text: str | Hint) -> Hint:
    """Return a text in which each command or statement that a standby refuses is said, once, to be for the primary."""
    parts: list[str | Command] = []
    for part in Hint(text).parts:
        is_refused = re.match(CHANGE, part) if isinstance(part, str) else part[0] in CHANGING
        if is_refused and parts and isinstance(parts[-1], str):
            parts[-1] = re.sub(BEFORE_A_COMMAND, ON_THE_PRIMARY, parts[-1])
        elif isinstance(part, str) and not isinstance(part, Detail):
            part = re.sub(STATEMENT, ON_THE_PRIMARY, part)
        parts.append(part)
    return Hint(*parts)
