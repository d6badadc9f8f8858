"""The next revision file: an example that works, to be edited."""

from __future__ import annotations

import os
import uuid
from datetime import date
from string import Template
from typing import NamedTuple

from indexer.errors import Command, Hint, IndexerError, UsageError
from indexer.revisions.chain import load

REVISION = Template('''\
"""$description

Revision ID: $revision
Revises: $down_revision
Create Date: $date

An example to edit: name the table, the columns and what the index is for. ``desc("column")`` keeps a column in
descending order; ``on_postgresql=Variant(using="hash")`` or ``Variant(where="status = 'open'")`` is for PostgreSQL
alone, and elsewhere the index is a whole B-tree.
"""

from playhouse.migrate import SchemaMigrator

from indexer import Index, desc

revision = "$revision"
down_revision = "$down_revision"
date = "$date"

INDEXES = (
    Index(
        "ix_conversation_last_activity_$start",
        table="conversation",
        columns=(desc("last_activity_at"),),
        purpose="conversations, the one that was active last first",
    ),
)


def upgrade(migrator: SchemaMigrator) -> None:
    """Build the indexes."""
    migrator.migrate(*(migrator.add_index(index) for index in INDEXES))


def downgrade(migrator: SchemaMigrator) -> None:
    """Drop the indexes, the last one first."""
    migrator.migrate(*(migrator.drop_index(index) for index in reversed(INDEXES)))
''')


LONGEST_MESSAGE = 200


class Written(NamedTuple):
    """A revision file that was written."""

    revision: str
    down_revision: str
    file: str


def write_revision(directory: str, message: str) -> Written:
    """Write the file of the revision that follows the last one of a directory.

    Raises:
        UsageError: the message is empty, too long, or more than one line.
        ChainBroken: the existing files do not form one chain.
        IndexerError: the directory cannot be written.
    """
    description = message.strip()
    if not 0 < len(description) <= LONGEST_MESSAGE or not description.isprintable():
        told = f"The message has to be one line of at most {LONGEST_MESSAGE} characters."
        raise UsageError(told, Hint("Describe the revision: ", Command("new", "index open conversations")))
    revision = uuid.uuid4().hex[:12]
    down_revision = load(directory).head
    path = os.path.join(directory, f"migrate_{revision}.py")
    text = REVISION.substitute(
        description=description.replace("\\", "\\\\").replace('"', '\\"'),
        revision=revision,
        down_revision=down_revision,
        date=date.today().isoformat(),
        start=revision[:4],
    )
    try:
        with open(path, "x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise IndexerError(
            f"Cannot write {path}: {error.strerror}.", "Run the command where the directory can be written to."
        ) from error
    return Written(revision, down_revision, path)
