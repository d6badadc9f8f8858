"""Test what the page of the service says of a snapshot, and what a browser makes of it."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from html import escape, unescape
from pathlib import Path

import pytest
import snapshots
from browser import DARK, Page, command_of_a_browser, opened
from served import serving
from snapshots import HEAD, INDEXES, UP, Document

from indexer.service.page import content_security_policy, page, style
from indexer.service.page.verdict import age, verdict

SCENES: dict[str, Callable[[], Document]] = {
    "well": snapshots.well,
    "advised": snapshots.advised,
    "drifted": snapshots.drifted,
    "building": snapshots.pending,
    "pending": lambda: snapshots.pending(building=False),
    "empty": snapshots.empty,
    "away": snapshots.away,
    "unread": snapshots.unread,
    "refused": lambda: snapshots.unread(up=False),
    "many": snapshots.many,
    "hostile": snapshots.hostile,
}


def text_of(document: Document) -> str:
    """Return the text of a page in one line, with a space between its blocks."""
    content = re.sub(r"<(small|dd|td|th|p|h1)\b", r" <\1", page(document))
    return " ".join(Page(content).text.split())


def commands_of(content: str) -> list[str]:
    """Return the commands that a page offers to copy."""
    return [unescape(each) for each in re.findall(r'<code class="command">(.*?)</code>', content)]


# What is said first ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("scene", "tone", "title"),
    [
        ("well", "good", "All is well"),
        ("advised", "warning", "1 index is suspect"),
        ("drifted", "bad", "3 of 10 indexes need repair"),
        ("building", "warning", "A build is waiting for another session"),
        ("pending", "warning", "1 revision pending"),
        ("empty", "warning", "No tables yet"),
        ("away", "bad", "The database cannot be read"),
        ("unread", "unknown", "Reading the database"),
        ("refused", "bad", "The database cannot be read"),
        ("many", "good", "All is well"),
    ],
)
def test_the_most_urgent_is_said_first(scene: str, tone: str, title: str):
    document = SCENES[scene]()
    assert verdict(document)[:2] == (tone, title)
    content = page(document)
    assert f"<title>{title} · Indexes</title>" in content
    assert f"<h1>{title}</h1>" in content
    assert f'<section class="verdict {tone}">' in content


def test_a_build_that_nothing_blocks_is_said_with_its_percent():
    document = snapshots.pending()
    del document["builds"][1]
    said = verdict(document)
    assert said[:2] == ("busy", "1 index is being built")
    assert said.text == "ix_contact_phone_hash is at 42%. 3 of 10 indexes are valid; 3 of 10 queries are served."


def test_a_corrupt_index_is_more_urgent_than_a_build():
    document = snapshots.changed(snapshots.pending(), "ix_activity_openphone_id", finding="corrupt")
    document["gate"] = snapshots.closed("Corrupt: ix_activity_openphone_id.", "Run: ", "python cli.py reindex ix")
    assert verdict(document)[:3] == ("bad", "1 index is corrupt", "Corrupt: ix_activity_openphone_id.")


def test_a_query_that_no_index_serves_is_said_although_the_gate_is_open():
    document = snapshots.well()
    document["queries"][1].update(reason="a note of verify")
    document["queries"][2].update(served=False, reason="the planner reads the whole table")
    said = verdict(document)
    assert said[:2] == ("warning", "1 query is not served")
    assert "members_by_status(campaign_id, status)" in said.text
    assert "the planner reads the whole table" in text_of(document)
    assert "a note of verify" not in text_of(document)


def test_an_index_on_a_node_that_does_not_answer_is_not_called_broken():
    document = snapshots.changed(snapshots.well(), "ix_activity_type", state="unknown", finding="unknown")
    document["gate"] = snapshots.closed("A node of the cluster does not answer.")
    assert verdict(document)[:2] == ("unknown", "Cannot tell whether all is well")


def test_a_snapshot_that_is_too_old_is_not_shown_as_the_present():
    document = snapshots.well()
    document["snapshot"]["age_seconds"] = 29.0
    assert verdict(document).title == "All is well"
    document["snapshot"]["age_seconds"] = 400.0
    assert verdict(document)[:2] == ("unknown", "This page is out of date")
    assert '<body class="old">' in page(document)


def test_what_was_read_before_the_database_went_away_is_shown_as_old():
    content = page(snapshots.away())
    assert "The server closed the connection. What follows was read 4 min ago, and may have changed." in content
    assert '<body class="old">' in content
    assert set(INDEXES) <= set(re.findall(r"ix_\w+", text_of(snapshots.away())))


def test_ages_are_said_in_their_largest_unit():
    assert [age(seconds) for seconds in (-1, 0.4, 119, 120, 7199, 7200, 172_799, 172_800)] == [
        *("0 s", "0 s", "119 s", "2 min", "119 min", "2 h", "47 h", "2 days")
    ]


# What is shown --------------------------------------------------------------------------------------------------------


def test_commands_can_be_copied_as_they_are():
    assert commands_of(page(snapshots.drifted())) == [UP]
    assert commands_of(page(snapshots.advised())) == [
        *["python cli.py check --deep ix_webhook_event_event_type"] * 2,
        "python cli.py reindex ix_activity_type",
    ]
    assert "user-select: all" in style()


def test_a_sentence_after_a_command_begins_with_its_first_word():
    document = snapshots.drifted()
    hint = f"To replace it, run: {UP} --replace. Or drop it, then run: {UP}"
    document["gate"].update(hint=hint, commands=[UP, f"{UP} --replace"])
    content = page(document)
    assert commands_of(content) == [f"{UP} --replace", UP]
    assert "<span>Or drop it, then run:</span>" in content


def test_every_index_is_shown_with_its_key_state_size_and_scans():
    said = text_of(snapshots.advised())
    for name, (table, columns, call) in INDEXES.items():
        assert f"{name} {table} ({', '.join(columns)})" in said
        assert call in said
    assert "contact_flag (flag_type, contact_id) WHERE flag_type = 'opted_out'" in said
    assert "2900 MB about 1130 MB measured against the build of 3 May" in said
    assert "suspect collation changed; deep-checked on 20 November" in said
    assert "Cannot tell what a rebuild would leave, because the table has too few rows: ix_conversation_contact" in said
    assert "1,204,311 since 3 May" in said
    assert "a rebuild would free 1770 MB" in said


def test_indexes_and_queries_that_need_something_come_first():
    content = page(snapshots.drifted())
    names = re.findall(r'<th role="rowheader" scope="row"><span class="name">(.*?)</span>', content)
    broken = ["ix_contact_phone_hash", "ix_activity_conversation_created", "ix_activity_type"]
    assert [name.replace("<wbr>", "") for name in names][:3] == broken
    assert "found <code>conversation_id, created_at</code>, declared <code>conversation_id, created_at DESC" in content
    said = text_of(snapshots.drifted())
    assert said.index("contact_by_phone(phone)") < said.index("activity_seen(openphone_id)")


def test_builds_are_shown_with_their_phase_percent_and_blockers():
    content, said = page(snapshots.pending()), text_of(snapshots.pending())
    assert '<progress max="100" value="42" aria-label="Progress of ix_contact_phone_hash">' in content
    assert '<progress max="100" aria-label="Progress of ix_activity_conversation_created">' in content
    assert "loading tuples in tree, 42% running for 3 min" in said
    assert "pid 47110 31 min idle in transaction, holds a lock on activity" in said
    assert "a prepared transaction not known holds a lock on activity" in said


def test_what_is_not_built_yet_is_no_fault():
    said = text_of(snapshots.pending())
    assert said.count("not built yet") == 5
    assert said.count("not served yet") == 7
    assert f"{HEAD} Performance indexes for webhook" in said
    assert "applying since 26 November, 10:02 UTC: interrupted or still running" in said


def test_what_is_not_known_is_said_to_be_not_known():
    said = text_of(snapshots.unread())
    for fact in ("Indexes", "Queries", "Size", "Revision"):
        assert f"{fact} not known" in said
    assert not re.search(r"\b0\b(?! s)", said.replace(snapshots.well()["version"], ""))
    assert "Not known of this database: scans, last scans." in text_of(snapshots.many())


def test_an_index_whose_scans_are_not_counted_is_not_shown_with_none():
    parts = {"scans": None, "since": None, "last_scan": None, "bytes_after_rebuild": None}
    document = snapshots.changed(snapshots.well(), "ix_activity_type", **parts)
    assert "325 MB not known not known not known" in text_of(document)


def test_why_it_cannot_be_told_of_any_index_what_a_rebuild_would_leave_is_said_without_names():
    document = snapshots.well()
    for each in document["indexes"]:
        each.update(bytes_after_rebuild=None, why="an index under 1 MB is too small")
    snapshots.changed(document, "ix_contact_phone_hash", why="a hash index under 8 MB is too small")
    said = text_of(document)
    why = "because an index under 1 MB is too small, and a hash index under 8 MB is too small."
    assert f"Cannot tell what a rebuild would leave, {why}" in said
    assert "Not known of this database" not in said
    assert "After a rebuild" not in said


def test_a_standby_is_shown_with_its_lag():
    document = snapshots.well()
    document["database"]["standby"] = {"seconds": 3.0}
    assert "PostgreSQL 15.10, a standby 3 s behind" in text_of(document)


def test_the_page_reloads_itself_until_it_is_told_to_stop():
    assert '<meta http-equiv="refresh" content="5">' in page(snapshots.well())
    assert 'href="/?refresh=off"' in page(snapshots.well())
    stopped = page(snapshots.well(), refreshing=False)
    assert "http-equiv" not in stopped
    assert '<a href="/">' in stopped


def keys_of(document: Document) -> dict[str, set[str]]:
    """Return the keys of a document, and those of the parts of its lists and dictionaries."""
    found = {"": set(document)}
    for name, value in document.items():
        parts = [part for part in (value if isinstance(value, list) else [value]) if isinstance(part, dict)]
        if parts:
            found[name] = set().union(*parts)
    return found


def test_the_made_up_documents_have_the_keys_of_a_real_one(any_head_url: str):
    with serving(any_head_url) as service:
        real = service.refresh(care=True).document()
        content = service.get("/").text
    ours, theirs = keys_of(snapshots.well()), keys_of(real)
    assert theirs.keys() == ours.keys() - {"advice"}
    for part, keys in theirs.items():
        assert ours[part] <= keys, part
    assert content == page(real)
    assert "<h1>All is well</h1>" in content


def test_the_page_of_a_database_without_tables_says_what_to_run(database_url: str):
    with serving(database_url) as service:
        content = service.refresh(care=True).get("/").text
    assert "<h1>No tables yet</h1>" in content
    assert commands_of(content) == [UP]


# HTML -----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("scene", SCENES)
def test_the_page_is_whole_and_needs_no_other_file(scene: str):
    content = page(SCENES[scene]())
    parsed = Page(content)
    assert parsed.open == []
    assert not {"script", "iframe", "object", "img"} & set(parsed.tags)
    own = {"/?refresh=off", "/status.json", "/metrics", "/gate"}
    assert {each for each in parsed.references if not each.startswith("data:image/svg+xml,")} == own
    assert parsed.tags.count("h1") == 1
    assert parsed.tags.count("table") == content.count("<thead")
    assert "style=" not in content
    assert content.count("<svg") == content.count('aria-hidden="true"')


def test_what_comes_from_the_database_is_neither_obeyed_nor_hidden():
    content = page(snapshots.hostile())
    assert "<script" not in content
    assert "<img" not in content
    assert '" onload' not in content
    assert "\u202e" not in content
    assert "\x1b" not in content
    assert "\\u202egnp.exe\\x1b[2J" in content
    assert content.count("&lt;script&gt;document.title = &#34;obeyed&#34;") > 10


def test_the_policy_allows_the_style_of_the_page_and_no_script():
    policy = content_security_policy()
    assert re.search("default-src 'none'; style-src 'sha256-[A-Za-z0-9+/]{43}='; img-src data:;", policy)
    assert "unsafe" not in policy


# Colours --------------------------------------------------------------------------------------------------------------


def luminance(colour: str) -> float:
    """Return the relative luminance of a colour such as #146c2e, as WCAG 2 defines it."""
    shares = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (share / 12.92 if share <= 0.03928 else ((share + 0.055) / 1.055) ** 2.4 for share in shares)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """Return the contrast of two colours."""
    dark, light = sorted((luminance(one), luminance(other)))
    return (light + 0.05) / (dark + 0.05)


def test_every_text_has_enough_contrast_in_light_and_in_dark():
    schemes = re.findall(r":root \{(.*?)\}", style(), re.DOTALL)
    assert len(schemes) == 2
    for scheme in schemes:
        colours = dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6})", scheme))
        tones = ("good", "busy", "warning", "bad", "unknown")
        grounds = ["paper", "card", *(f"{tone}-soft" for tone in tones)]
        pairs = [(text, ground) for text in ("ink", "faint") for ground in grounds]
        pairs += [(tone, ground) for tone in tones for ground in ("card", f"{tone}-soft")]
        pairs += [("link", "paper")]
        weak = {pair: contrast(colours[pair[0]], colours[pair[1]]) for pair in pairs}
        assert {pair: found for pair, found in weak.items() if found < 4.5} == {}


# In a browser ---------------------------------------------------------------------------------------------------------

FRAMES = """
<body>{frames}
<script>
onload = () => {{
    const seen = {{}}
    for (const frame of document.querySelectorAll("iframe")) {{
        const {{ documentElement: root, title, body }} = frame.contentDocument
        const wide = [...root.querySelectorAll("body *")].filter(each => {{
            const box = each.getBoundingClientRect()
            return box.width && box.height && box.right > root.clientWidth + 1 && !each.closest("thead")
        }})
        seen[frame.id] = {{
            title, width: root.scrollWidth, wide: wide.map(each => each.outerHTML.slice(0, 100)),
            paper: getComputedStyle(body).backgroundColor, scripts: root.querySelectorAll("script, img").length,
            titles: [...root.querySelectorAll("td:empty")].filter(each => each.offsetHeight).length,
            large: parseFloat(getComputedStyle(root.querySelector("h1")).fontSize),
        }}
    }}
    document.body.textContent = JSON.stringify(seen)
}}
</script>
"""
WIDTHS = (360, 900, 1280)


def framed(scene: str, width: int) -> str:
    """Return a frame of a width with the page of a scene, under the policy that the service sends with it."""
    policy = content_security_policy().replace("frame-ancestors 'none'", "")  # for which only a header can ask
    meta = f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
    content = page(SCENES[scene](), refreshing=False).replace("<head>", f"<head>{meta}")
    return f'<iframe id="{scene} {width}" style="width: {width}px; height: 900px" srcdoc="{escape(content)}"></iframe>'


@pytest.mark.parametrize(("flags", "paper"), [((), "rgb(245, 246, 248)"), ((DARK,), "rgb(14, 18, 23)")])
def test_a_browser_shows_every_page_whole_and_obeys_nothing_in_it(flags: tuple[str, ...], paper: str, tmp_path: Path):
    frames = "".join(framed(scene, width) for scene in SCENES for width in WIDTHS)
    browser = command_of_a_browser(tmp_path / "profile")
    left, errors = opened(browser, *flags, "--dump-dom", content=FRAMES.format(frames=frames), folder=tmp_path)
    assert errors == ""
    found = json.loads(unescape(left[left.index("{") : left.rindex("}") + 1]))
    assert len(found) == len(SCENES) * len(WIDTHS)
    for frame, seen in found.items():
        scene, width = frame.split()
        assert seen["title"] == f"{verdict(SCENES[scene]()).title} · Indexes"
        assert (frame, seen["wide"]) == (frame, [])
        assert seen["width"] <= int(width)
        assert seen["paper"] == paper
        assert seen["scripts"] == 0
        assert int(width) > 960 or seen["titles"] == 0  # titles of cells that have nothing in them
        assert seen["large"] > 18
