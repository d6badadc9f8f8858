"""Engines that speak PostgreSQL's protocol and are not PostgreSQL are recognised and refused before anything is asked.

None of them is here: the strings are those that their own servers and documentation print.
"""

from __future__ import annotations

import pytest
from command import run
from fake_engine import fake_engine

from indexer.postgres.session.engines import ENGINES, Said, recognised, refusal

OTHERS = {
    "CockroachDB CCL v26.2.5 (x86_64-pc-linux-gnu, built 2026/07/28 18:56:00, go1.25.5)": "CockroachDB",
    "PostgreSQL 11.2-YB-2.6.1.0-b0 on x86_64-pc-linux-gnu, compiled by gcc (Homebrew 5.5.0_4), 64-bit": "YugabyteDB",
    "PostgreSQL 15.12-YB-2026.1.0.1-b0 on x86_64-pc-linux-gnu, compiled by clang version 21.1.1, 64-bit": "YugabyteDB",
    "PostgreSQL 8.0.2 on i686-pc-linux-gnu, compiled by GCC gcc (GCC) 3.4.2, Redshift 1.0.48805": "Amazon Redshift",
    "PostgreSQL 9.5 on x86_64-unknown-linux-gnu (Materialize 26.36.0)": "Materialize",
    "PostgreSQL 13.14.0-RisingWave-3.0.2 (391c3a16ef26d0cd86d1236c9b7c122a9a27fb1e)": "RisingWave",
    "CrateDB 5.2.3 (built 48fd7b4/2023-02-23T13:24:02Z, Linux 5.15 amd64, OpenJDK 64-Bit Server VM)": "CrateDB",
    "PostgreSQL 12.3, compiled by Visual C++ build 1914, 64-bit, QuestDB": "QuestDB",
    "PostgreSQL 16.3 GreptimeDB 0.17.0": "GreptimeDB",
    "PostgreSQL 9.4.26 (Greenplum Database 6.25.3 build commit:367edc6 Open Source) on x86_64, 64-bit": "Greenplum",
    "PostgreSQL 9.2.4 (openGauss 5.0.0 build a07d57c3) compiled at 2023-03-29 03:37:13 on x86_64, 64-bit": "openGauss",
    "Vertica Analytic Database v11.1.0-0": "Vertica",
}
POSTGRESQL = (
    "PostgreSQL 15.18 (Debian 15.18-1.pgdg12+1) on x86_64-pc-linux-gnu, compiled by gcc (Debian 12.2.0) 12.2.0, 64-bit",
    "PostgreSQL 17.10 on x86_64-pc-linux-musl, compiled by gcc (Alpine 15.2.0) 15.2.0, 64-bit",
    "PostgreSQL 16.1, compiled by Visual C++ build 1937, 64-bit",
    "PostgreSQL 13.3 on x86_64-pc-linux-gnu, compiled by x86_64-pc-linux-gnu-gcc (GCC) 7.4.0, 64-bit",
    "PostgreSQL 17.4 - Percona Server for PostgreSQL 17.4.1 on x86_64-pc-linux-gnu, compiled by gcc 11.5.0, 64-bit",
    "PostgreSQL 16.2 (EnterpriseDB Advanced Server 16.2.0) on x86_64-pc-linux-gnu, compiled by gcc 8.5.0, 64-bit",
)


@pytest.mark.parametrize(("version", "name"), OTHERS.items())
def test_an_engine_that_is_not_postgresql_is_recognised_by_its_version(version: str, name: str) -> None:
    engine = recognised(Said(version))
    assert engine
    assert engine.name == name
    assert f"The server is {name}, which only speaks PostgreSQL's protocol: " in refusal(Said(version)).message


@pytest.mark.parametrize("version", POSTGRESQL)
def test_postgresql_and_what_adds_to_it_is_not_refused(version: str) -> None:
    assert refusal(Said(version, "15.18", None, "ydb", "questdb.immudb.example.org")) is None


def test_an_engine_is_recognised_by_what_it_sends_first_or_by_its_host_name() -> None:
    assert recognised(Said("", "14.1", None, "PGAdapter")).name == "Google Cloud Spanner"
    assert recognised(Said("", "16.15", None, "admin", "abc2d.dsql.eu-west-1.on.aws")).name == "Amazon Aurora DSQL"
    assert recognised(Said("", "14.5 (ydb stable-23-4)")).name == "YDB"


def test_an_engine_without_a_name_here_is_refused_with_its_version() -> None:
    assert refusal(Said("FutureDB 1.0")).message == "The server is not PostgreSQL: FutureDB 1.0."


def test_each_engine_is_said_in_one_sentence() -> None:
    for engine in ENGINES:
        assert ". " not in f"{engine.difference}. "[:-2]


@pytest.mark.parametrize("command", ["up", "status", "wait", "verify"])
def test_every_command_refuses_it_and_asks_for_nothing_but_its_version(command: str) -> None:
    with fake_engine(
        "PostgreSQL 9.5 on x86_64-unknown-linux-gnu (Materialize 26.36.0)", server_version="9.5.0"
    ) as fake:
        result = run(command, url=fake.url)
    assert result.exit_code == 1, result
    assert result.stderr.startswith("Error: The server is Materialize, which only speaks PostgreSQL's protocol: ")
    assert fake.asked[1:] == ["SELECT pg_catalog.version()"]


def test_one_that_names_itself_at_the_start_is_asked_nothing() -> None:
    with fake_engine("", server_version="13.0.0", crdb_version="CockroachDB CCL v26.2.5 (x86_64)") as fake:
        result = run("up", "--json", url=fake.url)
    assert (result.exit_code, fake.asked) == (1, [])
    assert "CockroachDB" in result.stdout
