"""Verify that the queries which the indexes exist for are served by them."""
