"""What SQLite knows about indexes in use."""
