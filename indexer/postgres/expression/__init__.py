"""SQL expressions: what a predicate means on a table, and to the application."""
