"""Shadows: objects of another role with the names of PostgreSQL's functions, operators, types and views.

The names are those of the SQL that the commands sent, and of the SQL in the source. With public and lure before
pg_catalog on the search path, each name that is not qualified means a shadow. The views are in the schema lure,
because public has to be without tables and views.
The server counts the calls of the shadows (track_functions), also in a transaction that is rolled back.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Iterator
from contextlib import closing
from pathlib import Path
from typing import NamedTuple

import psycopg2
from command import ask, execute
from scenes import until

ROOT = Path(__file__).resolve().parents[2]
NOT_SQL = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"|--[^\n]*")
IMPLIED = {"=", "<>", "<", ">", "<=", ">=", "~~", "!~~"}  # by IN, LIKE, NULLIF, CASE, BETWEEN and IS DISTINCT FROM

# The search path is pg_catalog while they are made, so that no shadow runs before the commands do.
PLANT = """
    CREATE FUNCTION public.shadow_called() RETURNS boolean LANGUAGE plpgsql AS 'BEGIN RETURN true; END';

    CREATE FUNCTION public.counted_by_test() RETURNS boolean LANGUAGE plpgsql AS 'BEGIN RETURN true; END';

    DO $plant$
    DECLARE
        each record;
        statement text;
    BEGIN
        FOR each IN
            SELECT format('CREATE FUNCTION public.%%I(%%s) RETURNS %%s LANGUAGE plpgsql AS %%L',
                          p.proname,
                          replace(pg_get_function_identity_arguments(p.oid), '"any"', 'anyelement'),
                          pg_get_function_result(p.oid),
                          CASE WHEN p.proretset OR p.prorettype = 'void'::regtype THEN 'BEGIN RETURN; END'
                               ELSE 'BEGIN RETURN NULL; END' END) AS made
              FROM pg_proc AS p
             WHERE p.pronamespace = 'pg_catalog'::regnamespace
               AND p.proname = ANY (%(words)s)
            UNION ALL
            SELECT format('CREATE FUNCTION public.%%I(%%s) RETURNS text LANGUAGE plpgsql AS %%L',
                          p.proname, a.types, 'BEGIN RETURN NULL; END')
              FROM (SELECT DISTINCT proname
                      FROM pg_proc
                     WHERE pronamespace = 'pg_catalog'::regnamespace
                       AND proname = ANY (%(words)s)) AS p
             CROSS JOIN unnest(%(arguments)s) AS a (types)
            UNION ALL
            SELECT format('CREATE FUNCTION public.shadow_%%s_%%s_%%s(%%s) RETURNS %%s LANGUAGE plpgsql AS %%L',
                          o.oprleft::oid, o.oprright::oid, o.oprresult::oid,
                          concat_ws(', ', nullif(format_type(o.oprleft, NULL), '-'), format_type(o.oprright, NULL)),
                          format_type(o.oprresult, NULL),
                          'BEGIN RETURN NULL; END')
              FROM pg_operator AS o
             WHERE o.oprname = ANY (%(operators)s)
               AND o.oprright <> 0
            UNION ALL
            SELECT format('CREATE OPERATOR public.%%s (FUNCTION = public.shadow_%%s_%%s_%%s, RIGHTARG = %%s%%s)',
                          o.oprname, o.oprleft::oid, o.oprright::oid, o.oprresult::oid,
                          format_type(o.oprright, NULL), ', LEFTARG = ' || nullif(format_type(o.oprleft, NULL), '-'))
              FROM pg_operator AS o
             WHERE o.oprname = ANY (%(operators)s)
               AND o.oprright <> 0
            UNION ALL
            SELECT format('CREATE FUNCTION public.shadow_%%s_%%s(%%s, %%s) RETURNS boolean LANGUAGE plpgsql AS %%L',
                          l.name::regtype::oid, r.name::regtype::oid, l.name, r.name, 'BEGIN RETURN true; END')
              FROM unnest(%(types)s) AS l (name)
             CROSS JOIN unnest(%(types)s) AS r (name)
            UNION ALL
            SELECT format('CREATE OPERATOR public.%%s (FUNCTION = public.shadow_%%s_%%s, LEFTARG = %%s, '
                          'RIGHTARG = %%s)', o.name, l.name::regtype::oid, r.name::regtype::oid, l.name, r.name)
              FROM unnest(%(operators)s) AS o (name)
             CROSS JOIN unnest(%(types)s) AS l (name)
             CROSS JOIN unnest(%(types)s) AS r (name)
             WHERE o.name IN ('=', '<>')
            UNION ALL
            SELECT format('CREATE VIEW lure.%%I AS SELECT * FROM pg_catalog.%%I WHERE public.shadow_called()',
                          c.relname, c.relname)
              FROM pg_class AS c
             WHERE c.relnamespace = 'pg_catalog'::regnamespace
               AND c.relkind IN ('r', 'v')
               AND c.relname = ANY (%(words)s)
            UNION ALL
            SELECT format('CREATE DOMAIN public.%%I AS pg_catalog.%%I CHECK (public.shadow_called())',
                          t.typname, t.typname)
              FROM pg_type AS t
             WHERE t.typnamespace = 'pg_catalog'::regnamespace
               AND t.typtype = 'b'
               AND t.typname = ANY (%(words)s)
        LOOP
            BEGIN
                EXECUTE each.made;
            EXCEPTION WHEN others THEN  -- such as a type that only PostgreSQL's own functions may take
            END;
        END LOOP;
    END
    $plant$
"""
ARGUMENTS = ["text", "varchar", "name", "oid", "integer", "anyelement", "name[]", "text[]", "text, text", "text, name"]
TYPES = ["text", "varchar", "name", "bpchar", '"char"', "oid", "integer", "bigint", "regclass", "text[]", "name[]"]

CALLED_BY_TEST = "counted_by_test"  # called by the test alone
CALLED = """
    SELECT f.funcname,
           f.calls
      FROM pg_stat_user_functions AS f
     WHERE f.schemaname = 'public'
       AND f.calls > 0
"""
PLANTED = """
    SELECT (SELECT count(*) FROM pg_proc WHERE pronamespace = 'public'::regnamespace),
           (SELECT count(*) FROM pg_operator WHERE oprnamespace = 'public'::regnamespace),
           (SELECT count(*) FROM pg_class WHERE relnamespace = 'lure'::regnamespace AND relkind = 'v'),
           (SELECT count(*) FROM pg_type WHERE typnamespace = 'public'::regnamespace AND typtype = 'd')
"""


class Planted(NamedTuple):
    """The numbers of shadows of each kind."""

    functions: int
    operators: int
    views: int
    types: int


def constants() -> Iterator[tuple[str, str]]:
    """Yield each text in the source that is SQL for PostgreSQL, with the name of its file."""
    for path in sorted((*ROOT.glob("indexer/**/*.py"), *ROOT.glob("sample/**/*.py"))):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Constant) and isinstance(node.value, str) and "pg_catalog." in node.value:
                yield path.name, node.value


def plant(url: str, statements: Iterable[str]) -> Planted:
    """Plant a shadow for each name in these statements, as the role of the URL."""
    texts = [NOT_SQL.sub(" ", statement) for statement in statements]
    parameters = {
        "words": sorted({word.lower() for text in texts for word in re.findall(r"[A-Za-z_]\w*", text)}),
        "operators": sorted({found for text in texts for found in re.findall(r"[-+*/<>=~!@#^&|?]+", text)} | IMPLIED),
        "arguments": ARGUMENTS,
        "types": TYPES,
    }
    with closing(psycopg2.connect(url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute("SET search_path TO pg_catalog")
        cursor.execute(PLANT, parameters)
    return Planted(*ask(url, PLANTED)[0])


def count_calls(url: str) -> None:
    """Let the server count the calls of functions in all new sessions of the database; for a superuser."""
    (name,) = ask(url, "SELECT current_database()")[0]
    execute(url, f"ALTER DATABASE \"{name}\" SET track_functions = 'all'")


def called(url: str) -> set[str]:
    """Return the shadows that were called, once the server has counted the calls of all ended sessions.

    A session reports its calls when it ends. When the server has counted the call of this later session, it has also
    counted those of the earlier ones.
    """
    before = _calls(url).get(CALLED_BY_TEST, 0)
    ask(url, f"SELECT public.{CALLED_BY_TEST}()")
    calls = until(
        lambda: counted if (counted := _calls(url)).get(CALLED_BY_TEST, 0) > before else None, "the count of a call"
    )
    return set(calls) - {CALLED_BY_TEST}


def _calls(url: str) -> dict[str, int]:
    return dict(ask(url, CALLED))
