"""Made-up CRM rows, made by the database itself: for ``seed``, ``bench``, tests and benchmarks."""

from sample.rows import MOST, SEED, batches, counts, parameters, statements
from sample.seed import fill, seed

__all__ = ["MOST", "SEED", "batches", "counts", "fill", "parameters", "seed", "statements"]
