"""What a process does before anything else is imported, which takes long enough for a Ctrl-C."""

from __future__ import annotations

import os
import signal
import sys


def prepare_process() -> None:
    """Let a signal end the process without a traceback, and open the standard streams that are closed."""
    for each in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(each) is not signal.SIG_IGN:  # by nohup, or by a shell for a job in the background
            signal.signal(each, lambda number, _: os._exit(128 + number))
    while (descriptor := os.open(os.devnull, os.O_RDWR)) < 3:  # what is opened next would get the number of a stream
        pass
    os.close(descriptor)
    sys.stdout, sys.stderr = sys.stdout or open(1, "w"), sys.stderr or open(2, "w")  # noqa: SIM115
