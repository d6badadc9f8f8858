"""Numbers in a table or a chart of measurements."""

from __future__ import annotations


def short(count: int) -> str:
    """Return a round number as a label: 10k, 1M."""
    for unit, size in (("M", 1_000_000), ("k", 1_000)):
        if count >= size:
            return f"{count / size:g}{unit}"
    return str(count)


def times(factor: float) -> str:
    """Return a speed-up in three figures."""
    return f"{factor:,.0f}×" if factor >= 999.5 else f"{factor:.3g}×"  # noqa: RUF001


def power(exponent: float | None) -> str:
    """Return n to a measured power; empty if only one size was measured."""
    return "" if exponent is None else f"n^{round(exponent, 2) + 0.0:.2f}"
