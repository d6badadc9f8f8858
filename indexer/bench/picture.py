"""The README's picture, drawn again: ``python -m indexer.bench.picture docs/bench docs/bench-*.json``."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from indexer.bench import chart
from indexer.bench.result import read


def draw(name: str, documents: Sequence[str]) -> None:
    """Draw one picture of several results, one for each database.

    Args:
        name: of the picture, without .svg and .png.
        documents: files that ``bench`` has written, the one to be named first first.

    Raises:
        OSError: a file cannot be read or written.
        ValueError: a file holds no result.
        ImportError: matplotlib is not installed.
    """
    results = [read(json.loads(Path(document).read_text(encoding="utf-8"))) for document in documents]
    Path(f"{name}.svg").write_text(chart.svg(results), encoding="utf-8")
    Path(f"{name}.png").write_bytes(chart.png(results))


if __name__ == "__main__":
    draw(sys.argv[1], sys.argv[2:])
