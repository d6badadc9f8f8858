"""How many processes test side by side: several a core, because most of the time a test waits for a server."""

from __future__ import annotations

import os

import pytest

WORKERS_A_CORE = 2


@pytest.hookimpl(tryfirst=True)
def pytest_cmdline_main(config: pytest.Config) -> None:
    """Choose workers where pytest-xdist is there, nobody chose (-n, --dist) and more than one test is asked for."""
    is_worker = hasattr(config, "workerinput")
    if is_worker or not config.pluginmanager.hasplugin("xdist") or config.option.numprocesses is not None:
        return
    if not any("::" in argument for argument in config.args):
        config.option.numprocesses = "auto"  # none with --pdb


def pytest_xdist_auto_num_workers() -> int:
    """Return the number of workers that suits this machine."""
    return WORKERS_A_CORE * len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 4
