"""How many processes test side by side, and in which order: the long tests first.

There are several processes a core, because most of the time a test waits for a server.
"""

from __future__ import annotations

import os
import re
from typing import Any

import pytest

WORKERS_A_CORE = 2
SETTING_UP_MUCH = ("test_foreign_crm.py", "test_installed.py", "test_standby.py", "test_usage.py", "test_verify.py")


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Choose the number of workers if pytest-xdist is installed, -n is not given and several tests are selected."""
    is_worker = hasattr(config, "workerinput")
    if is_worker or not config.pluginmanager.hasplugin("xdist"):
        return
    if config.option.numprocesses is None and not any("::" in argument for argument in config.args):
        config.option.numprocesses = "auto"  # none with --pdb


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Return the number of workers that suits this machine."""
    return WORKERS_A_CORE * (os.cpu_count() or 1)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> Any:
    """Give each test to the next free worker, but all tests with the same expensive set-up to one worker."""
    from xdist.scheduler import LoadScopeScheduling

    class Scheduling(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            file = nodeid.partition("::")[0]
            kind = re.search(r"\[(sqlite|postgresql)\b", nodeid)
            return f"{file} {kind and kind[1]}" if file.endswith(SETTING_UP_MUCH) else nodeid

    return Scheduling(config, log)


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the tests that are marked as long, so that none of them runs alone at the end."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)
