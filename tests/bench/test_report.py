"""Test what a result says, the files that are drawn of it, and the progress that is shown."""

from __future__ import annotations

import io
import json
import os
import re
import runpy
import subprocess
import sys
import warnings
import xml.etree.ElementTree as ElementTree
from base64 import b64decode
from dataclasses import asdict
from functools import cache
from html import escape
from pathlib import Path
from typing import Any

import pytest
from browser import DARK, Page, command_of_a_browser, opened
from command import SEVEN_TABLES, SIX_INDEXED_TABLES, TEN_NAMES

import cli
from indexer.bench import chart, report, tables
from indexer.bench.events import Filled, Filling, Measuring, RoundStarted, Told, Written
from indexer.bench.progress import reporting
from indexer.bench.result import Build, QueryTiming, Result, Round, Timing, Writes, exponent, read
from indexer.errors import IndexerError
from indexer.events import BaseCreated, Warned
from indexer.text import duration, in_bytes
from queries import QUERIES

ROOT = Path(cli.__file__).resolve().parent
HUNDREDFOLD = "100\N{MULTIPLICATION SIGN}"

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
    ("text", "expected"),
    [
        (duration(0.0000123), "12 µs"),
        (duration(0.0012345), "1.2 ms"),
        (duration(0.0456), "46 ms"),
        (duration(0.99999), "1.0 s"),
        (duration(12.34), "12.3 s"),
        (duration(123.4), "2 min 3 s"),
        (duration(2e-8), "0.0 µs"),
        (tables.times(12345), "12,345\N{MULTIPLICATION SIGN}"),
        (tables.times(1.2345), "1.23\N{MULTIPLICATION SIGN}"),
        (tables.short(1_500_000), "1.5M"),
        (tables.short(10_000), "10k"),
        (in_bytes(512), "512 bytes"),
        (in_bytes(1_234_567_890), "1177 MB"),
        (tables.power(-0.001), "n^0.00"),
    ],
)
def test_numbers_are_shown_in_a_few_figures(text: str, expected: str):
    assert text == expected


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
    assert "Growth" not in report.page(made_up(sizes=(1_000,)), b"")


@cache
def shown() -> str:
    """Return the page of the result above."""
    return report.page(made_up(), chart.picture([made_up()], "svg"))


# Drawings ------------------------------------------------------------------------------------------------------------


def colours(png: bytes) -> dict[str, float]:
    """Return the share of each colour in a picture."""
    from PIL import Image

    image = Image.open(io.BytesIO(png)).convert("RGB")
    counted: Any = image.getcolors(image.width * image.height)
    return {"#{:02x}{:02x}{:02x}".format(*colour): count / image.width / image.height for count, colour in counted}


@pytest.mark.parametrize("results", [[made_up()], [made_up(), made_up("SQLite 3.40.1")]], ids=["one", "both"])
def test_the_picture_is_not_blank(results: list[Result]):
    png = chart.picture(results, "png")
    shares = colours(png)
    assert 0.5 < shares["#ffffff"] < 0.98
    assert all(shares[colour] > 0.0005 for colour in (chart.BEFORE, chart.AFTER, chart.INK))
    assert len(png) < 400_000


def test_before_is_above_after_in_the_picture():
    from PIL import Image

    image = Image.open(io.BytesIO(chart.picture([made_up()], "png"))).convert("RGB")
    width, height = image.width // 4, image.height // 3
    cell = image.crop((width // 2, 0, width, height))

    def lowest_row(colour: str) -> int:
        wanted = tuple(bytes.fromhex(colour[1:]))
        return max(y for y in range(cell.height) for x in range(cell.width) if cell.getpixel((x, y)) == wanted)

    assert lowest_row(chart.BEFORE) < lowest_row(chart.AFTER)


def test_the_svg_names_every_query():
    svg = chart.picture([made_up(), made_up("SQLite 3.40.1")], "svg")
    texts = [text for element in ElementTree.fromstring(svg).iter() for text in [element.text] if text]
    assert {query.call for query in QUERIES} <= set(texts)
    assert {"PostgreSQL 15.18", "SQLite 3.40.1", "without the indexes", "with them", "100k"} <= set(texts)
    assert any(f"PostgreSQL {HUNDREDFOLD}, SQLite {HUNDREDFOLD} at 100k" in text for text in texts)


@pytest.mark.parametrize("sizes", [(100,), (1_000, 1_100, 1_200, 9_999, 10_000)])
def test_any_sizes_make_a_picture_without_a_warning(sizes: tuple[int, ...]):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        drawing = chart.picture([made_up(sizes=sizes)], "svg").decode()
    assert "10k" in drawing or sizes == (100,)
    assert "9.999k" not in drawing  # there is no room for both


def test_a_picture_of_the_same_result_is_the_same_file():
    assert chart.picture([made_up()], "svg") == chart.picture([made_up()], "svg")


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
    assert b64decode(picture.partition("base64,")[2]) == chart.picture([made_up()], "svg")
    for query in QUERIES:
        assert query.call in parsed.text
        assert query.claim in parsed.text
    assert parsed.cells.count(HUNDREDFOLD) == len(QUERIES)
    assert parsed.cells.count("n^1.00") == parsed.cells.count("n^0.00") == len(QUERIES)
    assert "up built the 10 indexes in 100 ms" in " ".join(parsed.text.split())
    assert set(parsed.cells) >= TEN_NAMES


def test_the_version_of_a_server_is_escaped():
    content = report.page(made_up('PostgreSQL <b>"15"</b>'), b"")
    assert "<b>" not in content
    assert "PostgreSQL &lt;b&gt;" in content


# In a browser --------------------------------------------------------------------------------------------------------


@pytest.fixture
def browser(tmp_path: Path) -> list[str]:
    """Return the command of a headless browser."""
    return command_of_a_browser(tmp_path / "profile")


@pytest.mark.parametrize(
    ("flags", "paper", "ink"),
    [((), "#ffffff", "#1f2328"), ((DARK,), "#0d1117", "#e6edf3")],
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
    events: list[Told] = []
    report.write(made_up(), str(tmp_path / "deep" / "results"), events.append)
    names = ["bench.json", "bench.svg", "bench.png", "bench.html"]
    assert events == [Written(str(tmp_path / "deep" / "results" / name)) for name in names]
    assert read(json.loads((tmp_path / "deep" / "results" / "bench.json").read_text())) == made_up()
    assert sorted(path.name for path in (tmp_path / "deep" / "results").iterdir()) == sorted(names)


def test_without_matplotlib_a_warning_says_how_to_draw_the_picture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    events: list[Told] = []
    report.write(made_up(), str(tmp_path / "results"), events.append)
    picture = f"python -m indexer.bench.report {tmp_path}/results/bench {tmp_path}/results/bench.json"
    left_out = "There is no picture, because matplotlib is not installed."
    assert events[-1] == Warned(f"{left_out} Draw it: pip install matplotlib && {picture}")
    assert "matplotlib" in (ROOT / "requirements-bench.txt").read_text()
    assert sorted(path.name for path in (tmp_path / "results").iterdir()) == ["bench.html", "bench.json"]
    parsed = Page((tmp_path / "results" / "bench.html").read_text())
    assert "img" not in parsed.tags
    assert "pip install matplotlib" in parsed.text
    assert not any(part in parsed.text for part in ("without the indexes", "whisker"))
    assert "contact_by_phone(phone)" in parsed.text
    monkeypatch.undo()
    draw(picture, monkeypatch)
    assert (tmp_path / "results" / "bench.svg").exists()


def draw(command: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Execute the command of a warning in this process, which has imported what draws."""
    monkeypatch.setattr(sys, "argv", command.removeprefix("python -m ").split())
    runpy.run_path(report.__file__, run_name="__main__")


def test_without_jinja2_a_warning_says_how_to_draw_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "jinja2", None)
    events: list[Told] = []
    report.write(made_up(), str(tmp_path), events.append)
    redraw = f"python -m indexer.bench.report {tmp_path}/bench {tmp_path}/bench.json"
    left_out = "There is no page, because Jinja2 is not installed."
    assert events[-1] == Warned(f"{left_out} Draw it: pip install jinja2 && {redraw}")
    assert "jinja2" in (ROOT / "requirements-bench.txt").read_text()
    monkeypatch.undo()
    draw(redraw, monkeypatch)
    assert (tmp_path / "bench.html").exists()


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
        "  creating rows",
        "  created and wrote 400 rows in 250 ms",
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
        part in text for part in ("creating rows", "50%", "activity", "queries without indexes", "Wrote bench.json")
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
    assert (tmp_path / "both.svg").read_bytes() == chart.picture([made_up(), made_up("SQLite 3.40.1")], "svg")
    assert (tmp_path / "both.png").read_bytes().startswith(b"\x89PNG")
