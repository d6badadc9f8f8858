"""Citus: the rows, the builds and the waits are on the nodes of a cluster, and the coordinator has empty shells."""
