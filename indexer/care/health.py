"""The health of a database's indexes: sizes, use and statistics, and what to do about them. Changes nothing.

report = health(Inspector(migrator, chain), everything=True)
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime, timezone
from functools import partial
from typing import TYPE_CHECKING

from indexer.advice import Advice
from indexer.care.advice import KINDS, STATISTICS, Others, advice_on, of_statistics
from indexer.care.facts import HASH
from indexer.care.hashes import hash_distinct
from indexer.care.needless import candidates
from indexer.care.observed import Observed
from indexer.care.observer import Observer
from indexer.care.statistics import Statistics
from indexer.care.usage import ServerCounts, unasked
from indexer.catalog import PARTITIONED_INDEX, CatalogEntry, Place, Table
from indexer.errors import Different, Unreachable, UsageError
from indexer.plans import Check
from indexer.replication import Standby, for_the_primary
from indexer.text import may_be
from indexer.tuples import NamedTuple

if TYPE_CHECKING:
    from indexer.inspector import Inspector
    from indexer.migrator import CatalogMigrator
    from indexer.steps import Step


class Asked(NamedTuple):
    """What further servers have counted, and a sentence for each that could not be asked."""

    servers: tuple[ServerCounts, ...] = ()
    failures: tuple[str, ...] = ()


NONE_ASKED = Asked()


class IndexHealth(NamedTuple):
    """What is known of one index, and what to do about it."""

    observed: Observed
    advice: tuple[Advice, ...]


class Health(NamedTuple):
    """The health of the indexes of one database or schema.

    Attributes:
        now: the time of the server, in UTC.
        servers: what each server has counted, the one of the database first; none where a database counts nothing.
        tables: those that the indexes are on, with their statistics.
        failures: why further servers could not be asked.
        strict: the kinds of advice that let the command fail.
        standby: how far the server is behind, if it is a standby.
        unknown: the declared indexes of which a part cannot be seen, because a node of a cluster does not answer.
    """

    place: Place
    now: datetime
    indexes: tuple[IndexHealth, ...] = ()
    servers: tuple[ServerCounts, ...] = ()
    tables: tuple[tuple[Table, Statistics | None], ...] = ()
    failures: tuple[str, ...] = ()
    warnings: tuple[object, ...] = ()
    strict: Collection[str] = ()
    standby: Standby | None = None
    unknown: tuple[Step, ...] = ()

    @property
    def where(self) -> str:
        """On which servers was counted, and which of the cluster were not asked, as the end of a sentence."""
        return _where(self.servers)

    @property
    def advice(self) -> list[Advice]:
        """All advice, the most urgent kinds first, each text once, and one text for the statistics of all tables."""
        unique = {str(advice.text): advice for index in self.indexes for advice in index.advice}
        found = list(unique.values())
        old = [each for each in found if each.kind == STATISTICS]
        tables = [each.observed.table for each in self.indexes if any(advice in old for advice in each.advice)]
        if len(old) > 1:
            text = of_statistics(list(dict.fromkeys(tables)))
            found = [each for each in found if each not in old]
            found.append(old[0]._replace(other=None, text=for_the_primary(text) if self.standby else text))
        return sorted(found, key=lambda advice: KINDS.index(advice.kind))

    @property
    def exit_code(self) -> int:
        """4 if there is advice of a kind that must not be, else 7 if a node of a cluster does not answer, else 0."""
        if any(advice.kind in self.strict for advice in self.advice):
            return Different.exit_code
        return Unreachable.exit_code if self.unknown else 0


def health(
    inspector: Inspector,
    names: Sequence[str] = (),
    everything: bool = False,
    exact: bool = False,
    asked: Asked = NONE_ASKED,
    strict: Collection[str] = (),
) -> Health:
    """Return the health of the declared indexes, and of others that there is advice about.

    Args:
        names: the indexes to look at instead.
        everything: look at all indexes of the tables.
        exact: read whole indexes where that tells what a rebuild would leave.
        asked: what further servers have counted.
        strict: the kinds of advice that let the command fail.

    Raises:
        UsageError: there is no index of such a name.
    """
    migrator, check = inspector.migrator, inspector.check()
    tables = migrator.catalog.tables(inspector.chain.tables, sizes=True)
    entries = migrator.catalog.indexes_on(tables)
    steps = {step.index.name: step for step in check.status.steps}
    _refuse_unknown(names, steps, entries)
    if not tables:
        standby = check.status.standby
        return Health(migrator.place, _now(None), warnings=check.status.warnings, strict=strict, standby=standby)
    counts = migrator.care.counts(list(tables))
    servers = (counts, *asked.servers) if counts else ()
    observer = Observer(migrator, check.status, tables, entries, servers)
    seen = observer.observe(list(dict.fromkeys(names)) or _shown(check, entries, everything), exact)
    others, concerned = _others(migrator, check, seen, entries, servers), {each.table for each in seen}
    return Health(
        place=migrator.place,
        now=others.now,
        indexes=tuple(IndexHealth(each, _advice(each, others, check.status.standby)) for each in seen),
        servers=servers,
        tables=tuple((table, observer.statistics.get(name)) for name, table in tables.items() if name in concerned),
        failures=(*(counts.unanswered if counts else ()), *asked.failures),
        warnings=check.status.warnings,
        strict=strict,
        standby=check.status.standby,
        unknown=check.status.unknown,
    )


def _advice(index: Observed, others: Others, standby: Standby | None) -> tuple[Advice, ...]:
    """Return the advice on an index; what it advises is done on the primary, if the server is a standby."""
    advice = advice_on(index, others)
    return tuple(each._replace(text=for_the_primary(each.text)) for each in advice) if standby else advice


def _refuse_unknown(names: Sequence[str], steps: Mapping[str, Step], entries: Sequence[CatalogEntry]) -> None:
    known = list(dict.fromkeys([*steps, *(entry.name for entry in entries)]))
    unknown = [name for name in names if name not in known]
    if not unknown:
        return
    raise UsageError(
        f"No revision declares {', '.join(unknown)}, nor do the tables have such an index{may_be(unknown[0], known)}.",
        f"Name indexes among these: {', '.join(known)}." if known else "There is none.",
    )


def _shown(check: Check, entries: Sequence[CatalogEntry], everything: bool) -> list[str]:
    """Return the declared indexes, and of the others those that there is advice about, or all of them."""
    steps, concerned = check.status.steps, {advice.other for advice in check.advice}
    found = {step.found.name for step in steps if step.found}  # which SQLite finds in any case
    undeclared = [entry for entry in entries if entry.name not in found]
    shown = [entry for entry in undeclared if not entry.is_orphaned]  # of what only shards have there is advice
    others = [entry.name for entry in shown if everything or not entry.usable or entry.name in concerned]
    return list(dict.fromkeys([*(step.index.name for step in steps), *others]))


def _others(
    migrator: CatalogMigrator,
    check: Check,
    seen: Sequence[Observed],
    entries: Sequence[CatalogEntry],
    servers: Sequence[ServerCounts],
) -> Others:
    """Return what is known beside what is observed of each index."""
    declared = [each.entry for each in seen if each.is_declared and each.entry]
    hashes = [each.name for each in seen if each.is_usable and each.has_method(HASH)]
    return Others(
        said=check.advice,
        hash_distinct=hash_distinct(migrator, hashes),
        needless=migrator.care.needless(candidates(declared, entries)),
        without_statistics=migrator.care.expressions_without_statistics(list({each.table for each in seen})),
        where=_where(servers),
        now=_now(servers[0] if servers else None),
        drop=partial(_drop, migrator, {each.name: each for each in entries}),
        reindex=migrator.dialect.reindex_statement,
        create=partial(migrator.dialect.create_index, concurrently=True),
    )


def _drop(migrator: CatalogMigrator, entries: Mapping[str, CatalogEntry], name: str) -> str:
    """Return the statement that drops an index; that of a partitioned table must not wait with its lock for long."""
    entry = entries.get(name)
    statement = str(migrator.dialect.drop_statement_of(entry) if entry else migrator.dialect.drop_statement(name))
    is_partitioned = entry is not None and entry.kind == PARTITIONED_INDEX
    return f"SET lock_timeout = '300ms'; {statement}" if is_partitioned else statement


def _where(servers: Sequence[ServerCounts]) -> str:
    if not servers:
        return "which this database does not count"
    counted = "on this server alone" if len(servers) == 1 else f"on {len(servers)} servers"
    if servers[0].members and len(servers) == 1:
        answered = " that answered" if servers[0].unanswered else ""
        counted = f"on the {len(servers[0].members)} nodes of the cluster{answered}"
    missing = unasked(servers)
    return f"{counted}; {missing}" if missing else counted


def _now(server: ServerCounts | None) -> datetime:
    return server.now if server else datetime.now(timezone.utc).replace(tzinfo=None)
