"""Measured numbers for people: three figures are enough, and more would be noise."""

from __future__ import annotations


def seconds(value: float) -> str:
    """A duration in the unit that suits it."""
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if value >= size * 0.9995:
            return f"{figures(value / size)} {unit}"
    return f"{value * 1e9:.0f} ns"


def figures(value: float) -> str:
    """A number in three figures."""
    if value >= 99.95:
        return f"{float(f'{value:.3g}'):,.0f}"
    return f"{value:.1f}" if value >= 9.995 else f"{value:.2f}"


def count(value: int) -> str:
    """A round number as a label: 10k, 1M."""
    for unit, size in (("M", 1_000_000), ("k", 1_000)):
        if value >= size:
            return f"{value / size:g}{unit}"
    return str(value)


def faster(value: float) -> str:
    """How many times as fast."""
    return f"{figures(value)}×"  # noqa: RUF001


def percent(share: float) -> str:
    """More or less by so much."""
    return f"{share:+.0%}"


def power(value: float | None) -> str:
    """n to a measured power; nothing where there was one size alone."""
    return "" if value is None else f"n^{round(value, 2) + 0.0:.2f}"
