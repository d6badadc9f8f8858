"""The results: raw numbers in results.json, and results.md drawn from them. Each part of the benchmark is a section."""

from __future__ import annotations

import json
import os
import platform
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, TypeVar

T = TypeVar("T")
FOLDER = Path(__file__).resolve().parent
PARTS = ("run", "load", "startup", "schemas", "sqlite")
PACKAGES = ("click", "peewee", "psycopg2-binary", "rich", "alembic", "SQLAlchemy", "yoyo-migrations")

HEADER = """\
# Benchmark results

Written by `python -m benchmarks`. [README.md](README.md) says what is measured and how to read it, and
[results.json](results.json) has the raw numbers.
"""


@dataclass(frozen=True)
class Aim:
    """A limit that the project set itself, and what was measured."""

    what: str
    limit: float
    measured: float
    unit: str = ""

    def __str__(self) -> str:
        verdict = "met" if self.measured <= self.limit else f"missed by {self.measured - self.limit:.2f}"
        return f"{self.what}: {self.measured:.2f}{self.unit} (aim: at most {self.limit:g}), {verdict}"


def description() -> dict[str, str]:
    """Return the date, the machine and the versions, without names or paths of the machine."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    system = f"{platform.system()} {platform.release()}"
    return {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{os.cpu_count()} cores ({_processor()}), {memory:.0f} GiB, {system}",
        "versions": ", ".join([f"Python {platform.python_version()}", *_packages()]),
        "sqlite": sqlite3.sqlite_version,
    }


def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _packages() -> Iterator[str]:
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            yield f"{name} {version(name)}"


@dataclass(frozen=True)
class Section:
    """The results of one part."""

    title: str
    conditions: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    aims: Sequence[str] = ()
    notes: Sequence[str] = ()
    raw: Any = None
    settings: dict[str, str] = field(default_factory=dict)
    measured_on: dict[str, str] = field(default_factory=description)


def publish(name: str, section: Section, folder: Path) -> None:
    """Replace a section in results.json and results.md, and print it."""
    path = folder / "results.json"
    sections = json.loads(path.read_text()) if path.exists() else {}
    sections[name] = asdict(section)
    path.write_text(json.dumps(sections, indent=1) + "\n")
    drawn = [_draw(sections[name]) for name in PARTS if name in sections]
    (folder / "results.md").write_text("\n".join([HEADER, *drawn]))
    print(_draw(sections[name]), flush=True)


def rounds_of(items: Sequence[T], rounds: int) -> Iterator[T]:
    """Yield the items of each round, in the opposite order of the round before."""
    for number in range(rounds):
        yield from items if number % 2 == 0 else reversed(items)


def ratio(measured: float, baseline: float) -> str:
    """Return the quotient of two measurements."""
    return f"{measured / baseline:.2f}"


def milliseconds(seconds: float) -> str:
    """Return seconds as milliseconds, below 100 with a decimal."""
    return f"{seconds * 1000:.1f}" if seconds < 0.1 else f"{seconds * 1000:.0f}"


def megabytes(number: float) -> str:
    """Return bytes as megabytes."""
    return f"{number / 1e6:.1f}"


def _draw(section: dict[str, Any]) -> str:
    """Return a section as Markdown."""
    on, settings = section["measured_on"], dict(section["settings"])
    rule = ["---", *["---:"] * (len(section["columns"]) - 1)]
    lines = [f"## {section['title']}", "", section["conditions"], ""]
    lines += [*map(_line, (section["columns"], rule, *section["rows"])), ""]
    for items in filter(None, (section["aims"], section["notes"])):
        lines += [*(f"- {item}" for item in items), ""]
    lines += [f"{on['date']}; {on['machine']}; {on['versions']}, SQLite {on['sqlite']}.", ""]
    if settings:
        version = settings.pop("server_version")
        lines += [f"PostgreSQL {version}: {', '.join(f'`{name}` {value}' for name, value in settings.items())}.", ""]
    return "\n".join(lines)


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"
