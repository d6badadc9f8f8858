"""What the catalog says: indexes and tables, whose they are, and what would stop a build."""
