"""Run the parts of the benchmark, one after the other; those on PostgreSQL on one server that is filled once."""

from __future__ import annotations

import argparse
from contextlib import closing
from pathlib import Path

from benchmarks import contestants, load, results, run, startup
from benchmarks.databases import TENANT, Tenants, files, server


def main() -> None:
    """Run python -m benchmarks."""
    arguments = _parser().parse_args()
    rounds, only, wanted = arguments.rounds or 3, arguments.only, arguments.parts
    if {*wanted} - {"sqlite"}:
        with server(arguments.database_url, arguments.rows) as databases:
            parts = {
                "run": lambda: run.measure(run.POSTGRESQL, databases, rounds, only),
                "load": lambda: load.measure(databases, rounds, arguments.pause, only),
                "startup": lambda: startup.measure(databases, arguments.rounds or startup.RUNS),
                "schemas": lambda: _in_schemas(databases.url, arguments.schemas, rounds),
            }
            for name in (each for each in parts if each in wanted):
                results.publish(name, parts[name](), arguments.results)
    if "sqlite" in wanted:
        with files(arguments.rows) as databases:
            results.publish("sqlite", run.measure(run.SQLITE, databases, rounds, ()), arguments.results)


def _in_schemas(url: str, schemas: int, rounds: int) -> results.Section:
    with closing(Tenants(url, schemas)) as tenants:
        return run.measure(run.in_schemas(tenants.schemas, TENANT), tenants, rounds, ())


def _parser() -> argparse.ArgumentParser:
    parts, names = results.PARTS, [contestant.name for contestant in contestants.ON_POSTGRESQL]
    only = f"only these, beside the two psql baselines: {', '.join(names)}"
    parser = argparse.ArgumentParser("python -m benchmarks", description=__doc__)
    add = parser.add_argument
    add("--parts", nargs="+", choices=parts, default=parts, metavar="PART", help=f"only these of {', '.join(parts)}")
    add("--rows", type=int, default=1_000_000, help="activities, %(default)s by default")
    add("--rounds", type=int, help=f"how often each is measured (default: 3, {startup.RUNS} in startup)")
    add("--database-url", metavar="URL", help="a server to create databases on, else a temporary one")
    add("--only", nargs="+", choices=names, default=(), metavar="NAME", help=only)
    add("--schemas", type=int, default=500, metavar="N", help="schemas of empty tables, %(default)s by default")
    add("--pause", type=float, default=load.PAUSE, metavar="SECONDS", help="between two writes, %(default)s by default")
    add("--results", type=Path, default=results.FOLDER, metavar="FOLDER", help="where results go")
    return parser


if __name__ == "__main__":
    main()
