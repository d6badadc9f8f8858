"""Test the benchmark: what it measures, that it leaves nothing behind, and what it draws."""

from __future__ import annotations

import html.parser
import io
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import warnings
import xml.etree.ElementTree as ElementTree
from base64 import b64decode
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import asdict
from functools import cache
from html import escape
from itertools import pairwise
from pathlib import Path
from typing import Any

import psycopg2
import pytest
from command import (
    SEVEN_TABLES,
    SIX_INDEXED_TABLES,
    TEN_NAMES,
    execute,
    is_postgres,
    nothing_changes,
    prepare,
    run,
    succeed,
)
from roles import APPLICATION, another_role, as_role
from scenes import until

import cli
import models
from indexer.bench import bench as benching
from indexer.bench import chart, inserts, measure, page, report, tables, units
from indexer.bench.events import Filled, Filling, Measuring, RoundStarted, Tell, Told, Written, silently
from indexer.bench.progress import reporting
from indexer.bench.result import Build, QueryTiming, Result, Round, Timing, Writes, exponent, read
from indexer.bench.scratch import PREFIX, scratch
from indexer.connect import connect
from indexer.errors import Command, IndexerError, PreflightFailed, StatementFailed, UsageError
from indexer.events import BaseCreated, IndexFinished, Warned
from indexer.project import Project
from indexer.signals import Stop
from indexer.text import duration, in_bytes
from queries import QUERIES, activity_seen

ROOT = Path(cli.__file__).resolve().parent
PROJECT = Project(str(ROOT), cli.models, cli.queries, cli.sample)
HUNDREDFOLD = "100\N{MULTIPLICATION SIGN}"

BENCHING = """
import os, sys
from indexer.errors import IndexerError
from indexer.signals import interruptible
from indexer.bench import inserts, measure
from indexer.bench.bench import bench
import cli
from indexer.project import Project

url = sys.argv[1]
measure.MOST, inserts.TURNS = 8, 2

def tell(event):
    print(type(event).__name__, *event, flush=True)

try:
    project = Project(os.getcwd(), cli.models, cli.queries, cli.sample)
    interruptible(lambda stop: bench(url, (4_000, 8_000), project, tell, stop))
except IndexerError as error:
    print(error.message, error.hint, file=sys.stderr)
    sys.exit(error.exit_code)
"""

CLEANING_UP_FOR_LONG = """
import sys, time
from indexer import signals as stop
from indexer.bench.scratch import scratch

def work(asked):
    with scratch(sys.argv[1], asked):
        print("made", flush=True)
        time.sleep(60)

stop.GRACE = float(sys.argv[2])
stop.interruptible(work)
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, postgres_server: str) -> Path:
    """Return the folder of temporary files; those of the server are elsewhere, because it may not read this one."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


@pytest.fixture
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    """Measure less often: a test checks what is measured, not how exactly."""
    monkeypatch.setattr(measure, "MOST", 6)
    monkeypatch.setattr(inserts, "STATEMENTS", 1)
    monkeypatch.setattr(inserts, "TURNS", 2)


def bench(url: str, rows: Iterable[int], tell: Tell = silently) -> Result:
    """Measure the CRM."""
    return benching.bench(url, rows, PROJECT, tell)


def schemas(url: str) -> set[str]:
    """Return the schemas of a database without those of PostgreSQL."""
    return {name for (name,) in execute(url, "SELECT nspname FROM pg_namespace WHERE nspname !~ '^pg_'")}


def assert_nothing_is_left(url: str, temporary: Path) -> None:
    """Assert that no schema and no file is left."""
    assert list(temporary.iterdir()) == []
    if is_postgres(url):
        assert schemas(url) == {"public", "information_schema"}


# Measuring -----------------------------------------------------------------------------------------------------------


def test_every_query_is_measured_at_every_size_before_and_after(database_url: str, hasty: None, temporary: Path):
    told: list[Told] = []
    result = bench(database_url, (400, 200, 400), told.append)
    assert [each.activities for each in result.rounds] == [200, 400]
    for each in result.rounds:
        assert [query.query for query in each.queries] == [query.call for query in QUERIES]
        assert all(query.before.median > 0 < query.after.median for query in each.queries)
        assert all(query.before.p95 >= query.before.median for query in each.queries)
        assert all(query.before.asked >= 5 <= query.after.asked for query in each.queries)
        assert [query.before.answer for query in each.queries] == [query.after.answer for query in each.queries]
        assert {build.index_name for build in each.builds} == TEN_NAMES
        assert all(build.bytes for build in each.builds)
        assert {writes.table for writes in each.writes} == SIX_INDEXED_TABLES
        assert each.bytes_after > each.bytes_before > 100_000
        assert set(each.rows) == SEVEN_TABLES
    assert result.product.split()[0] == ("PostgreSQL" if is_postgres(database_url) else "SQLite")
    assert_nothing_is_left(database_url, temporary)


def test_the_tables_grow_by_the_indexes_and_not_by_the_timed_inserts(
    database_url: str, hasty: None, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(inserts, "STATEMENTS", 20)
    (only,) = bench(database_url, (200,)).rounds
    of_indexes = sum(build.bytes or 0 for build in only.builds)

    assert of_indexes <= only.bytes_after - only.bytes_before < of_indexes + 100_000  # in a file also our own tables


def test_queries_are_called_in_a_random_order_that_is_the_same_each_time(sqlite_url):
    """A server that begins each scan where the last one ended would find the rows at once, even without an index."""
    succeed("seed", "--rows", "5000", url=sqlite_url)
    with closing(connect(sqlite_url, read_only=True).database) as database, database.bind_ctx(models.TABLES):
        query = next(each for each in QUERIES if each.function is activity_seen)
        asked = [identifier for (identifier,) in measure.arguments_for(query)]
        again = [identifier for (identifier,) in measure.arguments_for(query)]
        ordered = list(models.Activity.select(models.Activity.openphone_id).order_by(models.Activity.id).tuples())
    places = [ordered.index((identifier,)) for identifier in asked]
    steps = [abs(place - before) for before, place in pairwise(places)]

    assert asked == again
    assert sum(steps) / len(steps) > len(ordered) / 5


def test_events_come_in_order(database_url: str, hasty: None):
    told: list[Told] = []
    bench(database_url, [200], told.append)
    kinds = [type(event) for event in told]
    assert kinds[0] is RoundStarted
    assert kinds.index(Filling) < kinds.index(Filled) < kinds.index(Measuring) < kinds.index(IndexFinished)
    assert [event.phase for event in told if isinstance(event, Measuring) and not event.done] == [
        "queries without indexes",
        "queries with indexes",
        "inserts",
    ]


def test_the_tables_of_the_user_are_not_changed(database_url: str, hasty: None):
    prepare(database_url)
    execute(database_url, "INSERT INTO contact (first_name, last_name, phone) VALUES ('Ada', 'Byron', '+12025550123')")
    with nothing_changes(database_url):
        bench(database_url, [200])
    assert execute(database_url, "SELECT count(*) FROM contact") == [(1,)]


def test_no_sqlite_file_is_created(sqlite_url: str, hasty: None, tmp_path: Path):
    bench(sqlite_url, [200])
    assert not (tmp_path / "crm.db").exists()


def test_an_error_during_the_measurement_leaves_nothing(database_url: str, temporary: Path):
    with suppress(ZeroDivisionError), scratch(database_url, Stop()) as database:
        with database.migrator.migration_context():
            database.migrator.create_tables(models.TABLES)
        assert list(temporary.iterdir()) or PREFIX in str(schemas(database_url))
        _ = 1 / 0
    assert_nothing_is_left(database_url, temporary)


def test_a_session_that_the_server_ends_leaves_nothing(postgres_url: str, temporary: Path):
    with scratch(postgres_url, Stop()) as database:
        connection = database.migrator.database.connection()
        execute(postgres_url, f"SELECT pg_terminate_backend({connection.info.backend_pid})")
        with pytest.raises(psycopg2.Error), connection.cursor() as cursor:
            cursor.execute("SELECT 1")
    assert_nothing_is_left(postgres_url, temporary)


@pytest.mark.usefixtures("hasty")
def test_a_role_that_may_not_create_a_schema_learns_what_to_grant(superuser_url: str, app_url: str):
    """Only the superuser can give the right."""
    with pytest.raises(StatementFailed, match="permission denied") as refusal:
        bench(app_url, [200])
    execute(superuser_url, re.findall("GRANT CREATE ON DATABASE .*", str(refusal.value.hint))[0])
    assert bench(app_url, [200]).rounds


@pytest.mark.usefixtures("hasty")
def test_a_role_that_is_read_only_by_default_is_refused_before_any_row_is_made(
    superuser_url: str, postgres_url: str, temporary: Path
):
    """Only the superuser can create the role."""
    name = postgres_url.rpartition("/")[2]
    rights = (
        f"GRANT CREATE ON DATABASE {name} TO {{role}}",
        "ALTER ROLE {role} SET default_transaction_read_only = on",
    )
    told: list[Told] = []
    with another_role(superuser_url, *rights) as role:
        with pytest.raises(PreflightFailed, match="default_transaction_read_only is on") as refusal:
            bench(as_role(postgres_url, role), [200], told.append)
        assert told == []
        assert Command("bench") in refusal.value.hint.parts
        assert_nothing_is_left(postgres_url, temporary)
        execute(superuser_url, f"ALTER ROLE {role} RESET ALL")
        assert bench(as_role(postgres_url, role), [200]).rounds


@pytest.mark.parametrize(
    ("moment", "number"),
    [
        ("Filling activity", signal.SIGINT),
        ("Measuring queries without indexes conversation_history", signal.SIGTERM),
        ("StatementStarted", signal.SIGINT),
        ("Measuring queries with indexes campaigns_of", signal.SIGINT),
        ("Measuring inserts", signal.SIGINT),
        ("RoundStarted 8000", signal.SIGTERM),
    ],
)
def test_an_interrupted_benchmark_leaves_nothing(
    database_url: str, moment: str, number: signal.Signals, temporary: Path
):
    with subprocess.Popen(
        [sys.executable, "-c", BENCHING, database_url],
        cwd=ROOT,
        env={"TMPDIR": str(temporary), "PATH": "/usr/bin:/bin"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        assert any(line.startswith(moment) for line in process.stdout)
        process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 128 + number, errors
    assert f"Interrupted by {number.name}: nothing was left behind. Begin again" in errors
    assert_nothing_is_left(database_url, temporary)


@pytest.mark.parametrize(
    ("grace", "numbers"), [("60", (signal.SIGTERM, signal.SIGINT)), ("0.1", (signal.SIGTERM,))], ids=["twice", "once"]
)
def test_a_process_that_ends_at_once_says_what_it_leaves_and_how_to_remove_it(
    database_url: str, grace: str, numbers: tuple[signal.Signals, ...], temporary: Path
):
    with subprocess.Popen(
        [sys.executable, "-c", CLEANING_UP_FOR_LONG, database_url, grace],
        cwd=ROOT,
        env={"TMPDIR": str(temporary), "PATH": "/usr/bin:/bin"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "made\n"
        for number in numbers:
            process.send_signal(number)
        _, errors = process.communicate(timeout=60)
    assert process.returncode in (130, 143)
    assert "python cli.py status" not in errors
    (removal,) = re.findall(rf"{PREFIX}\w+ is left: (.+)", errors)
    if is_postgres(database_url):
        execute(database_url, removal)
    else:
        subprocess.run(removal.split(), check=True)
    assert_nothing_is_left(database_url, temporary)


@contextmanager
def at_work(url: str, temporary: Path) -> Iterator[subprocess.Popen[str]]:
    """Run another process with a scratch database during the block."""
    with subprocess.Popen(
        [sys.executable, "-c", CLEANING_UP_FOR_LONG, url, "60"],
        cwd=ROOT,
        env={"TMPDIR": str(temporary), "PATH": "/usr/bin:/bin"},
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        assert process.stdout.readline() == "made\n"
        try:
            yield process
        finally:
            process.kill()


def left(url: str, temporary: Path) -> set[str]:
    """Return the names of the scratch databases that exist."""
    found = schemas(url) if is_postgres(url) else {path.name for path in temporary.iterdir()}
    return {name for name in found if name.startswith(PREFIX)}


def test_the_scratch_database_of_a_killed_process_is_removed_by_the_next_one(database_url: str, temporary: Path):
    with at_work(database_url, temporary) as process:
        process.kill()
        process.wait()
        (killed,) = left(database_url, temporary)
    if is_postgres(database_url):  # the server has noticed
        until(lambda: not execute(database_url, "SELECT 1 FROM pg_locks WHERE locktype = 'advisory'"))
    with scratch(database_url, Stop()):
        assert left(database_url, temporary).isdisjoint({killed})
    assert_nothing_is_left(database_url, temporary)


def test_the_scratch_database_of_a_running_process_is_not_removed(database_url: str, temporary: Path):
    with at_work(database_url, temporary):
        theirs = left(database_url, temporary)
        assert theirs
        with scratch(database_url, Stop()):
            assert left(database_url, temporary) > theirs
        assert left(database_url, temporary) == theirs


def test_a_schema_of_another_name_or_role_is_not_dropped(superuser_url: str, postgres_url: str):
    """The superuser creates the schema of the application, which may not create one."""
    execute(postgres_url, "CREATE SCHEMA indexer_bench_results")
    execute(superuser_url, f"CREATE SCHEMA indexer_bench_0123abcd AUTHORIZATION {APPLICATION}")
    with scratch(postgres_url, Stop()):
        pass
    assert schemas(postgres_url) >= {"indexer_bench_results", "indexer_bench_0123abcd"}


# Results -------------------------------------------------------------------------------------------------------------


def made_up(product: str = "PostgreSQL 15.18", sizes: tuple[int, ...] = (1_000, 10_000, 100_000)) -> Result:
    """Return a result in which the time grows with n before, and not after."""

    def queries(n: int) -> tuple[QueryTiming, ...]:
        before, after = Timing(n * 1e-7, n * 2e-7, 50, 1), Timing(1e-4, 2e-4, 300, 1)
        return tuple(QueryTiming(query.index, query.call, query.claim, before, after) for query in QUERIES)

    rounds = tuple(
        Round(
            activities=n,
            rows=dict.fromkeys(SEVEN_TABLES, n),
            fill_seconds=n * 1e-5,
            up_seconds=n * 1e-6,
            bytes_before=n * 500,
            bytes_after=n * 600,
            queries=queries(n),
            builds=tuple(Build(name, "activity", n * 1e-7, n * 10) for name in sorted(TEN_NAMES)),
            writes=tuple(Writes(name, 9_000.0, 8_000.0) for name in sorted(SIX_INDEXED_TABLES)),
        )
        for n in sizes
    )
    return Result(product, "2 cores, Linux", {"work_mem": "4MB"}, "2026-01-02T03:04:05+00:00", 1, rounds)


@pytest.mark.parametrize("rows", [[], [99], [200, 10]])
def test_too_few_rows_are_refused(sqlite_url: str, rows: list[int]):
    with pytest.raises(UsageError, match="Fewer than 100 activities"):
        bench(sqlite_url, rows)


@pytest.mark.parametrize("rows", ["100000001", "99999999999999999999", "200,99999999999999999999"])
def test_too_many_rows_are_refused_at_once(database_url: str, rows: str):
    with nothing_changes(database_url):
        result = run("bench", "--rows", rows, url=database_url)
    assert result.exit_code == 2
    assert result.stderr == "Error: No more than 100,000,000 activities can be made.\nUse fewer: --rows 1000000\n"


@pytest.mark.parametrize("option", [("--schema", "tenant_a"), ("--all-schemas", "tenant_*")])
def test_bench_has_no_options_for_schemas(database_url: str, option: tuple[str, str]):
    result = run("bench", *option, url=database_url)
    assert result.exit_code == 2
    assert f"No such option '{option[0]}'" in result.stderr


def test_the_exponent_is_the_slope_on_logarithmic_axes():
    assert exponent([10, 100, 1000], [0.1, 1, 10]) == pytest.approx(1)
    assert exponent([10, 100, 1000], [0.1, 0.1, 0.1]) == pytest.approx(0)
    assert exponent([10, 1000], [3, 30]) == pytest.approx(0.5)
    assert exponent([10], [3]) is None


def test_growth_is_computed_for_every_claim():
    for growth, query in zip(made_up().growths, QUERIES, strict=True):
        assert (growth.query, growth.claim) == (query.call, query.claim)
        assert growth.before == pytest.approx(1)
        assert growth.after == pytest.approx(0)


def test_a_document_becomes_the_same_result_again():
    result = made_up()
    content = json.loads(json.dumps(asdict(result)))
    assert read(content) == result
    assert content["rounds"][-1]["queries"][0]["speed_up"] == pytest.approx(100)
    assert content["growths"][0]["before"] == pytest.approx(1)


def test_a_document_of_another_version_is_refused():
    with pytest.raises(ValueError, match="version 0"):
        read({**asdict(made_up()), "version": 0})


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        (duration(0.0000123), "12 µs"),
        (duration(0.0012345), "1.2 ms"),
        (duration(0.0456), "46 ms"),
        (duration(0.99999), "1.0 s"),
        (duration(12.34), "12.3 s"),
        (duration(123.4), "2 min 3 s"),
        (duration(2e-8), "0.0 µs"),
        (units.times(12345), "12,345\N{MULTIPLICATION SIGN}"),
        (units.times(1.2345), "1.23\N{MULTIPLICATION SIGN}"),
        (units.short(1_500_000), "1.5M"),
        (units.short(10_000), "10k"),
        (in_bytes(512), "512 bytes"),
        (in_bytes(1_234_567_890), "1177 MB"),
        (units.power(-0.001), "n^0.00"),
    ],
)
def test_numbers_are_shown_in_a_few_figures(told: str, expected: str):
    assert told == expected


def test_the_tables_show_every_query_index_and_size():
    text = tables.show(made_up())
    assert all(query.call in text for query in QUERIES)
    assert all(name in text for name in TEN_NAMES | SIX_INDEXED_TABLES)
    (last,) = re.findall(r"contact_by_phone\(phone\) +1k +100 µs .*\n +10k .*\n +100k +(.*)", text)
    assert last.split() == [*["10", "ms", "20", "ms", "100", "µs", "200", "µs"], HUNDREDFOLD, "1"]
    assert re.search(r"contact_by_phone\(phone\) +n\^1\.00 +n\^0\.00 +O\(1\)", text)
    assert re.search(r"activity +9,000 → 8,000, -11%", text)
    assert "48 MB → 57 MB" in text


def test_one_size_alone_has_no_growth():
    assert "Growth" not in tables.show(made_up(sizes=(1_000,)))
    assert "Growth" not in page.html(made_up(sizes=(1_000,)), b"")


@cache
def shown() -> str:
    """Return the page of the result above."""
    return page.html(made_up(), chart.svg([made_up()]))


# Drawings ------------------------------------------------------------------------------------------------------------


def colours(png: bytes) -> dict[str, float]:
    """Return the share of each colour in a picture."""
    from PIL import Image

    image = Image.open(io.BytesIO(png)).convert("RGB")
    counted: Any = image.getcolors(image.width * image.height)
    return {"#{:02x}{:02x}{:02x}".format(*colour): count / image.width / image.height for count, colour in counted}


@pytest.mark.parametrize("results", [[made_up()], [made_up(), made_up("SQLite 3.40.1")]], ids=["one", "both"])
def test_the_picture_is_not_blank(results: list[Result]):
    png = chart.png(results)
    shares = colours(png)
    assert 0.5 < shares["#ffffff"] < 0.98
    assert all(shares[colour] > 0.0005 for colour in (chart.BEFORE, chart.AFTER, chart.INK))
    assert len(png) < 400_000


def test_before_is_above_after_in_the_picture():
    from PIL import Image

    image = Image.open(io.BytesIO(chart.png([made_up()]))).convert("RGB")
    width, height = image.width // 4, image.height // 3
    cell = image.crop((width // 2, 0, width, height))

    def lowest_row(colour: str) -> int:
        wanted = tuple(bytes.fromhex(colour[1:]))
        return max(y for y in range(cell.height) for x in range(cell.width) if cell.getpixel((x, y)) == wanted)

    assert lowest_row(chart.BEFORE) < lowest_row(chart.AFTER)


def test_the_svg_names_every_query():
    svg = chart.svg([made_up(), made_up("SQLite 3.40.1")])
    texts = [text for element in ElementTree.fromstring(svg).iter() for text in [element.text] if text]
    assert {query.call for query in QUERIES} <= set(texts)
    assert {"PostgreSQL 15.18", "SQLite 3.40.1", "without the indexes", "with them", "100k"} <= set(texts)
    assert any(f"PostgreSQL {HUNDREDFOLD}, SQLite {HUNDREDFOLD} at 100k" in text for text in texts)


@pytest.mark.parametrize("sizes", [(100,), (1_000, 1_100, 1_200, 9_999, 10_000)])
def test_any_sizes_make_a_picture_without_a_warning(sizes: tuple[int, ...]):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawing = chart.svg([made_up(sizes=sizes)]).decode()
    assert "10k" in drawing or sizes == (100,)
    assert "9.999k" not in drawing  # there is no room for both


def test_a_picture_of_the_same_result_is_the_same_file():
    assert chart.svg([made_up()]) == chart.svg([made_up()])


class Page(html.parser.HTMLParser):
    """The text of an HTML page, and its references."""

    def __init__(self, content: str) -> None:
        super().__init__()
        self.tags: list[str] = []
        self.open: list[str] = []
        self.references: list[str] = []
        self.cells: list[str] = []
        self.text = ""
        self.feed(content)

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        if tag not in ("meta", "br", "link", "img", "wbr"):
            self.open.append(tag)
        if tag == "td":
            self.cells.append("")
        for name, value in attributes:
            if name in ("src", "href", "xlink:href", "action", "data", "srcset"):
                self.references.append(value or "")

    def handle_startendtag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.handle_starttag(tag, attributes)
        self.open.pop()

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if "style" not in self.open:
            self.text += data
        if self.open[-1:] == ["td"]:
            self.cells[-1] += data


def test_the_page_needs_no_other_file():
    content = shown()
    parsed = Page(content)
    assert parsed.open == []
    assert not {"script", "link", "iframe", "object"} & set(parsed.tags)
    assert all(reference.startswith("data:") for reference in parsed.references)
    assert "@import" not in content
    assert "url(" not in content


def test_the_page_shows_the_picture_and_the_figures_of_every_query():
    parsed = Page(shown())
    (picture,) = parsed.references
    assert b64decode(picture.partition("base64,")[2]) == chart.svg([made_up()])
    for query in QUERIES:
        assert query.call in parsed.text
        assert query.claim in parsed.text
    assert parsed.cells.count(HUNDREDFOLD) == len(QUERIES)
    assert parsed.cells.count("n^1.00") == parsed.cells.count("n^0.00") == len(QUERIES)
    assert "up built the 10 indexes in 100 ms" in " ".join(parsed.text.split())
    assert set(parsed.cells) >= TEN_NAMES


def test_the_version_of_a_server_is_escaped():
    content = page.html(made_up('PostgreSQL <b>"15"</b>'), b"")
    assert "<b>" not in content
    assert "PostgreSQL &lt;b&gt;" in content


# In a browser --------------------------------------------------------------------------------------------------------

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")


@pytest.fixture
def browser(tmp_path: Path) -> list[str]:
    """Return the command of a headless browser; skip the test if none is installed."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if not found:
        pytest.skip(f"there is no browser on this machine: none of {', '.join(BROWSERS)}")
    flags = ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--enable-logging=stderr")
    return [found, *flags, f"--user-data-dir={tmp_path / 'profile'}"]


def opened(browser: list[str], *arguments: str, content: str, folder: Path) -> tuple[str, str]:
    """Open a page, and return the HTML that the browser made of it, and what it logged."""
    (folder / "page.html").write_text(content, encoding="utf-8")
    done = subprocess.run(
        [*browser, *arguments, (folder / "page.html").as_uri()],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    )
    return done.stdout, "\n".join(line for line in done.stderr.splitlines() if "CONSOLE" in line)


@pytest.mark.parametrize(
    ("flags", "paper", "ink"),
    [((), "#ffffff", "#1f2328"), (("--blink-settings=preferredColorScheme=0",), "#0d1117", "#e6edf3")],
    ids=["light", "dark"],
)
def test_a_browser_shows_the_picture(browser: list[str], flags: tuple[str, ...], paper: str, ink: str, tmp_path: Path):
    shot = tmp_path / "shot.png"
    arguments = (*flags, "--window-size=1200,1600", f"--screenshot={shot}")
    _, errors = opened(browser, *arguments, content=shown(), folder=tmp_path)
    assert errors == ""
    shares = colours(shot.read_bytes())
    assert shares[paper] > 0.2
    assert all(shares.get(colour, 0) > 0.0002 for colour in (chart.BEFORE, chart.AFTER, chart.INK, ink))


def test_nothing_is_cut_off_on_a_phone(browser: list[str], tmp_path: Path):
    framed = f"""
        <iframe id="phone" style="width: 360px; height: 800px" srcdoc="{escape(shown())}"></iframe>
        <script>
        onload = () => {{
            const seen = document.getElementById("phone").contentDocument
            document.body.dataset.width = seen.documentElement.scrollWidth
            document.body.dataset.chart = Math.round(seen.querySelector("img").getBoundingClientRect().width)
        }}
        </script>"""
    left, errors = opened(browser, "--dump-dom", content=framed, folder=tmp_path)
    assert errors == ""
    found = {name: int(value) for name, value in re.findall(r'data-(width|chart)="(\d+)"', left)}
    assert found["width"] <= 360
    assert found["chart"] > 260


# Files and progress -------------------------------------------------------------------------------------------------


def test_four_files_are_written_into_a_new_folder(tmp_path: Path):
    told: list[Told] = []
    report.write(made_up(), str(tmp_path / "deep" / "results"), told.append)
    names = ["bench.json", "bench.svg", "bench.png", "bench.html"]
    assert told == [Written(str(tmp_path / "deep" / "results" / name)) for name in names]
    assert read(json.loads((tmp_path / "deep" / "results" / "bench.json").read_text())) == made_up()
    assert sorted(path.name for path in (tmp_path / "deep" / "results").iterdir()) == sorted(names)


def test_without_matplotlib_a_warning_says_how_to_draw_the_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    told: list[Told] = []
    report.write(made_up(), str(tmp_path / "results"), told.append)
    picture = f"python -m indexer.bench.report {tmp_path}/results/bench {tmp_path}/results/bench.json"
    left_out = "There is no picture, because matplotlib is not installed."
    assert told[-1] == Warned(f"{left_out} Draw it: pip install -r requirements-bench.txt && {picture}")
    assert "matplotlib" in (ROOT / "requirements-bench.txt").read_text()
    assert sorted(path.name for path in (tmp_path / "results").iterdir()) == ["bench.html", "bench.json"]
    parsed = Page((tmp_path / "results" / "bench.html").read_text())
    assert "img" not in parsed.tags
    assert "pip install -r requirements-bench.txt" in parsed.text
    assert not any(part in parsed.text for part in ("without the indexes", "whisker"))
    assert "contact_by_phone(phone)" in parsed.text
    subprocess.run([sys.executable, *picture.split()[1:]], cwd=ROOT, check=True)
    assert (tmp_path / "results" / "bench.svg").exists()


def test_without_jinja2_a_warning_says_how_to_draw_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    told: list[Told] = []
    report.write(made_up(), str(tmp_path), told.append)
    redraw = f"python -m indexer.bench.report {tmp_path}/bench {tmp_path}/bench.json"
    left_out = "There is no page, because Jinja2 is not installed."
    assert told[-1] == Warned(f"{left_out} Draw it: pip install -r requirements-bench.txt && {redraw}")
    assert "jinja2" in (ROOT / "requirements-bench.txt").read_text()
    subprocess.run([sys.executable, *redraw.split()[1:]], cwd=ROOT, check=True)
    assert (tmp_path / "bench.html").exists()


def test_an_error_comes_without_a_warning_about_pictures(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    told: list[Told] = []
    with pytest.raises(UsageError):
        bench("mysql://somewhere/crm", [200], told.append)
    assert told == []


@pytest.mark.parametrize(("folder", "exit_code"), [("file/results", 1), ("", 2)])
def test_a_folder_that_cannot_be_written_is_refused_before_the_measurement(
    sqlite_url: str, tmp_path: Path, folder: str, exit_code: int
):
    (tmp_path / "file").touch()
    result = run("bench", "--rows", "200", "--out", folder and str(tmp_path / folder), url=sqlite_url)
    assert (result.exit_code, result.stdout) == (exit_code, "")
    assert "activities on" not in result.stderr
    if "--out FOLDER" in result.stderr:
        report.check(str(tmp_path / "another"))


@pytest.mark.long
@pytest.mark.parametrize("as_json", [False, True], ids=["table", "json"])
def test_results_that_cannot_be_written_are_printed(sqlite_url: str, as_json: bool):
    """Every role may write into /proc, but no file can be created there."""
    result = run("bench", "--rows", "100", "--out", "/proc/results", *(["--json"] if as_json else []), url=sqlite_url)
    assert result.exit_code == 1
    assert result.stderr.startswith("Error: /proc/results cannot be written")
    assert result.json()["rounds"] if as_json else "Before and after" in result.stdout


def test_an_older_file_stays_until_the_new_one_is_complete(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    report.write(made_up(), str(tmp_path), lambda event: None)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()}
    monkeypatch.setattr(os, "replace", failing)
    with pytest.raises(IndexerError, match="cannot be written"):
        report.write(made_up(sizes=(200, 400)), str(tmp_path), lambda event: None)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == before


def failing(*_: Any) -> None:
    """Raise the error of a full disk."""
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("rows", ["abc", "1e6", "1000,", "0", "-5", "10 000"])
def test_rows_that_are_no_numbers_are_a_usage_error(sqlite_url: str, rows: str):
    result = run("bench", "--rows", rows, url=sqlite_url)
    assert result.exit_code == 2
    assert f"{rows!r} is not a list of whole numbers such as 10000,100000." in result.stderr


def test_checking_a_folder_creates_nothing(tmp_path: Path):
    report.check(str(tmp_path / "not" / "there"))
    assert not (tmp_path / "not").exists()


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


STORY = (
    RoundStarted(200, "SQLite 3.40.1"),
    Filling("contact", 0, 400),
    Filling("activity", 200, 400),
    Filled(400, 0.25),
    BaseCreated("2792ed2d7978", ("contact",), 0.1),
    Measuring("queries without indexes", "contact_by_phone(phone)", 0, 2),
    Measuring("queries without indexes", "conversations_of(contact_id)", 1, 2),
    Written("bench.json"),
)


def test_a_log_has_a_line_for_each_phase_and_result(capsys: pytest.CaptureFixture[str]):
    passed_on: list[Any] = []
    with reporting(False, report=passed_on.append) as tell:
        for event in STORY:
            tell(event)
    assert capsys.readouterr().out.splitlines() == [
        "200 activities on SQLite 3.40.1",
        "  making rows",
        "  made and wrote 400 rows in 250 ms",
        "  timing queries without indexes",
        "Wrote bench.json",
    ]
    assert passed_on == [STORY[4]]


def test_a_terminal_has_a_bar(monkeypatch: pytest.MonkeyPatch):
    passed_on: list[Any] = []
    stream = Terminal()
    monkeypatch.setattr(sys, "stdout", stream)
    with reporting(False, report=passed_on.append) as tell:
        for event in STORY:
            tell(event)
    text = stream.getvalue()
    assert all(
        part in text for part in ("making rows", "50%", "activity", "queries without indexes", "Wrote bench.json")
    )
    assert passed_on == [STORY[4]]


def test_a_document_is_not_disturbed_by_progress(capsys: pytest.CaptureFixture[str]):
    with reporting(True) as tell:
        for event in STORY:
            tell(event)
    assert capsys.readouterr().out == ""


def test_the_picture_of_two_databases_is_drawn_from_kept_results(tmp_path: Path):
    for result in (made_up(), made_up("SQLite 3.40.1")):
        (tmp_path / f"{result.product}.json").write_text(json.dumps(asdict(result)))
    command = ["-m", "indexer.bench.report", tmp_path / "both", *sorted(tmp_path.glob("*.json"))]
    subprocess.run([sys.executable, *command], cwd=ROOT, check=True)
    assert (tmp_path / "both.svg").read_bytes() == chart.svg([made_up(), made_up("SQLite 3.40.1")])
    assert (tmp_path / "both.png").read_bytes().startswith(b"\x89PNG")
