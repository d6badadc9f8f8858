"""The CRM that is measured: its tables, with made-up rows."""

from __future__ import annotations

from contextlib import closing

import models
import sample
from indexer.bench.events import silently
from indexer.connection import connect


def create(url: str, activities: int = 0) -> None:
    """Create the tables in an empty database, and fill them.

    Args:
        url: of the database.
        activities: how many; the rows of the other tables are in proportion.
    """
    migrator = connect(url)
    with closing(migrator.database):
        migrator.settle(())
        with migrator.migration_context():
            migrator.create_tables(models.TABLES)
        if activities:
            sample.fill(migrator, activities, True, silently)
