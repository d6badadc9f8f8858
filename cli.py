"""Create and drop performance indexes on a live CRM database: python cli.py up, python cli.py down."""

import os
import sys
from typing import Any

try:
    from indexer.cli.start import run
except KeyboardInterrupt:  # Ctrl-C while Python reads the first modules
    sys.exit(130)

FOLDER = os.path.dirname(os.path.realpath(__file__))


# Each of these imports what it returns, so that a command loads only what it uses.


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
    import sample

    return sample


if __name__ == "__main__":
    run("python cli.py", FOLDER, models, queries, sample)
