"""Care for indexes in use: their health, their rebuilds, and whether they are corrupt."""
