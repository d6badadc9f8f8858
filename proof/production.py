"""Batches of rows made by a second process: one core makes them while the other one writes those before.

Not by a thread: it would wait for the interpreter as often as it works.
"""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Thread
from typing import IO

from indexer.errors import IndexerError
from indexer.signals import SIGNALS, Stop
from proof.generator import Columns, Crm

WORTH_IT = 50_000  # activities; fewer are made in the time in which a process starts
PROJECT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))


@contextmanager
def production(crm: Crm, stop: Stop) -> Iterator[Callable[[str], Iterator[Columns]]]:
    """What ``crm.batches`` gives, to be asked for table by table, in the order of ``crm.counts`` and to the end.

    Args:
        crm: the rows.
        stop: ends the second process as soon as it is asked, so that nobody waits for rows that take long to make.

    Raises:
        IndexerError: the second process has ended too early.
        Interrupted: it has, because somebody asked to stop.
    """
    if crm.activities < WORTH_IT:
        yield crm.batches
        return
    command = [sys.executable, "-m", __name__, str(crm.activities), str(crm.seed)]
    with subprocess.Popen(  # noqa: S603
        command,
        cwd=PROJECT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C in a terminal reaches a whole group; we end this process ourselves
    ) as maker:
        assert maker.stdout
        stream = maker.stdout
        stop.on_ask(maker.kill)
        try:
            yield lambda table: _received(crm, table, stream, stop)
        finally:
            maker.kill()


def _received(crm: Crm, table: str, stream: IO[bytes], stop: Stop) -> Iterator[Columns]:
    left = crm.counts[table]
    while left:
        stop.check()
        try:
            columns: Columns = pickle.load(stream)  # noqa: S301  of our own making
        except (EOFError, pickle.UnpicklingError) as error:
            stop.check()
            hint = "Look for what ended it, such as a lack of memory, and run the same command again."
            raise IndexerError("The process that makes the rows has ended.", hint) from error
        left -= len(columns["id"])
        yield columns


def produce(crm: Crm, stream: IO[bytes]) -> None:
    """Write all batches of all tables."""
    for table in crm.counts:
        for columns in crm.batches(table):
            pickle.dump(columns, stream, pickle.HIGHEST_PROTOCOL)


def _end_with_the_other_process() -> None:
    """Ends when the other process does, however that ends and whatever is being made: it holds our standard input."""
    os.read(sys.stdin.fileno(), 1)
    os._exit(1)


if __name__ == "__main__":
    for number in SIGNALS:  # a service manager sends them to every process of a service
        signal.signal(number, signal.SIG_IGN)
    Thread(target=_end_with_the_other_process, daemon=True).start()
    try:
        produce(Crm(*map(int, sys.argv[1:])), sys.stdout.buffer)
        sys.stdout.buffer.flush()
    except BrokenPipeError:
        os._exit(1)  # nobody reads any more
