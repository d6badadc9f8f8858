"""The service: a gate, metrics and a page, of snapshots of the database."""
