"""Fixtures of the tests that need a Citus cluster."""

from __future__ import annotations

from citus_cluster import cluster, coordinator

__all__ = ["cluster", "coordinator"]
