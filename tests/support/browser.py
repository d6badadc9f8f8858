"""A headless browser that opens a page, as the tests of pages need it."""

from __future__ import annotations

import shutil
import subprocess
from html.parser import HTMLParser
from pathlib import Path

import pytest

BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
FLAGS = ("--headless=new", "--no-sandbox", "--disable-gpu", "--hide-scrollbars", "--enable-logging=stderr")
DARK = "--blink-settings=preferredColorScheme=0"
EMPTY_TAGS = ("meta", "br", "link", "img", "wbr")


def command_of_a_browser(profile: Path) -> list[str]:
    """Return the command of a headless browser; skip the test if none is installed."""
    found = next(filter(None, map(shutil.which, BROWSERS)), None)
    if not found:
        pytest.skip(f"there is no browser on this machine: none of {', '.join(BROWSERS)}")
    return [found, *FLAGS, f"--user-data-dir={profile}"]


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


class Page(HTMLParser):
    """A page taken apart: its tags, what it refers to, its cells and its text."""

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
        if tag not in EMPTY_TAGS:
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
