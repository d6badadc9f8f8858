"""health says what it knows of each index and what to do about it, on PostgreSQL and on SQLite, and changes nothing."""

from __future__ import annotations

import re
from typing import Any

import leftovers
import psycopg2
import pytest
from command import (
    TEN_NAMES,
    execute,
    is_postgres,
    nothing_changes,
    prepare,
    refuses,
    run,
    succeed,
)
from examined import advised, examined, facts_of
from roles import another_role, as_role
from scenes import WRITE, open_writer, running, until, until_phase

NAME, TABLE = "ix_activity_type", "activity"
KEYS = {
    *("index", "table", "declared", "state", "bytes", "partitions", "share_of_table", "bytes_after_rebuild", "ratio"),
    *("evidence", "measured_at", "why", "scans", "own_scans", "since", "since_event", "build_is_known", "last_scan"),
    *("tuples_per_scan", "hit_ratio", "writes", "writes_since", "limits", "statistics_at", "statistics_age"),
    *("modified", "advice"),
}


def health(url: str, *arguments: str) -> Any:
    """Return the document of health, which must change nothing and exit with 0."""
    with nothing_changes(url):
        return succeed("health", "--json", *arguments, url=url).json()


def of(name: str, document: Any) -> Any:
    """Return what a document says of one index."""
    (found,) = (each for each in document["indexes"] if each["index"] == name)
    return found


def kinds(url: str, *arguments: str) -> set[tuple[str, str]]:
    """Return the kinds of advice that health gives, each with its index."""
    document = health(url, *arguments)
    return {(advice["kind"], each["index"]) for each in document["indexes"] for advice in each["advice"]}


def analyzed(url: str, *statements: str) -> None:
    """Execute statements, and gather statistics once the server has counted them, as it does when a session ends."""
    execute(url, *statements)
    if is_postgres(url):
        until(lambda: facts_of(url, NAME).counts.inserts > 0, "the count of the rows")
    execute(url, "ANALYZE")
    until(lambda: facts_of(url, NAME).statistics.modified == 0, "the count of ANALYZE")


# The document and the text --------------------------------------------------------------------------------------------


def test_a_new_database_has_nothing_to_advise(any_head_url):
    document = health(any_head_url)

    assert {each["index"] for each in document["indexes"]} == TEN_NAMES
    assert all(set(each) == KEYS for each in document["indexes"])
    assert {each["state"] for each in document["indexes"]} == {"valid"}
    assert not any(each["advice"] for each in document["indexes"])
    index = of(NAME, document)
    if is_postgres(any_head_url):
        assert index["scans"] == index["writes"] == 0
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ", index["since"])
        assert [each["standby"] for each in document["counted_on"]] == [False]
        (limit,) = of("ix_contact_phone_hash", document)["limits"]
        assert limit.startswith("ix_contact_phone_hash serves only equality: ")
    else:
        assert (index["scans"], index["since"], index["writes"], document["counted_on"]) == (None, None, None, [])
    assert index["last_scan"] is index["tuples_per_scan"] is None


GOLDEN = {
    True: """\
{place}: 1 index, 16 kB. Scans are counted since {day} ({age}), on this server alone.

index             table     size  of table  scans
ix_activity_type  activity  16 kB     100%      0

table     rows  size  index writes since {day}  statistics of  changed since
activity     3 16 kB                   3 {age} ago              0

Note: Scans are an upper bound: EXPLAIN, and so verify, can count as one, and each lookup of check --deep does. \
Hits are those in shared buffers: a block that the operating system has cached counts as none.

Nothing to advise.
""",
    False: """\
{place}: 1 index, 4096 bytes.

index             table     size        of table
ix_activity_type  activity  4096 bytes     100%

table     rows  size        statistics of
activity     3  4096 bytes  3 rows

Note: SQLite counts neither scans nor writes.

Nothing to advise.
""",
}
BEFORE_15 = ", when the counters of the database began"  # a moment after the build
AGE = r"(\d+(\.\d)? (s|ms)|\d+ min \d+ s|\d+ (hours?|days?))"


def test_the_text_shows_figures_where_they_were_counted_and_what_to_do(any_base_url):
    prepare(any_base_url)  # in a copy of a database nothing is known of the builds
    analyzed(any_base_url, "INSERT INTO activity (activity_type) VALUES ('call'), ('call'), ('email')")
    shown = succeed("health", NAME, url=any_base_url).stdout

    expected = _words(GOLDEN[is_postgres(any_base_url)])
    words = _words(re.sub(r"^\S+( \(schema public\))?:", "{place}:", shown))
    assert [re.sub(AGE, "{age}", re.sub(r"\d+ [A-Z][a-z]+", "{day}", line)) for line in words] == expected


def _words(text: str) -> list[str]:
    """Return lines with one blank between words, and without what differs between versions."""
    lines = (" ".join(line.split()) for line in text.splitlines() if not line.startswith("Note: Cannot tell"))
    return [line.replace(" cannot tell", "").replace(" after rebuild", "").replace(BEFORE_15, "") for line in lines]


def test_several_schemas_have_a_line_each(crm):
    prepare(crm)
    execute(crm, "CREATE SCHEMA other", "CREATE INDEX by_type ON activity (activity_type)")
    result = succeed("health", "--schema", "public", "--schema", "other", url=crm)

    assert re.match(r"public: \d+ indexes, \d+ kB; duplicate: by_type", result.lines[0])
    assert result.lines[1].startswith("other: ")
    document = succeed("health", "--schema", "public", "--schema", "other", "--json", url=crm).json()
    assert [each["schema"] for each in document["schemas"]] == ["public", "other"]


# What is looked at ----------------------------------------------------------------------------------------------------


def test_without_tables_there_is_no_index_to_look_at(database_url):
    with nothing_changes(database_url):
        result = succeed("health", url=database_url)

    assert "has none of the tables, so there is no index to look at." in result.stdout
    assert run(*result.next_command(), url=database_url).exit_code == 0


def test_indexes_that_are_not_built_yet_are_said_and_are_no_error(sqlite_base_url):
    document = health(sqlite_base_url)

    assert {each["state"] for each in document["indexes"]} == {"missing"}
    assert {each["bytes"] for each in document["indexes"]} == {None}
    result = run("health", url=sqlite_base_url)
    assert "Not built yet: ix_activity_openphone_id, " in result.stdout
    succeed(*result.next_command(), url=sqlite_base_url)
    assert {each["state"] for each in health(sqlite_base_url)["indexes"]} == {"valid"}


def test_an_index_that_does_not_exist_is_refused_with_those_that_do(sqlite_head_url):
    refused = refuses(sqlite_head_url, "health", "ix_activity_typ", exit_code=2)

    assert "such an index: ix_activity_typ may be ix_activity_type." in refused.stderr
    names = re.search(r"Name indexes among these: (.*)\.", refused.stderr)[1].split(", ")
    assert set(names) > TEN_NAMES
    succeed("health", *names, url=sqlite_head_url)


def test_all_shows_the_indexes_that_are_not_declared(sqlite_head_url):
    execute(sqlite_head_url, "CREATE INDEX by_status ON activity (status)")

    assert "by_status" not in {each["index"] for each in health(sqlite_head_url)["indexes"]}
    assert of("by_status", health(sqlite_head_url, "--all"))["declared"] is False
    assert [each["index"] for each in health(sqlite_head_url, "by_status")["indexes"]] == ["by_status"]


def test_an_index_with_another_definition_is_pointed_out(sqlite_head_url):
    execute(sqlite_head_url, f"DROP INDEX {NAME}", f"CREATE INDEX {NAME} ON {TABLE} (status)")
    result = succeed("health", url=sqlite_head_url)

    assert of(NAME, health(sqlite_head_url))["state"] == "different"
    assert "Not as declared: ix_activity_type. Compare: python cli.py check" in result.stdout
    assert run(*result.next_command(), url=sqlite_head_url).exit_code == 4


def test_an_index_that_existed_before_up_was_built_at_a_time_that_is_not_known(base_url):
    execute(base_url, f"CREATE INDEX {NAME} ON activity (activity_type)")
    succeed("up", url=base_url)

    known = {each["index"]: (each["build_is_known"], each["since_event"]) for each in health(base_url)["indexes"]}
    assert {name for name, (is_known, _) in known.items() if not is_known} == {NAME}
    assert known.pop(NAME)[1] != "built"
    assert {event for _, event in known.values()} == {"built"}


# Rights ---------------------------------------------------------------------------------------------------------------


def test_a_role_that_may_only_read_sees_as_much_but_for_what_a_policy_or_a_missing_right_hides(superuser_url, head_url):
    analyzed(head_url, WRITE)
    same = ("bytes", "scans", "since", "writes", "modified", "state")
    rights = ("GRANT USAGE ON SCHEMA public TO {role}", "GRANT SELECT ON ALL TABLES IN SCHEMA public TO {role}")
    with another_role(superuser_url, *rights) as reader:  # a superuser makes the role
        url = as_role(head_url, reader)
        seen, owners = health(url, NAME)["indexes"][0], health(head_url, NAME)["indexes"][0]
        assert {key: seen[key] for key in same} == {key: owners[key] for key in same}
        assert facts_of(url, NAME).statistics.exist is True
        execute(head_url, "ALTER TABLE activity ENABLE ROW LEVEL SECURITY")
        assert facts_of(url, NAME).statistics.exist is None
        execute(head_url, "ALTER TABLE activity DISABLE ROW LEVEL SECURITY", f"REVOKE SELECT ON activity FROM {reader}")
        assert facts_of(url, NAME).statistics.exist is None
        assert facts_of(head_url, NAME).statistics.exist is True


def test_a_server_that_does_not_count_is_said(superuser_url, head_url):
    name = superuser_url.rsplit("/", 1)[1]
    execute(superuser_url, f"ALTER DATABASE {name} SET track_counts = off")  # which only a superuser may

    assert of(NAME, health(head_url))["scans"] is None
    assert "counts nothing (track_counts is off)" in succeed("health", url=head_url).stdout


def test_hostile_names_are_shown_as_codes_and_quoted_in_statements(head_url):
    name = 'odd \x1b[31m%s%d "name'
    quoted = '"' + name.replace('"', '""') + '"'
    execute(head_url, f"CREATE INDEX {quoted} ON activity (activity_type)")
    text = advised(examined(head_url))[f"duplicate {name}"]

    assert "\x1b" not in succeed("health", "--all", url=head_url).stdout
    execute(head_url, dropping(text))
    assert kinds(head_url) == set()


def test_the_lookups_of_a_deep_check_are_no_scans(head_url):
    execute(head_url, "INSERT INTO activity (activity_type) VALUES ('call'), ('email')")
    scanned = "SELECT pg_stat_get_numscans('ix_activity_type'::regclass)"
    succeed("check", "--deep", NAME, url=head_url)
    until(lambda: execute(head_url, scanned) != [(0,)], "the count of the lookups")
    index = of(NAME, health(head_url))

    assert (index["scans"], index["own_scans"], index["last_scan"], index["tuples_per_scan"]) == (0, 2, None, None)
    assert "The lookups of check --deep, the last on " in succeed("health", NAME, url=head_url).stdout


# Advice ---------------------------------------------------------------------------------------------------------------


def test_an_identical_index_is_a_duplicate_and_a_narrow_one_superfluous_and_both_can_be_dropped(any_head_url):
    made = ("CREATE INDEX by_type ON activity (activity_type)", "CREATE INDEX narrow ON activity (conversation_id)")
    execute(any_head_url, *made)
    texts = advised(examined(any_head_url))

    assert texts["duplicate by_type"].startswith("by_type is a duplicate of ix_activity_type")
    assert texts["superfluous narrow"].startswith("narrow (conversation_id) can be dropped")
    execute(any_head_url, *map(dropping, texts.values()))
    assert advised(examined(any_head_url)) == {}


@pytest.mark.parametrize(
    ("instead", "said"),
    [
        ((), "under another name. Rename it: "),
        (("CREATE INDEX ix_activity_type ON activity (status)",), "and ix_activity_type has another one."),
    ],
    ids=["missing", "different"],
)
def test_a_duplicate_is_not_to_be_dropped_while_the_declared_index_does_not_serve(any_head_url, instead, said):
    execute(any_head_url, "DROP INDEX ix_activity_type", *instead, "CREATE INDEX by_type ON activity (activity_type)")
    text = advised(examined(any_head_url))["duplicate by_type"]

    assert said in text
    assert "drop" not in text.lower()


def test_a_duplicate_is_not_to_be_dropped_while_the_declared_index_is_invalid(head_url):
    execute(head_url, "CREATE INDEX by_type ON activity (activity_type)")
    leftovers.not_valid(head_url, "ix_activity_type", "activity")

    text = advised(examined(head_url))["duplicate by_type"]
    assert text == "by_type is a duplicate of ix_activity_type, which is not valid."


def dropping(text: str) -> str:
    """Return the statement that an advice gives to drop an index."""
    return re.search(r"Drop it: (DROP INDEX .*);", text)[1]


def test_an_invalid_index_of_others_is_rebuilt_and_a_unique_one_is_dropped_because_that_may_fail_again(head_url):
    execute(head_url, "INSERT INTO activity (activity_type) VALUES ('call'), ('call')")
    leftovers.not_ready(head_url, "plain", "activity (status)")
    with pytest.raises(psycopg2.errors.UniqueViolation):
        execute(head_url, "CREATE UNIQUE INDEX CONCURRENTLY alone ON activity (activity_type)")
    texts = advised(examined(head_url))

    assert texts["invalid plain"].startswith("plain is not ready: no query uses it")
    assert "; or drop it: DROP INDEX CONCURRENTLY" in texts["invalid plain"]
    assert "; or, once no two rows have the same key, rebuild it: REINDEX INDEX CONCURRENTLY" in texts["invalid alone"]
    rebuild, drop = (re.search(r"it: (.*?);", texts[f"invalid {name}"])[1] for name in ("plain", "alone"))
    execute(head_url, rebuild, drop)
    assert "invalid" not in {advice.kind for advice in examined(head_url).advice}


def test_a_declared_index_that_is_invalid_is_rebuilt_by_the_command(head_url):
    leftovers.not_valid(head_url, NAME, TABLE)
    result = run("health", "--strict", "invalid", url=head_url)

    assert result.exit_code == 4
    assert f"{NAME} is not valid: no query uses it, and writes may go on paying for it." in result.stdout
    succeed(*result.next_command(), url=head_url)
    assert kinds(head_url) == set()


def test_a_leftover_of_an_interrupted_reindex_is_no_invalid_index_besides(head_url):
    name = leftovers.ccnew(head_url, NAME, TABLE)

    assert kinds(head_url) == {("leftover", name)}


def test_an_index_that_is_being_built_is_a_note_and_no_advice(base_url):
    with open_writer(base_url), running("up", "--jobs", "1", url=base_url):
        until_phase(base_url, "waiting for writers before build")
        result = run("health", "--strict", "all", url=base_url)

    assert result.exit_code == 0
    assert re.search(r"ix_\w+ is being built or dropped by another session \(pid \d+\)\.", result.stdout)


def test_statistics_are_old_once_a_tenth_of_the_rows_has_changed(any_head_url):
    analyzed(any_head_url, A_THOUSAND_ROWS)
    assert kinds(any_head_url, NAME) == set()
    execute(any_head_url, "DELETE FROM activity WHERE id <= 300")

    until(lambda: kinds(any_head_url, NAME) == {("statistics", NAME)}, "the count of the deleted rows")
    succeed(*run("health", NAME, url=any_head_url).next_command(), url=any_head_url)
    until(lambda: kinds(any_head_url, NAME) == set(), "the end of the advice")


A_THOUSAND_ROWS = """
    WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 1000)
    INSERT INTO activity (openphone_id, activity_type) SELECT 'AC' || i, 'call' FROM n
"""


def test_a_table_with_rows_and_without_statistics_is_advised(any_head_url):
    execute(any_head_url, "INSERT INTO activity (activity_type) VALUES ('call')")
    (text,) = set(advised(examined(any_head_url)).values())

    assert text == "activity has 1 row and no statistics. Gather new statistics: python cli.py analyze"
    execute(any_head_url, "INSERT INTO webhook_event (event_type) VALUES ('a')")
    text = succeed("health", url=any_head_url).stdout
    together = "The statistics of activity, webhook_event are missing or old. Gather new statistics: "
    assert (f"{together}python cli.py analyze" in text, text.count("cli.py analyze")) == (True, 1)


def test_a_bloated_index_is_rebuilt_by_the_command_of_the_advice(any_base_url):
    execute(any_base_url, MANY_ROWS)
    succeed("up", url=any_base_url)
    assert kinds(any_base_url, BLOATED) - {("statistics", BLOATED)} == set()
    for suffix in "xy":
        execute(any_base_url, f"UPDATE activity SET openphone_id = openphone_id || '{suffix}'")
    execute(any_base_url, "DELETE FROM activity WHERE id % 2 = 0")
    execute(any_base_url, "VACUUM ANALYZE activity" if is_postgres(any_base_url) else "ANALYZE")
    result = run("health", BLOATED, "--strict", "bloated", url=any_base_url)

    assert result.exit_code == 4
    assert re.search(f"{BLOATED}: .* a rebuild would leave about .*Rebuild it: python cli.py reindex", result.stdout)
    before = of(BLOATED, health(any_base_url, BLOATED))
    succeed(*result.next_command(), url=any_base_url)
    assert of(BLOATED, health(any_base_url, BLOATED))["bytes"] == pytest.approx(before["bytes_after_rebuild"], rel=0.05)


BLOATED = "ix_activity_openphone_id"
MANY_ROWS = """
    WITH RECURSIVE n (i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 25000)
    INSERT INTO activity (openphone_id) SELECT 'AC' || (i * 7919 % 24989) || 'abcdefabcdefabcdefabcdef' FROM n
"""


def test_strict_fails_for_the_kinds_that_it_names_alone(sqlite_head_url):
    execute(sqlite_head_url, "CREATE INDEX by_type ON activity (activity_type)")

    assert run("health", "--strict", "duplicate", url=sqlite_head_url).exit_code == 4
    assert run("health", "--strict", "all", "--json", url=sqlite_head_url).json()["exit_code"] == 4
    assert run("health", "--strict", "superfluous,hash-distinct", url=sqlite_head_url).exit_code == 0


def test_an_unknown_kind_is_refused_with_the_known_ones(sqlite_head_url):
    refused = run("health", "--strict", "bloat", url=sqlite_head_url)

    assert refused.exit_code == 2
    assert "The kinds are: invalid, leftover, suspect, bloated" in refused.stderr
