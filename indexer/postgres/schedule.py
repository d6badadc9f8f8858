"""Which builds run side by side: never two on one table, a partial index alone, and two only while nobody is hurt."""

from __future__ import annotations

import selectors
from collections.abc import Callable, Sequence
from typing import Any

from indexer.errors import IndexFailed, lines_of
from indexer.migrator import IndexOperation, Work
from indexer.options import Options
from indexer.signals import Stop

TICK = 0.1  # seconds between two looks at what has no socket to wait on
SIDE_BY_SIDE = 2  # more builds at once were slower on every server measured
IGNORES_OTHERS = 140000  # from 14 on a build on plain columns is not waited for by another one's last phase


class Schedule:
    """Runs the work on several indexes in one thread: each yields what it waits for, a session or nothing.

    Args:
        others_active: is anybody else at work on the server now? Asked before each start.
    """

    def __init__(self, options: Options, version: int, others_active: Callable[[], bool], stop: Stop) -> None:
        self.options = options
        self.version = version
        self.others_active = others_active
        self.stop = stop
        self._running: dict[IndexOperation, Work] = {}
        self._waits_on: dict[IndexOperation, Any] = {}

    def run(self, operations: Sequence[IndexOperation], work: Callable[[IndexOperation], Work]) -> None:
        """Carry them all out, those on the largest tables first: their builds, one after another, take longest.

        An index that cannot be built does not keep the others from it. After any other failure nothing new begins; what
        runs is finished, then the failure is raised.
        """
        try:
            self._run(sorted(operations, key=_is_partial), work)
        finally:
            self.stop.close()

    def _run(self, waiting: list[IndexOperation], work: Callable[[IndexOperation], Work]) -> None:
        failure: BaseException | None = None
        unbuilt: list[IndexFailed] = []
        while (waiting and not failure) or self._running:
            while not failure and (following := self._following(waiting)):
                waiting.remove(following)
                self._running[following] = work(following)
            begun = list(self._running)
            for operation in begun:
                error = self._advance(operation)
                if isinstance(error, IndexFailed):
                    unbuilt.append(error)
                else:
                    failure = failure or error
            if len(self._running) == len(begun):
                self._wait()  # else a slot is free, and the next one can begin
        if failure or unbuilt:
            raise failure or _together(unbuilt)

    def _following(self, waiting: Sequence[IndexOperation]) -> IndexOperation | None:
        """The next operation that may begin now, if any."""
        following = next(filter(self._is_free, waiting), None)
        if following is None or (self._running and not self._may_join(following)):
            return None
        return following

    def _is_free(self, operation: IndexOperation) -> bool:
        """Is nobody at work on its table? Plain builds of one table may run together."""
        tables = {running.index.table for running in self._running}
        return self.options.offline or operation.index.table not in tables

    def _may_join(self, following: IndexOperation) -> bool:
        """May this one begin beside those that run? The cheap questions first."""
        if len(self._running) >= (self.options.jobs or SIDE_BY_SIDE):
            return False
        if self.options.offline:
            return True
        if self.version < IGNORES_OTHERS or any(map(_is_partial, (following, *self._running))):
            return False
        return self.options.jobs is not None or not self.others_active()

    def _advance(self, operation: IndexOperation) -> BaseException | None:
        try:
            self._waits_on[operation] = next(self._running[operation])
            return None
        except StopIteration:
            failure = None
        except Exception as error:
            failure = error
        del self._running[operation]
        self._waits_on.pop(operation, None)
        return failure

    def _wait(self) -> None:
        """Until a session has news, somebody asks to stop, or a tick has passed."""
        sockets = [each for each in self._waits_on.values() if each is not None]
        stop = [] if self.stop.asked else [self.stop]
        with selectors.DefaultSelector() as selector:  # select() takes no descriptor above 1,023
            for each in (*sockets, *stop):
                selector.register(each, selectors.EVENT_READ)
            selector.select(TICK)


def _together(failures: Sequence[IndexFailed]) -> IndexFailed:
    """Return one failure that says what all of them say."""
    first, *others = failures
    if not others:
        return first
    hints = dict.fromkeys(failure.hint for failure in failures)
    return IndexFailed("\n".join(failure.message for failure in failures), lines_of(hints))


def _is_partial(operation: IndexOperation) -> bool:
    return operation.index.on_postgresql.where is not None
