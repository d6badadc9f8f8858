"""The roles that docs/security.md describes can do what the page says, and no more."""

import re
import uuid
from collections.abc import Iterator

import pytest
from command import CLI, execute, refuses, run, succeed
from roles import PASSWORD, as_role

PAGE = (CLI.parent / "docs" / "security.md").read_text()
ROLES = ("crm_migrator", "crm_monitor")
MIGRATOR, MONITOR, READER = re.findall(r"^```postgresql\n(.*?)\n```", PAGE, re.MULTILINE | re.DOTALL)


@pytest.fixture
def names(superuser_url: str) -> Iterator[dict[str, str]]:
    """Yield another name for each role of the page; the roles are dropped after the test."""
    named = {role: f"{role}_{uuid.uuid4().hex[:8]}" for role in ROLES}
    yield named
    made = [name for (name,) in execute(superuser_url, "SELECT rolname FROM pg_roles") if name in named.values()]
    execute(superuser_url, *(f"DROP OWNED BY {name} CASCADE" for name in made), *(f"DROP ROLE {name}" for name in made))


def url_of(role: str, block: str, url: str, names: dict[str, str]) -> str:
    """Execute the statements of the page, which only a superuser may, and return the URL for the role."""
    for name, other in names.items():
        block = block.replace(name, other)
    execute(url, block.replace("change me", PASSWORD))
    return as_role(url, names[role])


def test_the_role_for_runs_needs_only_membership(superuser_url, base_url, names):
    url = url_of("crm_migrator", MIGRATOR, superuser_url, names)
    succeed("up", url=url)
    succeed("reindex", "ix_activity_type", url=url)
    succeed("analyze", "activity", url=url)
    succeed("down", url=url)


def test_the_role_that_reads_sees_the_state_and_neither_rows_nor_changes_anything(superuser_url, head_url, names):
    url = url_of("crm_monitor", MONITOR, superuser_url, names)
    for command in ("status", "check", "plan", "health", "history"):
        assert "pg_read_all_stats" not in succeed(command, url=url).stdout
    refuses(url, "down", exit_code=1)
    assert "may not read" in run("verify", url=url).stderr


def test_with_the_right_to_select_the_role_that_reads_verifies_queries_and_looks_rows_up(
    superuser_url, head_url, names
):
    url = url_of("crm_monitor", MONITOR + "\n" + READER, superuser_url, names)
    succeed("seed", "--rows", "100", url=head_url)
    succeed("verify", url=url)
    assert "amcheck" in succeed("check", "--deep", url=url).stdout
