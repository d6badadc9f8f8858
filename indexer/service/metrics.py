"""The metrics of a snapshot in the text format of Prometheus. Pure: no database here."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from indexer.service.document import Document

if TYPE_CHECKING:
    from prometheus_client.core import GaugeMetricFamily
    from prometheus_client.metrics_core import Metric

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OF_INDEX = ("schema", "table", "index")
KINDS = ("missing", "invalid", "different")  # of drift
OF_EACH_INDEX = (
    ("size_bytes", "bytes", "Size of the index."),
    ("expected_size_bytes", "bytes_after_rebuild", "Size that a rebuild would leave."),
    ("last_scan_timestamp_seconds", "last_scan", "Time of the last scan."),
    ("counted_since_timestamp_seconds", "since", "Time since which scans are counted."),
    ("collation_suspect", "collation_suspect", "Whether the collation has changed since the index was built."),
    ("deep_check_timestamp_seconds", "deep_checked_at", "Time of the last deep check that found no corruption."),
)


def metrics(document: Document) -> bytes:
    """Return the metrics of a document.

    A value that is not known has no sample. While the database cannot be read only that is said: a value that may have
    changed meanwhile would let an alert fire, or end.
    """
    from prometheus_client import generate_latest
    from prometheus_client.registry import Collector, CollectorRegistry

    class Snapshot(Collector):
        """The metrics of one document."""

        def collect(self) -> Iterator[Metric]:
            return _families(document)

    registry = CollectorRegistry(auto_describe=False)
    registry.register(Snapshot())
    return generate_latest(registry)


def _families(document: Document) -> Iterator[Metric]:
    snapshot = document["snapshot"]
    is_up = bool(snapshot["up"])
    yield _gauge("up", "Whether the database can be read.", [((), is_up)])
    yield _gauge("build_info", "Version of the service.", [((document["version"],), 1)], ("version",))
    taken = _number(snapshot["taken_at"])
    yield _gauge("snapshot_timestamp_seconds", "Time of the last snapshot of the database.", [((), taken)])
    yield _gauge("gate_open", "Whether applications may start.", [((), document["gate"]["open"])])
    if not is_up:
        return
    position = (document["revision"] or "", document["head"])
    yield _gauge("revision_info", "Revision of the database, and the last one.", [(position, 1)], ("revision", "head"))
    yield _gauge("revisions_pending", "Revisions that are not applied.", [((), len(document["pending"]))])
    yield from _of_indexes(document["indexes"], document["pending"])
    yield from _of_builds(document)
    served = [((each["index"], each["query"]), each["served"]) for each in document["queries"]]
    yield _gauge("query_served", "Whether an index serves the query.", served, ("index", "query"))


def _of_indexes(indexes: Sequence[Document], pending: Sequence[str]) -> Iterator[Metric]:
    from prometheus_client.core import CounterMetricFamily

    drift = [(each, _drift(each, pending)) for each in indexes if each["state"] != "unknown"]
    drifted = [((*_labels(each), kind), kind == found) for each, found in drift for kind in KINDS]
    labels = (*OF_INDEX, "kind")
    yield _gauge("index_drift", "Whether an index of an applied revision is not as declared.", drifted, labels)
    valid = [(_labels(each), _valid(each)) for each in indexes]
    yield _gauge("index_valid", "Whether the index exists as declared and queries can use it.", valid, OF_INDEX)
    for name, key, help_text in OF_EACH_INDEX:
        samples = [(_labels(each), _number(each[key])) for each in indexes]
        yield _gauge(f"index_{name}", help_text, samples, OF_INDEX)
    scans = CounterMetricFamily("indexer_index_scans", "Scans of the index, without deep checks.", labels=OF_INDEX)
    for each in indexes:
        if each["scans"] is not None:
            scans.add_metric(_labels(each), each["scans"])
    yield scans


def _drift(index: Document, pending: Sequence[str]) -> str | None:
    """Return how an index of an applied revision differs from what is declared; None if it does not."""
    if index["revision"] in pending or index["state"] in ("valid", "in progress"):
        return None
    return str(index["state"]) if index["state"] in ("missing", "invalid") else "different"


def _valid(index: Document) -> bool | None:
    """Return whether an index is valid; None where that is not known."""
    if index["state"] == "unknown":
        return None
    return bool(index["state"] == "valid")


def _of_builds(document: Document) -> Iterator[Metric]:
    tables = {each["table"]: each["schema"] or "" for each in document["indexes"]}
    schema = next(iter(tables.values()), "")
    built = [each for each in document["builds"] if not each["dropping"]]
    builds = [((tables.get(each["table"], schema), each["table"], each["index"]), each) for each in built]
    names = {each["index"] for each in built}
    idle = [((*_labels(each), ""), 0) for each in document["indexes"] if each["index"] not in names]
    running = [((*labels, each["phase"] or ""), 1) for labels, each in builds]
    yield _gauge("build_running", "Whether the index is being built.", [*idle, *running], (*OF_INDEX, "phase"))
    values = (
        ("build_progress_ratio", "progress", "Part of the build that is done."),
        ("build_waiting_seconds", "waiting_seconds", "Time for which the build has waited for other sessions."),
    )
    for name, key, help_text in values:
        yield _gauge(name, help_text, [(labels, each[key]) for labels, each in builds], OF_INDEX)
    blockers = [(labels, len(each["blockers"])) for labels, each in builds]
    yield _gauge("build_blockers", "Sessions that the build waits for.", blockers, OF_INDEX)


def _gauge(name: str, help_text: str, samples: Sequence[Any], labels: Sequence[str] = ()) -> GaugeMetricFamily:
    """Return a gauge with those samples whose value is known; the last of those with the same labels."""
    from prometheus_client.core import GaugeMetricFamily

    family = GaugeMetricFamily(f"indexer_{name}", help_text, labels=labels)
    for of, value in dict(samples).items():
        if value is not None:
            family.add_metric(of, float(value))
    return family


def _labels(index: Document) -> tuple[str, str, str]:
    return index["schema"] or "", index["table"], index["index"]


def _number(value: Any) -> float | None:
    """Return a value as a number; a moment as the seconds since 1970."""
    if isinstance(value, str):
        return datetime.fromisoformat(value.removesuffix("Z")).replace(tzinfo=timezone.utc).timestamp()
    return None if value is None else float(value)
