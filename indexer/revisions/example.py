"""The example of a new revision: an index on a column that has none yet, and the query that it is for."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Sequence
from string import Template
from textwrap import indent
from typing import Any

from peewee import (
    CharField,
    DateField,
    DateTimeField,
    DecimalField,
    Field,
    ForeignKeyField,
    IntegerField,
    TextField,
    UUIDField,
)

from indexer.spec import LONGEST_NAME, Index
from indexer.tuples import NamedTuple

# The kinds of columns that an example takes, the first ones first, each with a value of a query on an empty table.
VALUES: dict[type[Field], Any] = {
    ForeignKeyField: 1,
    CharField: "text",
    DateTimeField: "2025-01-01 12:00:00",
    DateField: "2025-01-01",
    IntegerField: 1,
    UUIDField: "00000000-0000-0000-0000-000000000001",
    DecimalField: 1,
    TextField: "text",
}
KINDS = list(VALUES)

INDEX = Template("""\
    Index(
        $name,
        table=$table,
        columns=($column,),
        purpose=$purpose,
    ),
""")
IMPORTS = Template("""\
from indexer import Query, rows_of
from $module import $model
""")
FUNCTION = Template('''\
def $function($field):
    """Return the query for the rows of $model with this value of $field."""
    return $model.select().where($model.$field == $field)
''')
ENTRY = Template("""\
Query(
    $name,
    function=$function,
    sample=rows_of($model.$field, otherwise=($value,)),
),
""")


class Example(NamedTuple):
    """An index on one column, and the model that its query reads."""

    name: str
    table: str
    column: str
    module: str
    model: str
    field: str
    value: Any

    @property
    def code(self) -> str:
        """The index, as an element of INDEXES."""
        purpose = f"rows of {self.table} by {self.column}"
        return INDEX.substitute(
            name=_literal(self.name),
            table=_literal(self.table),
            column=_literal(self.column),
            purpose=_literal(purpose),
        )

    def query(self, is_first: bool) -> str:
        """Return the query as code to add to queries.py, or as the whole file if it is the first one."""
        words = self._asdict() | {
            "function": f"{_snake_case(self.model)}_by_{self.field}",
            "name": _literal(self.name),
            "value": _literal(self.value),
        }
        imports, function, entry = (each.substitute(words) for each in (IMPORTS, FUNCTION, ENTRY))
        queries = f"QUERIES = (\n{indent(entry, '    ')})\n" if is_first else f"# In QUERIES:\n{entry}"
        return f"{imports}\n\n{function}\n\n{queries}"


PLACEHOLDER = Example("ix_my_table_my_column", "my_table", "my_column", "models", "MyTable", "my_column", "text")


def example_of(models: Sequence[Any], declared: Sequence[Index], suffix: str) -> Example:
    """Return an index on a column that no index begins with; on that of PLACEHOLDER if there is none.

    Args:
        models: of the project.
        declared: the indexes of all its revisions.
        suffix: makes the name of the index unique, if it is taken.
    """
    free = [field for model in models for field in _free(model, declared)]
    example = _on(min(free, key=_rank)) if free else PLACEHOLDER
    taken = {name.lower() for index in declared for name in index.names}
    is_usable = example.name.lower() not in taken and len(example.name.encode()) <= LONGEST_NAME
    return example if is_usable else example._replace(name=f"ix_{suffix}")


def _on(field: Any) -> Example:
    model, table = field.model, field.model._meta.table_name
    key = field.rel_field if isinstance(field, ForeignKeyField) else field
    value = VALUES[KINDS[_rank(key)]] if _rank(key) < len(KINDS) else 1
    name = f"ix_{table}_{field.column_name}"
    return Example(name, table, field.column_name, model.__module__, model.__name__, field.name, value)


def _free(model: Any, declared: Sequence[Index]) -> Iterator[Any]:
    """Yield the columns of a kind for an example that no key and no index of the table begins with."""
    meta = model._meta
    first = [index._expressions[0] for index in meta.fields_to_index() if getattr(index, "_expressions", ())]
    taken = {field.column_name for field in (*first, *meta.get_primary_keys()[:1]) if isinstance(field, Field)}
    taken |= {getattr(index.key[0], "name", "") for index in declared if index.table == meta.table_name}
    return (field for field in meta.sorted_fields if field.column_name not in taken and _rank(field) < len(KINDS))


def _rank(field: Any) -> int:
    """Return the place of the kind of a column, the first one being the best."""
    return next((place for place, kind in enumerate(KINDS) if isinstance(field, kind)), len(KINDS))


def _snake_case(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def _literal(value: Any) -> str:
    """Return a text or a number as Python code."""
    return json.dumps(value, ensure_ascii=False)
