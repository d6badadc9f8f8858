"""SQLite: a whole B-tree whatever the record asks, all of a run in one transaction."""
