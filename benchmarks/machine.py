"""The machine and the versions that were measured, without names or paths of the machine."""

from __future__ import annotations

import os
import platform
import sqlite3
from contextlib import suppress
from datetime import datetime, timezone
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

PACKAGES = ("click", "peewee", "psycopg2-binary", "rich", "alembic", "SQLAlchemy", "yoyo-migrations")


def description() -> dict[str, str]:
    """Return the date, the machine and the versions."""
    return {
        "date": datetime.now(timezone.utc).strftime("%Y-%m-%d %H:%M UTC"),
        "machine": f"{os.cpu_count()} cores ({_processor()}), {_memory()}, {platform.system()} {platform.release()}",
        "versions": ", ".join([f"Python {platform.python_version()}", *_packages()]),
        "sqlite": sqlite3.sqlite_version,
    }


def _processor() -> str:
    with suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def _memory() -> str:
    with suppress(ValueError, OSError):
        return f"{os.sysconf('SC_PAGE_SIZE') * os.sysconf('SC_PHYS_PAGES') / 2**30:.0f} GiB"
    return "memory unknown"


def _packages() -> list[str]:
    found = []
    for name in PACKAGES:
        with suppress(PackageNotFoundError):
            found.append(f"{name} {version(name)}")
    return found
