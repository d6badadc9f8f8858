"""SQLite: every index is a B-tree of all rows, and a run is one transaction."""
