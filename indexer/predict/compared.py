"""A report that adds to the end of each build what was predicted of it, and keeps both for the log."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from indexer.decide import CREATIONS
from indexer.events import Event, IndexFinished, Report, RunPredicted
from indexer.pace.rate import work_of
from indexer.records.log import Build

if TYPE_CHECKING:
    from indexer.predict.forecast import Forecast


class Compared:
    """Passes events on, with the predictions of a run."""

    def __init__(self, report: Report) -> None:
        self.report = report
        self._forecast: Forecast | None = None
        self._finished: dict[str, tuple[int, float]] = {}  # the bytes and the seconds of each index

    def expect(self, forecast: Forecast | None) -> None:
        """Compare the builds that follow with this forecast."""
        self._forecast = forecast
        self._finished.clear()

    def __call__(self, event: Event) -> None:
        """Pass an event on."""
        if isinstance(event, IndexFinished) and event.action in CREATIONS and self._forecast:
            name = event.target.name
            if event.bytes is not None:
                self._finished[name] = event.bytes, event.seconds
            if predicted := self._forecast.predictions.get(name):
                event = event._replace(predicted_bytes=predicted.bytes, predicted_seconds=predicted.seconds)
        self.report(event)

    def builds(self, taken: Mapping[str, float]) -> dict[str, Build]:
        """Return what the builds so far have taken, by the name of the index.

        Args:
            taken: their seconds without waits, as far as they are known: not those of an index that is made of others.
        """
        predictions = self._forecast.predictions if self._forecast else {}
        return {
            name: Build(
                bytes=size,
                seconds=round(taken.get(name, seconds), 3),
                work=work_of(predictions[name].table_bytes, size, predictions[name].is_hash),
                predicted_bytes=predictions[name].bytes,
                predicted_seconds=_rounded(predictions[name].seconds),
            )
            for name, (size, seconds) in self._finished.items()
            if name in predictions
        }


def predicted_run(forecast: Forecast) -> RunPredicted:
    """Return the event about what a run is expected to take."""
    return RunPredicted(**{name: getattr(forecast, name) for name in RunPredicted._fields})


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 3)
