"""Results: raw numbers in results.json, and results.md drawn from them; each part of the benchmark is one section."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from benchmarks import machine

FOLDER = Path(__file__).resolve().parent
ORDER = ("run", "load", "startup", "sqlite")

HEADER = """\
# Benchmark results

Written by `python -m benchmarks`; what is measured and how to read it stands in [README.md](README.md), the raw numbers
in [results.json](results.json).
"""


@dataclass(frozen=True)
class Aim:
    """A limit the project set itself, and the number that came out."""

    what: str
    limit: float
    measured: float
    unit: str = ""

    def __str__(self) -> str:
        verdict = "met" if self.measured <= self.limit else f"missed by {self.measured - self.limit:.2f}"
        return f"{self.what}: {self.measured:.2f}{self.unit} (aim: at most {self.limit:g}), {verdict}"


@dataclass(frozen=True)
class Section:
    """What one part of the benchmark brought."""

    title: str
    conditions: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    aims: Sequence[str] = ()
    notes: Sequence[str] = ()
    raw: Any = None
    settings: dict[str, str] = field(default_factory=dict)
    measured_on: dict[str, str] = field(default_factory=machine.description)


def publish(name: str, section: Section, folder: Path) -> None:
    """Put a section in the place of its predecessor, in results.json and results.md, and print it."""
    path = folder / "results.json"
    sections = json.loads(path.read_text()) if path.exists() else {}
    sections[name] = asdict(section)
    path.write_text(json.dumps(sections, indent=1) + "\n")
    drawn = [_draw(sections[name]) for name in ORDER if name in sections]
    (folder / "results.md").write_text("\n".join([HEADER, *drawn]))
    print(_draw(sections[name]), flush=True)


def ratio(ours: float, baseline: float) -> str:
    """How many times the baseline."""
    return f"{ours / baseline:.2f}"


def milliseconds(seconds: float) -> str:
    """Seconds as milliseconds, with a decimal while that says something."""
    return f"{seconds * 1000:.1f}" if seconds < 0.1 else f"{seconds * 1000:.0f}"


def megabytes(number: float) -> str:
    """Bytes as megabytes."""
    return f"{number / 1e6:.1f}"


def _draw(section: dict[str, Any]) -> str:
    on = section["measured_on"]
    lines = [f"## {section['title']}", "", section["conditions"], ""]
    lines += [_line(section["columns"]), _line(_rule(section["columns"])), *map(_line, section["rows"]), ""]
    lines += _list(section["aims"]) + _list(section["notes"])
    lines += [f"{on['date']}; {on['machine']}; {on['versions']}, SQLite {on['sqlite']}.", ""]
    if section["settings"]:
        settings = dict(section["settings"])
        shown = ", ".join(f"`{name}` {value}" for name, value in settings.items() if name != "server_version")
        lines += [f"PostgreSQL {settings['server_version']}: {shown}.", ""]
    return "\n".join(lines)


def _rule(columns: Sequence[str]) -> list[str]:
    return ["---", *["---:"] * (len(columns) - 1)]


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _list(items: Sequence[str]) -> list[str]:
    return [*(f"- {item}" for item in items), ""] if items else []
