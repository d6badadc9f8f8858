"""What the nodes of a Citus cluster answer, as recorded on a coordinator with two nodes, and the sums of it."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

from indexer.care.sums import total
from indexer.postgres.citus.counters import of_nodes
from indexer.postgres.citus.nodes import answer_of, command_of
from indexer.postgres.citus.reading import Parts, Stored, with_sums
from indexer.postgres.citus.tables import Size

RECORDED: dict[str, Any] = json.loads((Path(__file__).parents[1] / "support" / "citus" / "answers.json").read_text())
STORED = [Stored(**row) for row in RECORDED["stored"]]
ANSWERS = [answer_of(**row) for row in RECORDED["rows and bytes"]]
SHELLS = {"contact": Size(0, 8192), "campaign_membership": Size(0, 0), "webhook_event": Size(4000, 262144)}
REFUSED = 'connection to the remote node crm_owner@127.0.0.1:57003 failed\nwith the following error: "x"'


def whole(name: str, parts: Parts) -> Size:
    """Return the rows of one copy of each shard, and the bytes of all copies."""
    return Size(total(each.rows for each in parts.shards), total(each.bytes for each in parts.all))


def sizes(answers: Any = ANSWERS) -> dict[str, Size]:
    """Return what is known of the tables by these answers."""
    by_node = {
        answer.node: {row["name"]: Size(row["rows"], row["bytes"]) for row in answer.rows or []} for answer in answers
    }
    return with_sums(SHELLS, STORED, by_node, whole)


def test_a_distributed_table_is_the_sum_of_its_shards_and_never_the_shell() -> None:
    assert sizes()["contact"] == Size(4000, 278528)


def test_each_copy_of_a_reference_table_has_bytes_and_its_rows_count_once() -> None:
    assert sizes()["campaign_membership"] == Size(4000, 3 * 245760)


def test_a_local_table_is_as_the_coordinator_says() -> None:
    assert sizes()["webhook_event"] == SHELLS["webhook_event"]


def test_nothing_is_known_of_a_table_while_a_node_with_a_part_of_it_does_not_answer() -> None:
    known = sizes([*ANSWERS[:-1], answer_of(3, "127.0.0.1:57003", False, REFUSED)])
    assert set(known) == {"webhook_event"}


def test_characters_that_xml_escapes_come_back_as_they_were() -> None:
    result = '<table>\n<row>\n  <answer>[{"name":"a&lt;b&gt;&amp;\\"é\\""}]</answer>\n</row>\n</table>'
    assert answer_of(2, "a:1", True, result).rows == [{"name": 'a<b>&"é"'}]
    assert answer_of(2, "a:1", True, "<table>\n<row>\n</row>\n</table>").rows == []


def test_the_search_path_is_pinned_before_the_query_is_parsed() -> None:
    command = command_of("SELECT 'a\\b' = ANY (x)", {"enable_seqscan": "off"})
    assert command.index("set_config(E'search_path', E'pg_catalog") < command.index("THEN E'SELECT")
    assert "pg_catalog.set_config(E'enable_seqscan', E'off', true)" in command
    assert "SELECT ''a\\\\b'' = ANY (x)" in command


EARLY, LATE = datetime(2026, 11, 1), datetime(2026, 11, 20)
SERVER = {"identity": "1", "started": EARLY, "reset": None, "is_counting": True, "standbys": 0}


def test_a_cluster_counts_since_the_latest_of_its_nodes_began() -> None:
    nodes = [
        answer_of(1, "a:1", True, None)._replace(rows=[SERVER]),
        answer_of(2, "a:2", True, None)._replace(rows=[{**SERVER, "identity": "2", "started": LATE, "standbys": 1}]),
    ]
    known = of_nodes(SERVER, nodes)
    assert (known["started"], known["standbys"], known["members"]) == (LATE, 1, ("1", "2"))
    without = of_nodes(SERVER, [*nodes, answer_of(3, "a:3", False, None)])
    assert (without["started"], without["reset"], len(without["unanswered"])) == (None, None, 1)
