"""Create and drop performance indexes on a live CRM database: python cli.py up, python cli.py down."""

import os
import sys
from typing import Any

try:
    from indexer.cli.startup import prepare_process

    if __name__ == "__main__":
        prepare_process()
    from indexer.cli.commands import command_line
    from indexer.project import Project
except KeyboardInterrupt:
    sys.exit(130)


def models() -> Any:
    """Return the CRM's tables."""
    from models import TABLES

    return TABLES


def queries() -> Any:
    """Return the queries that the indexes exist for."""
    from queries import QUERIES

    return QUERIES


def sample() -> Any:
    """Return the module that makes up rows."""
    from proof import seed

    return seed


cli = command_line(
    Project(os.path.dirname(os.path.realpath(__file__)), models, queries, sample),
    program="python cli.py",
)

if __name__ == "__main__":
    cli()
