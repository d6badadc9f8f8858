"""A Citus cluster for the tests: the CRM's tables in a schema of their own, for their plain owner.

TEST_CITUS_URL names a database on a coordinator, for a superuser or for a role that may make a schema there. The
workers are reached by the names under which the coordinator knows them.
"""

from __future__ import annotations

import os
import re
import time
import uuid
from collections.abc import Iterator, Sequence
from contextlib import closing
from typing import NamedTuple

import pytest
from command import TEN_NAMES, Result, ask, connect, execute, run
from roles import as_owner, make_roles
from scenes import Run, running

ONE_AT_A_TIME = 7_305_117  # an advisory lock

TABLES = """
    CREATE TABLE contact (id bigint PRIMARY KEY, phone varchar(20));
    CREATE TABLE conversation (id bigint, contact_id bigint);
    CREATE TABLE activity (
        id bigint, openphone_id varchar(100), conversation_id bigint, contact_id bigint,
        activity_type varchar(20), created_at timestamp
    );
    CREATE TABLE campaign_membership (id bigint, contact_id bigint, campaign_id bigint, status varchar(50));
    CREATE TABLE contact_flag (id bigint, contact_id bigint, flag_type varchar(50) NOT NULL);
    CREATE TABLE webhook_event (id bigint, event_type varchar(50), processed boolean);
    SET citus.shard_count = 4;
    SELECT create_distributed_table('contact', 'id');
    SELECT create_distributed_table('conversation', 'contact_id');
    SELECT create_distributed_table('activity', 'contact_id');
    SELECT create_distributed_table('contact_flag', 'contact_id');
    SELECT create_reference_table('campaign_membership');
    INSERT INTO contact SELECT n, '+1202' || n FROM generate_series(1, 500) AS n;
    INSERT INTO activity (id, contact_id) SELECT n, n % 500 + 1 FROM generate_series(1, 5000) AS n;
    INSERT INTO contact_flag SELECT n, n, 'opted_out' FROM generate_series(1, 500) AS n;
    INSERT INTO webhook_event SELECT n, 'message.received', false FROM generate_series(1, 500) AS n
"""

# In the place of activity, a table with two partitions.
PARTITIONED = """
    DROP TABLE activity;
    CREATE TABLE activity (
        id bigint, openphone_id varchar(100), conversation_id bigint, contact_id bigint,
        activity_type varchar(20), created_at timestamp
    ) PARTITION BY RANGE (created_at);
    SET citus.shard_count = 4;
    SELECT create_distributed_table('activity', 'contact_id');
    CREATE TABLE activity_2024 PARTITION OF activity FOR VALUES FROM (MINVALUE) TO ('2025-01-01');
    CREATE TABLE activity_2025 PARTITION OF activity FOR VALUES FROM ('2025-01-01') TO (MAXVALUE);
    INSERT INTO activity SELECT n, n, n, n % 500 + 1, 'call', timestamp '2024-12-30' + n * interval '1 min'
      FROM generate_series(1, 5000) AS n
"""

SHARDS = """
    SELECT result
      FROM run_command_on_placements('{schema}.activity', $$
           SELECT count(*)
             FROM pg_index
            WHERE indrelid = '%s'::regclass AND indisvalid AND indisready AND indislive $$)
"""


class Cluster(NamedTuple):
    """The CRM's tables in a separate schema, for their plain owner: one local, one copied, the rest distributed."""

    url: str
    schema: str
    worker_url: str

    def run(self, *arguments: str, url: str | None = None) -> Result:
        """Run a command on them."""
        return run(*arguments, "--schema", self.schema, url=url or self.url)

    def succeed(self, *arguments: str) -> Result:
        """Run a command that has to exit with 0."""
        result = self.run(*arguments)
        assert result.exit_code == 0, result
        return result

    def in_background(self, *arguments: str) -> Run:
        """Start a command in the background."""
        return running(*arguments, "--schema", self.schema, url=self.url)

    def valid_indexes(self) -> set[str]:
        """Return those of the ten indexes that are valid on the coordinator."""
        rows = ask(
            self.url,
            f"""SELECT c.relname
                  FROM pg_index AS i
                  JOIN pg_class AS c ON c.oid = i.indexrelid
                 WHERE c.relnamespace = '{self.schema}'::regnamespace AND i.indisvalid AND i.indisready AND i.indislive
            """,
        )
        return TEN_NAMES & {name for (name,) in rows}

    def indexes_of_shards(self) -> set[int]:
        """Return the numbers of valid indexes that the shards of activity have."""
        return {int(count) for (count,) in execute(self.url, SHARDS.format(schema=self.schema))}


@pytest.fixture
def coordinator() -> Iterator[str]:
    """URL of the cluster, for one test at a time: a build waits for the snapshots of another one's."""
    given = os.environ.get("TEST_CITUS_URL")
    if not given:
        pytest.skip("needs a Citus cluster: TEST_CITUS_URL is not set")
    with closing(connect(given)) as connection, connection.cursor() as cursor:

        def is_locked() -> bool:
            cursor.execute("SELECT pg_try_advisory_lock(%s)", (ONE_AT_A_TIME,))
            return cursor.fetchone() == (True,)

        while not is_locked():
            time.sleep(0.05)
        yield given


@pytest.fixture
def cluster(coordinator: str) -> Iterator[Cluster]:
    given = coordinator
    schema, url = f"test_{uuid.uuid4().hex[:12]}", given
    if execute(given, "SELECT rolsuper FROM pg_roles WHERE rolname = current_user") == [(True,)]:
        make_roles(given)
        url = as_owner(given)
        execute(given, f"CREATE SCHEMA {schema} AUTHORIZATION {execute(url, 'SELECT current_user')[0][0]}")
    else:
        execute(given, f"CREATE SCHEMA {schema}")
    try:
        execute(url, f"SET search_path TO {schema}", TABLES)
        workers = "SELECT nodename, nodeport FROM pg_dist_node WHERE groupid > 0 AND noderole = 'primary'"
        ((host, port), *_) = execute(url, workers)
        yield Cluster(url, schema, re.sub(r"(//[^/?]*@)[^/?]*", rf"\g<1>{host}:{port}", url))
    finally:
        execute(given, f"DROP SCHEMA {schema} CASCADE")


# What is broken ------------------------------------------------------------------------------------------------------


def only_as_superuser() -> None:
    """Skip the test unless TEST_CITUS_URL is that of a superuser, who alone can break an index in every way."""
    if execute(os.environ["TEST_CITUS_URL"], "SELECT rolsuper FROM pg_roles WHERE rolname = current_user") != [(True,)]:
        pytest.skip("breaks indexes as a superuser, and TEST_CITUS_URL is not one's")


def marking(index: str, flags: str) -> str:
    """Return the statement with which a superuser marks an index."""
    return f"UPDATE pg_catalog.pg_index SET {flags} WHERE indexrelid = '{{schema}}.{index}'::regclass"


def shard_on(cluster: Cluster, table: str = "activity") -> int:
    """Return the first shard of a table on the worker of the cluster."""
    port = int(re.search(r":(\d+)/", cluster.worker_url)[1])
    ((shard,), *_) = execute(
        cluster.url,
        f"""SELECT s.shardid
              FROM pg_dist_shard AS s
              JOIN pg_dist_placement AS p USING (shardid)
              JOIN pg_dist_node AS n USING (groupid)
             WHERE s.logicalrelid = '{cluster.schema}.{table}'::regclass
               AND n.nodeport = {port}
             ORDER BY 1
        """,
    )
    return shard


def commit(cluster: Cluster, here: Sequence[str], there: Sequence[str], **shards: int) -> int:
    """Execute statements on the coordinator and on the worker, as the superuser; return the shard that they name.

    Args:
        shards: other shards that they name.
    """
    shard, given = shard_on(cluster), os.environ["TEST_CITUS_URL"]
    worker = re.search(r"//[^/?]*@", given)[0] + re.search(r"@([^/?]*)", cluster.worker_url)[1]
    for url, statements in ((given, here), (re.sub(r"//[^/?]*", worker, given), there)):
        if statements:
            execute(url, *(each.format(schema=cluster.schema, shard=shard, **shards) for each in statements))
    return shard
