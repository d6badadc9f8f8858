"""The project in a folder: its migrate_*.py files and, where they exist, its modules models, queries and sample."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from importlib import import_module
from importlib.machinery import PathFinder
from types import ModuleType
from typing import Any

from indexer.errors import ProjectBroken
from indexer.project import Project, initialised

MODULES = ("models", "queries", "sample")


def project_in(folder: str) -> Project:
    """Return the project in a folder; each of its modules is imported when a command first uses it."""
    return Project(
        folder=folder,
        models=partial(models_in, folder),
        queries=partial(queries_in, folder),
        sample=partial(_load, "sample", folder) if _origin("sample", folder) else None,
        database=partial(database_in, folder),
    )


def models_in(folder: str) -> Sequence[type[Any]]:
    """Return TABLES of the module models or, without that, the models that it defines, referenced ones first.

    Raises:
        ProjectBroken: the module cannot be imported, or its TABLES are not models.
    """
    module = _load("models", folder)
    if module is None:
        return ()
    from peewee import sort_models  # type: ignore[attr-defined]

    tables = getattr(module, "TABLES", None)
    if tables is None:
        return list(sort_models(_defined_in(module)))
    if not isinstance(tables, list | tuple) or not all(map(_is_model, tables)):
        raise ProjectBroken(f"TABLES in {_file_of(module)} is not a list of models.", "Make it a tuple of models.")
    return tables


def queries_in(folder: str) -> Sequence[Any]:
    """Return QUERIES of the module queries; nothing where there is no such module.

    Raises:
        ProjectBroken: the module cannot be imported, or has no QUERIES.
    """
    module = _load("queries", folder)
    if module is None:
        return ()
    queries = getattr(module, "QUERIES", None)
    if not isinstance(queries, list | tuple):
        raise ProjectBroken(f"{_file_of(module)} has no QUERIES.", "Make QUERIES a tuple of Query.")
    return queries


def database_in(folder: str) -> Any:
    """Return the database that the models are bound to, one that is initialised if there is one; None without any.

    Raises:
        ProjectBroken: the module cannot be imported, or its models are bound to several databases.
    """
    bound = {id(model._meta.database): model._meta.database for model in models_in(folder) if model._meta.database}
    databases = list({id(each): each for each in map(initialised, bound.values()) if each}.values())
    if len(databases) > 1:
        raise ProjectBroken("The models are bound to several databases.", "Name one of them: --database-url URL")
    return next(iter(databases or bound.values()), None)


def _defined_in(module: ModuleType) -> Iterator[type[Any]]:
    """Yield the models that a module, or a module inside of it, defines for tables.

    A class that other models inherit from is a base class, unless a foreign key refers to it.
    """
    found = filter(_is_model, vars(module).values())
    models = [each for each in found if each.__module__.split(".")[0] == module.__name__]
    bases = {base for model in models for base in model.__mro__[1:]}
    referenced = {other for model in models for other in model._meta.refs.values()}
    yield from (model for model in models if model not in bases or model in referenced)
    for model in models:
        yield from filter(_is_model, (field.through_model for field in model._meta.manytomany.values()))


def _is_model(found: Any) -> bool:
    from peewee import Model

    return isinstance(found, type) and issubclass(found, Model)


def _load(name: str, folder: str) -> Any:
    """Import a module of the folder, with the folder on the path, as Python does for a program; None if it is missing.

    Raises:
        ProjectBroken: its code fails.
    """
    from indexer.revisions.revision import CodeFailed, running

    origin = _origin(name, folder)
    if origin is None:
        return None
    if folder not in sys.path:
        sys.path.insert(0, folder)
    try:
        with running(origin):
            return import_module(name)
    except CodeFailed as failure:
        file, cause = os.path.relpath(origin, folder), failure.__cause__
        hint = f"Correct {file}."
        if isinstance(cause, ModuleNotFoundError):
            is_own = cause.name in MODULES
            remedy = f"Write {cause.name}.py" if is_own else f"Install {cause.name} where this program is installed"
            hint = f"{remedy}, or correct {file}."
        raise ProjectBroken(f"{file} cannot be imported{failure.place}: {failure.reason}.", hint) from cause


def _origin(name: str, folder: str) -> str | None:
    """Return the file of a module in the folder; None if there is no such module."""
    spec = PathFinder.find_spec(name, [folder])
    return spec.origin if spec else None


def _file_of(module: ModuleType) -> str:
    return os.path.basename(module.__file__ or module.__name__)
