"""The next revision file: an example that can be run, to be edited."""

from __future__ import annotations

import os
import uuid
from collections.abc import Sequence
from datetime import date
from string import Template
from typing import Any

from indexer.errors import Command, Hint, IndexerError, UsageError
from indexer.revisions.chain import files_in, load
from indexer.revisions.example import PLACEHOLDER, example_of
from indexer.tuples import NamedTuple

REVISION = Template('''\
"""$description

Revision ID: $revision
Revises: $revises
Create Date: $date

$about
"""

from indexer import Index, Migrator

revision = "$revision"
down_revision = $down_revision
date = "$date"

# What else an Index can say; import Expression, Variant and desc from indexer, too:
#     several columns           columns=("status", desc("created_at"))
#     an expression             columns=(Expression("lower(email)"),)
#     only some of the rows     where="status = 'open'"
#     no value twice            unique=True
#     further columns to read   include=("name",)                       PostgreSQL alone
#     another access method     on_postgresql=Variant(using="hash")     PostgreSQL alone
INDEXES = (
$index)


def upgrade(migrator: Migrator) -> None:
    """Build the indexes."""
    migrator.migrate(*(migrator.add_index(index) for index in INDEXES))


def downgrade(migrator: Migrator) -> None:
    """Drop the indexes, the last one first."""
    migrator.migrate(*(migrator.drop_index(index) for index in reversed(INDEXES)))
''')


LONGEST_MESSAGE = 200

ABOUT = "An example to edit: an index on a column of the models that has none yet."
NO_COLUMN = "An example to edit: replace my_table and my_column. No column of the models lacks an index."


class Written(NamedTuple):
    """A revision file that was written.

    Attributes:
        down_revision: the revision before it; None if it is the first one.
        index_name: the name of the index in it, an example.
        query: the query that the index is for, as code to add to queries.py.
        is_first_query: whether there is no queries.py yet; then the code is that of the whole file.
    """

    revision: str
    down_revision: str | None
    file: str
    index_name: str
    query: str
    is_first_query: bool


def write_revision(directory: str, message: str, models: Sequence[Any] = ()) -> Written:
    """Write the file of the revision that follows the last one of a directory, or of the first one.

    Args:
        models: of the project, for an example that fits it.

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
    chain = load(directory) if files_in(directory) else None
    example = example_of(models, chain.indexes if chain else (), revision[:4])
    path = os.path.join(directory, f"migrate_{revision}.py")
    text = REVISION.substitute(
        description=description.replace("\\", "\\\\").replace('"', '\\"'),
        about=NO_COLUMN if example.table == PLACEHOLDER.table else ABOUT,
        revision=revision,
        revises=chain.head if chain else "base",
        down_revision=f'"{chain.head}"' if chain else None,
        date=date.today().isoformat(),
        index=example.code,
    )
    try:
        with open(path, "x", encoding="utf-8") as file:
            file.write(text)
    except OSError as error:
        raise IndexerError(
            f"Cannot write {path}: {error.strerror}.", "Run the command where the directory can be written to."
        ) from error
    is_first_query = not os.path.exists(os.path.join(directory, "queries.py"))
    query = example.query(is_first_query)
    return Written(revision, chain.head if chain else None, path, example.name, query, is_first_query)
