"""What a run is expected to take, and how far that was wrong, in words and as JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from indexer.text import duration, few, in_bytes

if TYPE_CHECKING:
    from indexer.events import RunPredicted
    from indexer.predict.forecast import Forecast, Prediction
    from indexer.records.log import Build

TELLING, LONG = 1024 * 1024, 1.0  # bytes and seconds from which on a relative error tells anything
DEFAULT = "a default, because no build was measured on this database yet"


def of_index(each: Prediction) -> str:
    """Return what the build of one index is expected to take."""
    parts = [_size(each), _time(each.seconds, each.seconds_at_least, each.seconds_at_most)]
    if each.wal_bytes:
        parts.append(f"{in_bytes(each.wal_bytes)} of WAL")
    if each.sort_bytes:
        parts.append(f"{in_bytes(each.sort_bytes)} to sort in")
    return f"predicted: {', '.join(parts)}"


def _size(each: Prediction) -> str:
    if each.bytes is not None:
        return f"about {in_bytes(each.bytes)}"
    bound = "" if each.bytes_at_most is None else f"at most {in_bytes(each.bytes_at_most)}, "
    return f"{bound}cannot tell its size: {each.why}"


def of_run(found: Forecast | RunPredicted) -> str:
    """Return what a run is expected to take in all."""
    size = f"about {in_bytes(found.bytes)}"
    if found.unknown:
        named, sizes = ", ".join(few(found.unknown)), "size" if len(found.unknown) == 1 else "sizes"
        if found.bytes_at_most is None:
            size = f"{size} without {named}, whose {sizes} cannot be told"
        else:
            more = in_bytes(found.bytes_at_most - found.bytes)
            size = f"{size}, and up to {more} more for {named}, whose {sizes} cannot be told"
        if not found.bytes:
            size = f"cannot tell the {sizes} of {named}"
    parts = [f"Predicted: {size}"]
    if found.wal_bytes:
        parts.append(f"{in_bytes(found.wal_bytes)} of WAL")
    if found.sort_bytes:
        parts.append(f"up to {in_bytes(found.sort_bytes)} to sort in")
    source = DEFAULT if found.seconds is None else found.source
    time = _time(found.seconds, found.seconds_at_least, found.seconds_at_most)
    return f"{'; '.join(parts)}; {time} without waits ({source})"


def _time(seconds: float | None, least: float, most: float) -> str:
    if not most:
        return "time not known"
    if (most if seconds is None else seconds) < LONG:
        return "less than a second"
    if seconds is not None:
        return f"about {duration(seconds)}"
    return f"up to {duration(most)}" if least < LONG else f"{duration(least)} to {duration(most)}"


# Afterwards -----------------------------------------------------------------------------------------------------------


def compared(size: int | None, predicted: int | None, seconds: float, predicted_seconds: float | None) -> str:
    """Return what was predicted of a build and by how much that was wrong; empty where that tells nothing."""
    parts = []
    if predicted is not None and size is not None and max(size, predicted) >= TELLING:
        parts.append(f"{in_bytes(predicted)}, {_error(predicted, size)}")
    if predicted_seconds is not None and max(seconds, predicted_seconds) >= LONG:
        parts.append(f"{duration(predicted_seconds)}, {_error(predicted_seconds, seconds)}")
    return f" (predicted: {'; '.join(parts)})" if parts else ""


def of_builds(builds: Mapping[str, Build]) -> str:
    """Return the size of the indexes that a run has built, and the error of its prediction if it told all sizes."""
    if not builds:
        return ""
    size, sizes = sum(each.bytes for each in builds.values()), [each.predicted_bytes for each in builds.values()]
    predicted = None if None in sizes else sum(each or 0 for each in sizes)
    return f", {in_bytes(size)}{compared(size, predicted, 0.0, None)}"


def error_of(predicted: float | None, measured: float) -> float | None:
    """Return the error of a prediction as a part of what was measured: -0.1 is a tenth too little."""
    return None if predicted is None or not measured else round(predicted / measured - 1, 3)


def _error(predicted: float, measured: float) -> str:
    error = error_of(predicted, measured)
    return "" if error is None else f"{error:+.0%}".replace("-0%", "+0%")


# Documents ------------------------------------------------------------------------------------------------------------


def document_of_index(each: Prediction | None) -> dict[str, Any] | None:
    """Return the prediction of one index; None where there is none."""
    if each is None:
        return None
    content = each._asdict()
    for name in ("name", "work", "is_hash", "table_bytes"):
        del content[name]
    return _rounded(content)


def document_of_run(found: Forecast | None) -> dict[str, Any] | None:
    """Return what a run is expected to take; None where that is not known."""
    if found is None:
        return None
    content = found._asdict()
    del content["predictions"], content["warnings"], content["leaves"]
    return _rounded(content)


def document_of_builds(builds: Mapping[str, Build]) -> dict[str, Any]:
    """Return what builds have taken, and the errors of what was predicted, by the name of the index."""
    return {
        name: {
            "bytes": each.bytes,
            "seconds": each.seconds,
            "predicted_bytes": each.predicted_bytes,
            "predicted_seconds": each.predicted_seconds,
            "bytes_error": error_of(each.predicted_bytes, each.bytes),
            "seconds_error": error_of(each.predicted_seconds, each.seconds),
        }
        for name, each in builds.items()
    }


def _rounded(content: dict[str, Any]) -> dict[str, Any]:
    return {name: round(value, 3) if isinstance(value, float) else value for name, value in content.items()}
