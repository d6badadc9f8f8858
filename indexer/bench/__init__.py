"""Measure the queries of a project without and with its indexes, on made-up rows."""
