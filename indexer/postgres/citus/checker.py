"""Deep checks of a distributed index: each of its placements by itself, on its node, several nodes at once.

A node executes an ordinary SELECT: amcheck where our role may call it there, else lookups. No node is asked for a plan:
how often an index was scanned tells whether the lookups used it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import TYPE_CHECKING

from peewee import PeeweeException

from indexer.care.deep import AMCHECK, CANNOT_TELL, CLEAN, CORRUPT, LOOKUPS, Finding, together
from indexer.postgres.care import lookups
from indexer.postgres.care.amcheck import FUNCTION_NAME, Amcheck, amcheck
from indexer.postgres.care.checker import ENDED, NO_INDEX, PostgresChecker
from indexer.postgres.citus.nodes import Answer, answer_of, command_of, quoted
from indexer.postgres.citus.reading import RUN, NodeReader, Stored, stored_as
from indexer.spec import BTREE
from indexer.text import qualified
from indexer.tuples import NamedTuple

if TYPE_CHECKING:
    from indexer.postgres.migrator import OnlineMigrator

FEWEST_ROWS = 100  # that are looked up in a shard
UNREADABLE = "The node did not answer, or has no valid index of that name."
SOME_BY_KEY = f"Some of them by their key alone, which {lookups.READ_PER_ROW} rows or more have."
OTHER_SCAN = "Its rows cannot be looked up by it, because the planner uses another index for the same key."
HARMLESS = ("permission denied", "cannot ", "must be ", "canceling ", "connection ", "could not open relation")
DAMAGED_PAGE = ("invalid page in block", "could not read block")

# The scans of the transaction are counted when all rows have been looked up.
COUNTED = """
    SELECT l.*,
           pg_stat_get_xact_numscans({index}::regclass) AS scans
      FROM ({statement}) AS l
"""


class Placement(NamedTuple):
    """An index of a shard, and what the catalog of its node says of it."""

    stored: Stored
    facts: lookups.Facts


class ClusterChecker(PostgresChecker):
    """The checks through the session with a coordinator; the arguments are those of PostgresChecker."""

    def __init__(self, migrator: OnlineMigrator, heap: bool, longest: float) -> None:
        super().__init__(migrator, heap, longest)
        self._by_node: dict[int, Amcheck] = {}
        self._extensions: dict[str, list[Answer]] = {}

    def check(self, name: str) -> Finding:
        """Check an index; a distributed one on each of its placements."""
        stored = stored_as(self.catalog, [name])
        if not stored:
            finding = super().check(name)
            self.advice = [self._amcheck.advice(self.catalog.schema or "", False, True)] if self.advice else []
            return finding
        started, shell = time.monotonic(), lookups.facts_of(self.catalog, name)
        if shell is None:
            return Finding(name, CANNOT_TELL, None, NO_INDEX)
        try:
            measured = self.catalog.measured([name]).get(name)
            finding = together(name, list(self._findings(stored)))
        except PeeweeException as error:
            return self._failed(name, LOOKUPS, shell, error, started)
        seconds = time.monotonic() - started
        version = measured.collation_version if measured else None
        text = SOME_BY_KEY if finding.state == CLEAN and finding.text else finding.text
        return finding._replace(text=text, seconds=seconds, collation_version=version)

    def _findings(self, stored: Sequence[Stored]) -> Iterator[tuple[str, Finding]]:
        """Yield what was found on each placement, with its name and its node."""
        known = self._known(stored)
        found = self._run([each for each in known if self._may_amcheck(each)], self._amcheck_command, of_amcheck)
        others = [
            each for each in known if each.stored not in found or (found[each.stored].state == CLEAN and not self.heap)
        ]
        looked_up = self._look_up(others, max(lookups.ROWS // len(stored), FEWEST_ROWS))
        for placement in stored:
            yield placement.where, _with_lookups(found.get(placement), looked_up.get(placement), placement.name)

    def _known(self, stored: Sequence[Stored]) -> list[Placement]:
        """Return the placements that can be read."""
        answers: dict[str, list[Answer]] = {}
        names = sorted({each.name for each in stored})
        by_node = {
            node: lookups.facts_by_name(NodeReader(self.catalog, node, answers), names)
            for node in {each.node for each in stored}
        }
        return [Placement(each, by_node[each.node][each.name]) for each in stored if each.name in by_node[each.node]]

    # amcheck ---------------------------------------------------------------------------------------------------------

    def _may_amcheck(self, placement: Placement) -> bool:
        """Return whether the placement is a B-tree and our role may call amcheck on its node; advise if it may not."""
        if placement.facts.method != BTREE:
            return False
        extension = self._amcheck_of(placement.stored.node)
        if not extension.is_callable:
            self.advice = [extension.advice(self.catalog.schema or "", self.migrator.server.is_standby, True)]
        return extension.is_callable

    def _amcheck_of(self, node: int) -> Amcheck:
        """Return the extension on a node that answers."""
        if node not in self._by_node:
            self._by_node[node] = amcheck(NodeReader(self.catalog, node, self._extensions))
        return self._by_node[node]

    def _amcheck_command(self, placement: Placement) -> str:
        function = qualified(str(self._amcheck_of(placement.stored.node).schema), FUNCTION_NAME)
        index = quoted(qualified(self.catalog.schema or "", placement.stored.name))
        return f"SELECT {function}({index}::pg_catalog.regclass, {str(self.heap).lower()})"

    # Lookups ---------------------------------------------------------------------------------------------------------

    def _look_up(self, placements: Sequence[Placement], rows: int) -> dict[Stored, Finding]:
        """Return how many of the sampled rows each index finds."""
        possible = [each for each in placements if not each.facts.obstacle]
        found = self._run(possible, partial(self._lookup, rows), of_lookups)
        again = [each for each in possible if found[each.stored].text == OTHER_SCAN]  # one may serve NULL alone
        found |= self._run(again, partial(self._lookup, rows, patterns=[0]), of_lookups)
        obstructed = [each for each in placements if each.facts.obstacle]
        return found | {
            each.stored: Finding(each.stored.name, CANNOT_TELL, None, each.facts.obstacle) for each in obstructed
        }

    def _lookup(self, rows: int, placement: Placement, patterns: Sequence[int] = ()) -> str:
        facts, schema = placement.facts, self.catalog.schema or ""
        statement = lookups.statement(qualified(schema, facts.table_name), facts, patterns or facts.patterns, rows)
        index = quoted(qualified(schema, placement.stored.name))
        settings = dict(setting.split(" = ") for setting in lookups.settings(facts))
        return command_of(COUNTED.format(index=index, statement=statement), settings)

    # All placements --------------------------------------------------------------------------------------------------

    def _run(
        self,
        placements: Sequence[Placement],
        command: Callable[[Placement], str],
        finding: Callable[[Placement, bool, str], Finding],
    ) -> dict[Stored, Finding]:
        """Return the findings about placements, of which each node checks one at a time."""
        found: dict[Stored, Finding] = {}
        for group in one_of_each_node(placements):
            self.migrator.context.stop.check()
            with self._transaction():
                answers = self.catalog.rows(
                    RUN,
                    hosts=[each.stored.host for each in group],
                    ports=[each.stored.port for each in group],
                    commands=[command(each) for each in group],
                )
            for each, answer in zip(group, answers, strict=True):
                found[each.stored] = finding(each, answer["success"], answer["result"] or "")
        return found


def one_of_each_node(placements: Sequence[Placement]) -> Iterator[list[Placement]]:
    """Yield groups of placements that no two of are on the same node, until all are yielded."""
    left = list(placements)
    while left:
        group = list({each.stored.node: each for each in reversed(left)}.values())
        yield group
        left = [each for each in left if each not in group]


def of_amcheck(placement: Placement, success: bool, result: str) -> Finding:
    """Return what the answer of amcheck says; an error comes as its text alone."""
    if success:
        return Finding(placement.stored.name, CLEAN, AMCHECK)
    return _failed(placement, AMCHECK, result)


def of_lookups(placement: Placement, success: bool, result: str) -> Finding:
    """Return what the numbers of a lookup say, if it scanned the index for each row."""
    if not success:
        return _failed(placement, LOOKUPS, result)
    name = placement.stored.name
    ((row,),) = [answer_of(0, "", success, result).rows or []]
    scans, count = row.pop("scans"), lookups.Count(**row)
    if scans < count.looked_up:
        return Finding(name, CANNOT_TELL, None, OTHER_SCAN)
    state = CLEAN if count.found == count.looked_up else CORRUPT
    if count.looked_up == 0 and placement.facts.percentage < 100:
        return Finding(name, CANNOT_TELL, LOOKUPS, count.text)
    return Finding(name, state, LOOKUPS, count.text if count.looked_up else "", 0.0, count.looked_up, count.found)


def _failed(placement: Placement, by: str, result: str) -> Finding:
    """Return what an error says: that of an index names it, or a damaged page."""
    said = " ".join(result.removeprefix("ERROR:").split())
    is_harmless = said.startswith(HARMLESS)
    is_damage = f'"{placement.stored.name}"' in said or any(each in said for each in DAMAGED_PAGE)
    if is_damage and not is_harmless:
        return Finding(placement.stored.name, CORRUPT, by, f"{said}.")
    return Finding(placement.stored.name, CANNOT_TELL, by, ENDED.format(said), is_failed=True)


def _with_lookups(finding: Finding | None, looked_up: Finding | None, name: str) -> Finding:
    """Return what lookups add to a finding of amcheck, which does not notice the rows that an index lacks."""
    if finding is None or looked_up is None:
        return finding or looked_up or Finding(name, CANNOT_TELL, None, UNREADABLE, is_failed=True)
    if looked_up.state == CLEAN and looked_up.looked_up:
        return looked_up._replace(by=finding.by)
    return looked_up if looked_up.state == CORRUPT or looked_up.is_failed else finding
