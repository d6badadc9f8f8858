# ruff: noqa: E501  a name of a test is not to be broken
"""The hints in the code that hold something to type, and the test that types each of them.

A hint is found wherever it is: Hint(...), or a string with a command, an option or an SQL statement in it.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

from command import CLI

ROOT = CLI.parent
PROGRAM = "python cli.py "
TO_TYPE = re.compile(
    r"python cli\.py|python -m|\bmkdir\b|\brm -|\bpip install\b|(?<![\w-])--[a-z]|SELECT pg_|SET \w+ ="
    r"|\b(GRANT|REVOKE|ALTER|CREATE|DROP|DELETE|REINDEX|ANALYZE|VACUUM|REFRESH|ROLLBACK PREPARED)\b"
)


def program() -> Iterator[Path]:
    """Yield the files of the program."""
    yield from sorted([*ROOT.glob("*.py"), *ROOT.glob("indexer/**/*.py"), *ROOT.glob("sample/**/*.py")])


def collected() -> set[str]:
    """Return the texts that hold something to type, with {} for what is put into them.

    A docstring is none, nor is a word without a space, such as the name of an option, or SQL of several lines.
    """
    return {text for path in program() for text in _strings(ast.parse(path.read_text()))}


def entry_of(text: str) -> str | None:
    """Return the entry for a text."""
    return max((part for part in HINTS if part in f"'{text}'"), key=len, default=None)


def commands(tree: ast.AST) -> Iterator[str]:
    """Yield the commands that a file names as Command(...), with {} for what is put into them."""
    for node in ast.walk(tree):
        if _calls(node, "Command") and not any(isinstance(each, ast.Starred) for each in node.args[:1]):
            yield text_of(node).removeprefix(PROGRAM)


def _calls(node: ast.AST, name: str) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == name


def _strings(tree: ast.Module) -> Iterator[str]:
    for text in texts(tree):
        if TO_TYPE.search(text) and " " in text.strip() and not text.startswith("\n    "):
            yield text


def texts(tree: ast.Module) -> Iterator[str]:
    """Yield the strings of a file but the docstrings, with {} for what is put into them; a hint is one string."""
    nodes = list(ast.walk(tree))
    left_out = {id(node.value) for node in nodes if isinstance(node, ast.Expr)}
    left_out |= {id(part) for node in nodes if isinstance(node, ast.JoinedStr) for part in node.values}
    for node in nodes:
        if (_calls(node, "Hint") or _calls(node, "Command")) and id(node) not in left_out:
            left_out |= {id(each) for each in ast.walk(node) if each is not node}
    for node in nodes:
        if id(node) not in left_out:
            yield text_of(node)


def text_of(node: ast.AST) -> str:
    """Return a string, or the text of Hint(...) or Command(...), with {} for what is not known here; else nothing."""
    if _calls(node, "Command"):
        return PROGRAM + " ".join(text_of(word) or "{}" for word in node.args)
    if _calls(node, "Hint"):
        return "".join(text_of(part) or "{}" for part in node.args)
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "{}" for part in node.values)
    return node.value if isinstance(node, ast.Constant) and isinstance(node.value, str) else ""


SENT = "The program executes it."
NO_COMMAND = "It mentions a command, but does not ask to run it."

# For a part of each hint the tests that type it or, if none can, the reason. Of several matching parts the longest
# counts; a quote marks the beginning or the end of the hint.
HINTS: dict[str, str | tuple[str, ...]] = {
    "'ANALYZE {}'": SENT,
    "'python cli.py'": "It is the name of the program.",
    "Lower --parallel.": "test_databases::test_the_last_connections_of_a_server_are_left_to_others",
    "(--first) ended with exit code": NO_COMMAND,
    "'{}python cli.py status'": "test_databases::test_nothing_else_is_begun_if_the_first_does_not_end_well",
    "--first names {}, which does not exist": NO_COMMAND,
    "--first is for several": "test_databases::test_what_does_not_fit_together_is_wrong_usage",
    "--also is for one database": "test_databases::test_what_does_not_fit_together_is_wrong_usage",
    "or name one --database-url.": "test_databases::test_what_does_not_fit_together_is_wrong_usage",
    "auto; 1 with --parallel": NO_COMMAND,
    "cannot be combined.": "test_hints::test_without_the_option_that_is_to_be_left_out_the_command_works",
    "'ALTER TABLE {} OWNER TO {}": "test_rights::test_for_a_table_of_a_superuser_the_hint_changes_its_owner_and_grants_no_role",
    "is not inherited. See what to build": "test_inheritance::test_verify_names_the_child_that_a_query_reads_from_end_to_end",
    "Leave out --sql or --json.": "test_hints::test_without_the_option_that_is_to_be_left_out_the_command_works",
    "Leave out --all-schemas.": "test_hints::test_a_schema_is_named_or_sought_and_without_the_pattern_the_command_works",
    "add --verbose": "test_cli::test_verbose_shows_the_traceback_and_the_error_all_the_same",
    "{} --help": "test_hints::test_the_command_of_a_hint_works_as_it_is_printed",
    "The file of {} does not exist yet": "test_wait::test_wait_reports_a_sqlite_file_that_does_not_exist",
    "Then review it": "test_scaffold::test_the_command_in_the_output_of_new_shows_the_plan",
    "{}. To {} it, run: python cli.py up": "test_hints::test_the_command_of_a_hint_works_as_it_is_printed",
    "'To repair them, run: python cli.py up": "test_wait::test_wait_for_applied_ends_as_check_does_once_its_time_is_over",
    "'To build it, run: python cli.py up": "test_gate::test_the_gate_is_closed_while_a_revision_is_pending_and_up_opens_it",
    "'To rebuild them, run: ": "test_gate::test_the_gate_is_closed_by_an_index_that_a_deep_check_found_corrupt",
    "'When all nodes answer, run: ": "test_gate::test_the_gate_does_not_name_a_node_that_does_not_answer",
    "'--log-format json'": NO_COMMAND,
    "To see the statements that build them": "test_inheritance::test_up_warns_of_a_child_with_rows_and_check_fails_until_it_is_indexed",
    "Cannot tell whether these indexes are valid": "test_citus_placements::test_a_node_that_does_not_answer_is_named_with_the_next_step",
    "See why: python cli.py verify": "test_hints::test_the_command_of_a_hint_works_as_it_is_printed",
    "(all columns: --sql)": "test_hints::test_the_columns_of_the_tables_to_be_made_are_in_the_script",
    "for the sample of ANALYZE": NO_COMMAND,
    "rows unknown until ANALYZE": "test_hints::test_with_statistics_no_hint_asks_to_gather_them",
    "interrupted replacement. Finish it": "test_adoption::test_a_replacement_killed_in_any_step_is_resumed",
    "may be corrupt": "test_collation::test_an_index_built_with_another_version_is_suspect_until_it_is_found_clean",
    "'Corrupt: ": "test_deep::test_check_exits_with_4_and_names_the_command_that_rebuilds_it",
    "REFRESH VERSION": "test_collation::test_the_sentence_about_recording_a_version_counts_the_other_indexes",
    "REFRESH COLLATION VERSION": "test_collation::test_the_default_of_the_database_is_recorded_by_altering_the_database",
    "'Add --deep.'": "test_deep::test_options_of_deep_checks_need_deep",
    "'check --deep'": NO_COMMAND,
    "'With --deep": NO_COMMAND,
    "Then check the others by name": "test_deep::test_an_index_that_crashes_its_reader_is_corrupt_and_the_last_one_checked",
    "check --deep {} --timeout": "test_deep::test_a_check_that_takes_too_long_is_cancelled_and_says_how_to_allow_more",
    "CREATE EXTENSION amcheck": "test_deep::test_an_administrator_gets_the_statements_that_let_a_plain_owner_call_amcheck",
    "ALTER EXTENSION amcheck": "test_deep::test_an_administrator_gets_the_statements_that_let_a_plain_owner_call_amcheck",
    "interrupted REINDEX CONCURRENTLY": "test_check::test_a_leftover_of_a_cancelled_reindex_is_advised",
    "under another name. Rename it": "test_adoption::test_a_duplicate_is_renamed_when_that_is_asked_for_and_renamed_back_by_down",
    "Name Alembic's version table": "test_alembic::test_a_version_table_of_another_name_or_schema_is_kept_in_step_once_it_is_named",
    "'--version-table {}": "test_alembic::test_a_version_table_of_another_name_or_schema_is_kept_in_step_once_it_is_named",
    "GRANT USAGE ON SCHEMA": (
        "test_alembic::test_a_version_table_in_a_closed_schema_is_kept_in_step_with_the_rights_that_are_printed",
        "test_predicates::test_up_refuses_with_the_grant_if_the_role_may_not_use_the_schema_of_the_extension",
        "test_verify::test_a_role_that_may_not_use_the_schema_is_told_what_to_grant",
    ),
    "GRANT SELECT, UPDATE ON": "test_alembic::test_a_role_that_may_not_read_alembics_table_gets_the_grants_to_type",
    "python cli.py wait": "test_hints::test_the_command_of_the_hint_waits_for_a_locked_file",
    "After up, see the statements": "test_inheritance::test_up_warns_of_a_child_with_rows_and_check_fails_until_it_is_indexed",
    "Leave --schema and --all-schemas out.": "test_hints::test_without_the_option_that_is_to_be_left_out_the_command_works",
    "See what has the name now": "test_hints::test_the_command_of_the_hint_shows_a_conflict_that_was_created_during_a_run",
    "{} cannot get its former name {} back": "test_adoption::test_a_way_back_whose_old_name_is_taken_is_refused_before_any_change",
    "ON scratch": SENT,
    "TABLE scratch": SENT,
    "INDEX '": SENT,
    "INDEX CONCURRENTLY '": SENT,
    "'python cli.py {} {} {}'": "test_runner::test_a_plan_names_the_command_that_does_what_it_shows",
    "Drop the later indexes: python cli.py down": "test_hints::test_the_command_of_a_hint_works_as_it_is_printed",
    "Drop the later indexes if nothing needs them": "test_hints::test_unrecorded_indexes_are_dropped_and_then_the_base_is_stamped",
    "GRANT EXECUTE ON FUNCTION": "test_rights::test_a_role_that_may_not_begin_a_session_gets_the_grant",
    "ALTER ROLE {role} LOGIN": "test_rights::test_a_role_that_may_not_log_in_gets_the_statement_that_lets_it",
    "GRANT CONNECT ON DATABASE": "test_rights::test_a_role_that_may_not_begin_a_session_gets_the_grant",
    "CONNECTION LIMIT": "test_connections::test_the_error_of_a_refused_first_session_names_the_limit",
    "python cli.py analyze": "test_analyze::test_a_role_that_may_not_analyze_a_table_gets_the_grant_that_lets_it",
    "GRANT MAINTAIN ON": "test_analyze::test_a_role_that_may_not_analyze_a_table_gets_the_grant_that_lets_it",
    "give a longer --window": "test_pace::test_a_build_that_fits_into_no_window_is_said_to_and_begins_in_a_longer_one",
    "Name one of them: --database-url": "test_folder::test_models_that_are_bound_to_several_databases_leave_the_choice_to_the_user",
    "completion {}": "test_completion::test_the_program_that_a_shell_cannot_complete_says_so",
    "Name the schema of the tables": "test_rights::test_a_role_that_may_not_use_the_schema_gets_the_grant_in_two_steps",
    "add --schema {}": "test_search_path::test_a_schema_that_is_pointed_at_is_quoted_for_the_shell",
    "CREATE EXTENSION": "test_kinds::test_an_extension_that_is_missing_is_named_and_brings_what_lacks",
    "REINDEX INDEX ": SENT,
    "Give the server's own address": "test_pooler::test_the_hint_helps",
    "ALTER FUNCTION ... SET search_path": "test_server_errors::test_an_event_triggers_function_that_relies_on_a_search_path_is_named_with_a_remedy",
    "REINDEX the index that it names": "No test damages an index of the server's catalog (SQLSTATE XX002).",
    "'ALTER DEFAULT PRIVILEGES": "test_rights::test_default_privileges_that_revoke_the_owners_rights_are_found_before_the_first_change",
    "'GRANT {} ON SCHEMA": "test_rights::test_all_missing_rights_are_listed_at_once_with_the_statements_that_grant_them",
    "'GRANT CREATE ON TABLESPACE": "test_unbuildable::test_up_refuses_with_the_grant_if_the_role_may_not_use_the_default_tablespace",
    "'SELECT, INSERT, UPDATE, DELETE'": "test_rights::test_all_missing_rights_are_listed_at_once_with_the_statements_that_grant_them",
    "'GRANT SELECT ON pg_catalog.": "test_rights::test_missing_rights_on_the_catalog_are_granted_by_the_printed_statements",
    "'GRANT {} ON {} TO": "test_rights::test_commands_that_only_read_print_the_grants_that_they_need",
    "'GRANT {} TO {}": "test_rights::test_all_missing_rights_are_listed_at_once_with_the_statements_that_grant_them",
    "A superuser can raise the limit": "test_connections::test_a_role_with_one_connection_is_refused_before_the_first_change_with_the_limit_to_raise",
    "To build two at once": "test_side_by_side::test_with_the_option_of_the_warning_two_indexes_are_built_at_once",
    "--jobs 1": "test_connections::test_a_role_with_two_connections_builds_one_index_after_the_other",
    "if its rows can be trusted": "test_trust::test_the_record_of_another_role_can_be_given_to_the_owner_if_its_rows_can_be_trusted",
    "'ALTER TABLE": "test_trust::test_every_command_refuses_a_record_that_cannot_be_trusted_with_the_remedy",
    "'DROP ": "test_trust::test_every_command_refuses_a_record_that_cannot_be_trusted_with_the_remedy",
    "'ROLLBACK PREPARED": "test_waiting::test_a_limited_wait_ends_in_6_without_a_leftover_and_with_the_statement_that_ends_the_blocker",
    "GRANT pg_read_all_stats": "test_hidden_sessions::test_with_the_granted_right_all_is_shown_and_no_grant_is_advised",
    "pg_terminate_backend": "test_hidden_sessions::test_the_statement_that_ends_a_session_names_who_may_execute_it",
    "REFRESH PUBLICATION": "test_publications::test_the_slot_of_a_first_copy_is_not_taken_for_a_subscription",
    "run on each subscriber: python cli.py up": "test_publications::test_a_subscriber_builds_its_own_indexes_and_records_its_own_runs",
    "--replica number {}": "test_standby::test_a_replica_that_is_no_standby_of_the_server_is_refused_before_the_first_change",
    "--replica is for": "test_standby::test_a_replica_that_is_no_standby_of_the_server_is_refused_before_the_first_change",
    "Add --max-replica-lag": "test_standby::test_a_standby_of_a_standby_is_waited_for_if_it_is_named",
    "repeatable. With --max-replica-lag.": NO_COMMAND,
    "(or add --offline)": (
        "test_timescale::test_once_its_indexes_are_built_the_others_are_built_as_ever_and_stay_apart",
        "test_timescale::test_offline_builds_on_a_hypertable_like_on_any_table",
    ),
    "CREATE INDEX ASYNC": NO_COMMAND,
    "has no CREATE INDEX'": NO_COMMAND,
    "there is no CREATE INDEX'": NO_COMMAND,
    "added by its own ALTER TABLE": NO_COMMAND,
    "SELECT pg_wal_replay_resume();": "test_standby::test_a_run_that_a_standby_has_not_replayed_whole_looks_interrupted_there_and_that_is_said",
    "; CREATE TABLE {} (LIKE": "test_publications::test_records_that_a_subscription_copies_are_no_records_of_the_subscriber",
    "up --adopt-renamed": "test_adoption::test_a_duplicate_is_renamed_when_that_is_asked_for_and_renamed_back_by_down",
    "Run the same command again": "test_hints::test_the_command_of_the_hint_builds_an_index_that_was_dropped_during_a_run",
    "python cli.py new": "test_scaffold::test_a_message_is_needed",
    "CREATE VIRTUAL": NO_COMMAND,
    "Leave --schema out.": "test_hints::test_without_the_option_that_is_to_be_left_out_the_command_works",
    "mkdir -p": "test_hints::test_a_folder_that_is_missing_can_be_made_as_the_hint_says",
    "GRANT SELECT, INSERT, UPDATE, DELETE ON {}": "test_rights::test_a_log_that_our_role_may_not_write_is_a_warning_before_the_run",
    "Delete the row": "test_history::test_a_row_that_no_run_has_written_is_named_with_a_remedy",
    "'ALTER TABLE'": SENT,
    "'GRANT SELECT, INSERT, UPDATE, DELETE ON'": SENT,
    "Use more: --rows 10000": "test_hints::test_as_many_rows_as_a_hint_names_can_be_made",
    "Start again": "test_hints::test_an_interrupted_benchmark_begins_again_by_the_command_of_the_hint",
    "python cli.py seed": "test_publications::test_other_commands_create_no_published_table_either",
    "Use fewer": "test_hints::test_as_many_rows_as_a_hint_names_can_be_made",
    "{}{}{}python cli.py up": "test_verify::test_a_database_that_is_empty_has_no_tables_and_nothing_is_served",
    "{}. Build what is missing: python cli.py up": "test_partitions::test_a_leaf_without_the_index_is_named",
    "{} Complete it: python cli.py up": "test_partitions::test_a_leaf_without_the_index_is_named",
    "is not complete, and not as declared. Compare": "test_partitions::test_an_incomplete_index_that_is_not_as_declared_is_to_be_compared",
    "is missing. Build it": "test_hints::test_the_command_of_a_hint_works_as_it_is_printed",
    "is invalid": "test_verify::test_an_invalid_index_serves_nothing",
    "is being built or dropped": "test_hints::test_status_shows_the_build_of_an_index_that_verify_misses",
    "python cli.py up --replace": "test_hints::test_the_command_of_a_hint_works_as_it_is_printed",
    "Drop it or rename it": "test_hints::test_after_the_drop_that_verify_asks_for_the_index_is_built",
    "Gather them: ANALYZE": "test_hints::test_with_statistics_no_hint_asks_to_gather_them",
    "Then run again: python cli.py verify": "test_predicates::test_verify_plans_no_query_while_an_operator_of_another_role_could_be_taken",
    "Compare the indexes with the revision": "test_hints::test_the_command_of_a_hint_works_as_it_is_printed",
    "SET plan_cache_mode": "test_verify::test_a_prepared_statement_uses_the_partial_index_with_the_setting_that_is_printed",
    "EXPLAIN (ANALYZE": SENT,
    "SQLite has no EXPLAIN ANALYZE.": NO_COMMAND,
    "Leave out --analyze": "test_hints::test_without_the_option_that_is_to_be_left_out_the_command_works",
    "pip install": "A test installs nothing; test_report reads the file that the hint names.",
    "python -m indexer.bench.report": "test_report::test_without_matplotlib_a_warning_says_how_to_draw_the_picture",
    "--out FOLDER": "test_bench::test_a_folder_that_cannot_be_written_is_refused_before_the_measurement",
    "GRANT CREATE ON DATABASE": "test_bench::test_a_role_that_may_not_create_a_schema_gets_the_grant",
    "DROP SCHEMA IF EXISTS {} CASCADE": "test_bench::test_a_process_that_ends_at_once_says_what_it_leaves_and_how_to_remove_it",
    "rm -r {}": "test_bench::test_a_process_that_ends_at_once_says_what_it_leaves_and_how_to_remove_it",
    "SELECT pg_catalog.": SENT,
    "'CREATE SCHEMA {}": SENT,
    "Bring statistics up to date": "test_seed::test_a_seeding_interrupted_after_its_rows_says_how_to_bring_statistics_up_to_date",
    "'VACUUM": SENT,
    "GRANT SELECT ON": "test_verify::test_a_role_that_may_not_read_gets_the_grant",
    "Create and drop performance indexes": NO_COMMAND,
    "Then record what exists": "test_history::test_a_row_that_no_run_has_written_is_named_with_a_remedy",
    "'python cli.py stamp {}": "test_publications::test_other_commands_create_no_published_table_either",
    "To see what was done, run: python cli.py status": "test_hints::test_after_an_end_without_cleaning_up_status_shows_the_state",
    "see what it is doing": "test_hints::test_status_shows_the_progress_of_the_run_that_holds_the_lock",
    "'Fix this, then run: python cli.py bench": "test_bench::test_a_role_that_is_read_only_by_default_is_refused_before_any_row_is_made",
    "Fill an empty database": "test_hints::test_an_empty_database_elsewhere_is_filled_where_this_one_holds_rows",
    "Build the missing indexes: ": "test_hints::test_the_command_of_a_hint_works_as_it_is_printed",
    "Start it, then run: python cli.py verify": "test_citus_readers::test_what_a_node_that_does_not_answer_has_is_unknown",
    "its revision is not. Record that": "test_reindex::test_without_a_record_the_hint_records_the_revision",
    "'python cli.py check'": "test_reindex::test_without_names_what_cannot_be_rebuilt_is_left_out_with_the_next_step",
    "'python cli.py reindex": "test_reindex::test_a_missing_index_ends_in_1_and_up_builds_it",
    "Statistics may be old": SENT,
    "after ANALYZE of {}": SENT,
    "'python cli.py {}'": "It is how the console writes any command.",
    "{} Rebuild it: python cli.py up": "test_health::test_a_declared_index_that_is_invalid_is_rebuilt_by_the_command",
    "Rebuild it: python cli.py reindex": "test_health::test_a_bloated_index_is_rebuilt_by_the_command_of_the_advice",
    "Gather new statistics: python cli.py analyze": "test_health::test_statistics_are_old_once_a_tenth_of_the_rows_has_changed",
    "Not built yet: {}. Build: python cli.py up": "test_health::test_indexes_that_are_not_built_yet_are_said_and_are_no_error",
    "Not as declared: {}. Compare: python cli.py check": "test_health::test_an_index_with_another_definition_is_pointed_out",
    "See what would be built: python cli.py plan": "test_health::test_without_tables_there_is_no_index_to_look_at",
    "--also names a SQLite file": "test_standby::test_health_refuses_a_further_server_that_counts_no_scans",
    "Leave --also out.": "test_standby::test_health_refuses_a_further_server_that_counts_no_scans",
    "--also number {}": NO_COMMAND,
    "--replace leaves indexes of partitioned tables": NO_COMMAND,
    "The lookups of check --deep": NO_COMMAND,
    "each lookup of check --deep": NO_COMMAND,
    "It is not as declared, either. Compare: python cli.py check": "test_health::test_an_index_with_another_definition_is_pointed_out",
    "under other names: {}. Attach these": "test_partitions::test_a_leaf_index_of_others_is_not_attached_unless_that_is_allowed",
    "To drop all of it later": "test_partitions::test_a_plan_says_that_a_leaf_index_of_others_with_the_name_of_up_is_attached",
    "To drop all of it: python cli.py down --include-adopted": "test_partitions::test_a_leaf_index_of_others_is_attached_if_allowed_and_then_kept_by_down_with_the_whole",
    "detach it, or use up --offline": "test_partitions::test_a_foreign_partition_is_found_before_anything_is_made",
    "SET lock_timeout": SENT,
    "--max-wait limits how long": "test_partitions_resumed::test_down_gives_up_after_max_wait_and_names_the_reader",
    "more partitions: plan --sql prints all": "test_partitions::test_a_plan_shows_the_statements_of_a_few_partitions_and_says_how_an_index_is_dropped",
    "Repair those first: python cli.py reindex {}": "test_deep_sqlite::test_the_problems_of_another_index_that_hide_those_of_one_are_repaired_first",
    "see --allow-host": "test_app::test_other_host_names_are_not_answered_because_a_browser_may_be_deceived",
    "Another process still has the file locked.": "test_wait::test_wait_that_was_too_short_for_a_locked_file_does_not_advise_to_wait",
    "'Fix this, then run: python cli.py up'": "test_app::test_a_missing_table_is_the_reason_and_up_only_follows_its_repair",
    "'{}. {} Fix this, then run: python cli.py up'": "test_app::test_a_missing_table_is_the_reason_and_up_only_follows_its_repair",
    "Give --allow-host a name": "test_serve::test_what_cannot_be_served_is_refused",
    "that drop what only shards have, run: python cli.py check": "It needs a node of a Citus cluster that has failed.",
    "see the statement{} with": "test_app::test_no_answer_shows_sql_or_what_only_the_database_says_of_an_index_without_details",
    "To see why, run: python cli.py status": "The service says it in place of what only status may show.",
    "Correct --host.": "test_serve::test_what_cannot_be_served_is_refused",
    "Name another address or port: --host, --port.": "test_server::test_a_port_that_is_taken_is_an_error_with_a_hint",
}
