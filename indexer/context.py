"""The context of work on a database: the options, the reporter of events and the request to stop."""

from __future__ import annotations

from typing import NamedTuple

from indexer.events import Report
from indexer.options import Options
from indexer.signals import Stop


class Context(NamedTuple):
    """What work on a database is done with."""

    options: Options
    report: Report
    stop: Stop
